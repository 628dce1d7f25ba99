//! A file of an older version: opened, it has what it had.

use std::path::Path;

use bellcage::job::{Outcome, RunResult, RunState, SkipReason, TenantId};
use bellcage::store::{AttemptEnd, Fenced, FiringStep, RunFilter, Sqlite, SqliteOptions, Store};
use rusqlite::Connection;

use super::{
    add, at, attempt, claim, end, finish, fire, firing_run, first_page, get_job, get_run, key, lease, owner, retry, run, skip, sqlite_store, step, unbounded,
};

const MIGRATIONS: [&str; 4] = [
    include_str!("../../../src/store/sqlite/migrations/0001_jobs_and_runs.sql"),
    include_str!("../../../src/store/sqlite/migrations/0002_secrets.sql"),
    include_str!("../../../src/store/sqlite/migrations/0003_key_value.sql"),
    include_str!("../../../src/store/sqlite/migrations/0004_short_results.sql"),
];

/// Writes what a store of today has as the `version`th schema has it.
fn write_as(version: usize, today: &Path, to: &Path) {
    let file = Connection::open(to).unwrap();
    file.execute_batch(&format!("{} PRAGMA application_id = {}; PRAGMA user_version = {version};", MIGRATIONS[..version].concat(), 0x6265_6c6c)).unwrap();
    file.execute("ATTACH ? AS today", [today.to_str().unwrap()]).unwrap();
    let names = |sql: &str| {
        let mut statement = file.prepare(sql).unwrap();
        statement.query_map((), |row| row.get::<_, String>(0)).unwrap().collect::<Result<Vec<_>, _>>().unwrap()
    };
    for table in names("SELECT name FROM main.sqlite_schema WHERE type = 'table'") {
        let columns = names(&format!("SELECT name FROM pragma_table_info('{table}', 'main')")).join(", ");
        file.execute_batch(&format!("DELETE FROM main.{table}; INSERT INTO main.{table} ({columns}) SELECT {columns} FROM today.{table}")).unwrap();
    }
    if version < 4 {
        // Every result stood apart then.
        let apart = "INSERT INTO main.output (run, number, result, log_head, log_dropped, log_tail) \
                     SELECT run, number, short, x'', 0, x'' FROM today.attempt WHERE length(short) > 0";
        file.execute_batch(apart).unwrap();
    }
}

/// All that can be read, as text.
async fn everything(store: &dyn Store) -> Vec<String> {
    let tenant = TenantId::default();
    let runs = store.runs(&RunFilter::default(), first_page(100)).await.unwrap().items;
    let mut found = vec![format!("{:?} {:?}", store.counts().await.unwrap(), store.jobs(&Default::default(), first_page(100)).await.unwrap())];
    for run in runs {
        found.push(format!("{run:?} {:?}", store.attempts(&tenant, run.id).await.unwrap()));
    }
    found.push(format!("{:?}", store.skipped(&tenant, None, first_page(100)).await.unwrap()));
    found
}

#[tokio::test]
async fn a_file_of_each_older_schema_has_what_it_had_and_goes_on() {
    let (directory, store) = sqlite_store();
    for id in ["a", "b"] {
        add(&store, unbounded(id)).await;
    }
    fire(&store, "a", 0, vec![FiringStep::Skip(skip(SkipReason::Missed, Some("too late"), -5, -1)), step(firing_run("a", 0, 1))], 60).await;
    for n in 2..=4 {
        store.add_run(run("a", 1, n)).await.unwrap();
    }
    store.add_run(run("a", 100, 5)).await.unwrap();
    let claimed = claim(&store, 1, 10).await;
    // One each that succeeded with a short result, failed with a long one, waits for a retry, is running, and is queued.
    let with = |result: &str, outcome| AttemptEnd {
        attempt: Some(bellcage::job::Attempt { result: Some(RunResult::Text(result.as_bytes().to_vec())), ..attempt(&claimed[0], 2, outcome) }),
        ..end(&claimed[0], 2, outcome)
    };
    finish(&store, with("done\n", Outcome::Succeeded)).await;
    finish(&store, AttemptEnd { run: claimed[1].run.id, token: claimed[1].lease.token, ..with(&"long ".repeat(100), Outcome::Failed) }).await;
    finish(&store, AttemptEnd { checkpoint: Some(b"half".to_vec()), ..retry(&claimed[2], 3, 30) }).await;
    let had = everything(&store).await;
    assert!(
        [RunState::Queued, RunState::Running, RunState::WaitingRetry, RunState::Ended]
            .iter()
            .all(|state| had.iter().any(|run| run.contains(&format!("{state:?}"))))
    );
    drop(store);

    for version in 1..MIGRATIONS.len() {
        let older = tempfile::tempdir().unwrap();
        write_as(version, &directory.path().join("bellcage.db"), &older.path().join("bellcage.db"));
        let store = Sqlite::open(older.path(), &SqliteOptions::default()).unwrap();
        assert_eq!(everything(&store).await, had, "version {version}");
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new(), "version {version}");

        // The one that was running is found as lost, and ends; the one that waits goes on with what it saved; the job fires again.
        let lost = store.claim_lost(&owner("b"), at(20), at(30), 10).await.unwrap();
        assert_eq!(lost.iter().map(|lost| lost.run.id).collect::<Vec<_>>(), [claimed[3].run.id]);
        assert_eq!(finish(&store, end(&lost[0], 21, Outcome::Lost)).await, Fenced::Done);
        let again = claim(&store, 30, 10).await.remove(0);
        assert_eq!((again.run.id, again.run.attempt, again.checkpoint.as_deref()), (claimed[2].run.id, 2, Some(&b"half"[..])));
        assert_eq!(finish(&store, end(&again, 31, Outcome::Succeeded)).await, Fenced::Done);
        assert_eq!(get_run(&store, again.run.id).await.outcome, Some(Outcome::Succeeded));
        assert!(lease(&store, 60).await.iter().any(|leased| leased.job.key == key("a") && leased.lease.token > again.lease.token));
        assert_eq!(get_job(&store, "a").await.last_outcome, Some(Outcome::Succeeded));
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new(), "version {version}");
    }
}
