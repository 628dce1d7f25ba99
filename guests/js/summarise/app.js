// Groups rows by one field and adds up another: {"rows": [{"region": "north", "amount": 3}], "by": "region", "sum": "amount"}
import { log } from 'bellcage:job/logging@0.1.0';
import { report } from 'bellcage:job/progress@0.1.0';

export const entry = {
  run(context, input) {
    const { rows, by, sum } = JSON.parse(input) ?? {};
    if (!Array.isArray(rows) || !by || !sum) {
      throw { tag: 'permanent', val: 'args need rows, by and sum' };
    }
    log('info', 'summarise', `${context.job}, attempt ${context.attempt}: ${rows.length} rows`);
    const groups = {};
    for (const row of rows) {
      const group = (groups[row[by] ?? ''] ??= { rows: 0, sum: 0, max: -Infinity });
      group.rows += 1;
      group.sum += Number(row[sum]);
      group.max = Math.max(group.max, Number(row[sum]));
    }
    report(1, `${Object.keys(groups).length} groups`);
    return JSON.stringify({ date: context.scheduledAt.slice(0, 10), groups });
  },
};
