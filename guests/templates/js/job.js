import { log } from 'bellcage:job/logging@0.1.0';

export const entry = {
  run(context, input) {
    const { name } = JSON.parse(input) ?? {};
    log('info', '', `run ${context.run}, attempt ${context.attempt}`);
    if (!name) {
      throw { tag: 'permanent', val: 'there is nobody to greet' };
    }
    return JSON.stringify({ greeting: `hello ${name}` });
  },
};
