//! What only a store in a file can do: be closed and opened again, refused, damaged, copied.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bellcage::job::{JobKey, JobState, Outcome, RunState, SkipReason, TenantId, Version};
use bellcage::store::{Fenced, FiringStep, OnConflict, PageRequest, Retention, Sqlite, SqliteOptions, Store, StoreError};
use rusqlite::Connection;

use super::{
    add, at, claim, commit, end, finish, fire, firing_run, first_page, get_job, get_run, job, job_with, key, lease, owner, retry, run, runs, skip, skipped,
    sqlite_store, step, unbounded,
};

fn open(path: &Path) -> Result<Sqlite, StoreError> {
    Sqlite::open(path, &SqliteOptions::default())
}

fn refused(path: &Path) -> StoreError {
    open(path).map(|_| ()).unwrap_err()
}

/// The database as somebody with a SQL shell sees it; only while no store has it open.
fn shell(directory: &Path) -> Connection {
    Connection::open(directory.join("bellcage.db")).unwrap()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let (directory, store) = sqlite_store();
    let pushed = store.push_component(&TenantId::default(), &"reports".parse().unwrap(), b"wasm".to_vec(), serde_json::json!({}), at(0)).await.unwrap();
    add(&store, unbounded("a")).await;
    fire(&store, "a", 0, vec![FiringStep::Skip(skip(SkipReason::Missed, None, -5, -1)), step(firing_run("a", 0, 1))], 60).await;
    store.add_run(run("a", 1, 2)).await.unwrap();
    store.add_run(run("a", 2, 3)).await.unwrap();
    let claimed = claim(&store, 1, 10).await;
    finish(&store, end(&claimed[0], 2, Outcome::Failed)).await;
    let job = get_job(&store, "a").await;
    let listed = store.runs(&Default::default(), first_page(10)).await.unwrap();
    drop(store);

    let store = open(directory.path()).unwrap();
    assert_eq!(store.component(&TenantId::default(), &"reports".parse().unwrap(), Version::Newest).await.unwrap(), pushed.component);
    assert_eq!(get_job(&store, "a").await, job);
    assert_eq!(store.runs(&Default::default(), first_page(10)).await.unwrap(), listed);
    assert_eq!(store.attempts(&TenantId::default(), claimed[0].run.id).await.unwrap().len(), 1);
    assert_eq!(skipped(&store, "a").await.len(), 1);
    assert_eq!(store.counts().await.unwrap(), bellcage::store::StoreCounts { jobs: 1, runs_unfinished: 2 });
    assert_eq!(finish(&store, end(&claimed[1], 3, Outcome::Succeeded)).await, Fenced::Done);
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_closed_store_is_one_file_without_a_log() {
    let (directory, store) = sqlite_store();
    add(&store, job("a")).await;
    drop(store);
    assert!(!directory.path().join("bellcage.db-wal").exists());
    assert_eq!(shell(directory.path()).query_row("SELECT name FROM job", (), |row| row.get::<_, String>(0)).unwrap(), "a");
}

#[tokio::test]
async fn after_a_restart_running_runs_are_lost_and_tokens_go_on_growing() {
    let (directory, store) = sqlite_store();
    add(&store, job("a")).await;
    store.add_run(run("a", 0, 1)).await.unwrap();
    let first = claim(&store, 0, 1).await.remove(0);
    let leased = lease(&store, 0).await.remove(0);
    drop(store);

    let store = open(directory.path()).unwrap();
    assert_eq!(store.end_other_leases(&owner("b"), at(1)).await.unwrap(), 1);
    let lost = store.claim_lost(&owner("b"), at(1), at(11), 10).await.unwrap().remove(0);
    assert_eq!(lost.run, first.run);
    assert!(lost.lease.token > first.lease.token.max(leased.lease.token));
    assert_eq!(finish(&store, end(&first, 2, Outcome::Succeeded)).await, Fenced::LeaseLost);
    assert_eq!(store.commit_firings(vec![commit(&leased, vec![], 60)]).await.unwrap(), [Fenced::LeaseLost]);
    assert_eq!(lease(&store, 1).await.len(), 1);
}

#[tokio::test]
async fn runs_held_back_wait_for_their_turn_across_a_restart() {
    let (directory, store) = sqlite_store();
    add(&store, job("a")).await;
    for n in 1..=3 {
        store.add_run(run("a", 0, n)).await.unwrap();
    }
    let first = claim(&store, 0, 10).await.remove(0);
    drop(store);
    let store = open(directory.path()).unwrap();
    assert_eq!(claim(&store, 1, 10).await.len(), 0);
    finish(&store, end(&first, 2, Outcome::Succeeded)).await;
    assert_eq!(claim(&store, 2, 10).await.len(), 1);
}

#[tokio::test]
async fn acknowledged_writes_survive_a_kill_at_any_moment() {
    let (directory, store) = sqlite_store();
    let copies = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for n in 0..20_u64 {
        add(&store, job(&format!("job-{n}"))).await;
        store.add_run(run(&format!("job-{n}"), 0, n)).await.unwrap();
        acknowledged.push(n);
        // What a killed server leaves behind: the files as they are at this instant.
        let copy = copies.path().join(n.to_string());
        fs::create_dir(&copy).unwrap();
        for file in ["bellcage.db", "bellcage.db-wal"] {
            fs::copy(directory.path().join(file), copy.join(file)).unwrap();
        }
        let store = open(&copy).unwrap();
        for n in &acknowledged {
            assert_eq!(get_run(&store, run(&format!("job-{n}"), 0, *n).id).await.state, RunState::Queued);
        }
        assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn requests_that_nobody_waits_for_any_more_are_carried_out_before_closing() {
    let (directory, store) = sqlite_store();
    for n in 0..50 {
        let waiting = store.add_job(job(&format!("job-{n}")), OnConflict::Error);
        // Polled once, so that it stands in the queue.
        let _ = tokio::time::timeout(std::time::Duration::ZERO, waiting).await;
    }
    drop(store);
    let store = open(directory.path()).unwrap();
    assert_eq!(store.jobs(&Default::default(), first_page(100)).await.unwrap().items.len(), 50);
}

#[tokio::test]
async fn many_callers_at_once_get_an_answer_each() {
    let (_directory, store) = sqlite_store();
    let store = std::sync::Arc::new(store);
    let tasks: Vec<_> = (0..300)
        .map(|n| {
            let store = store.clone();
            // Each id is asked for three times.
            tokio::spawn(async move { store.add_job(job(&format!("job-{}", n % 100)), OnConflict::Error).await.is_ok() })
        })
        .collect();
    let mut added = 0;
    for task in tasks {
        added += usize::from(task.await.unwrap());
    }
    assert_eq!(added, 100);
    assert_eq!(store.counts().await.unwrap().jobs, 100);
}

#[test]
fn a_second_server_is_refused_and_told_the_first_ones_pid() {
    let (directory, store) = sqlite_store();
    match refused(directory.path()) {
        StoreError::Locked { path, pid } => assert_eq!((path.as_path(), pid), (store.file(), std::process::id().to_string())),
        other => panic!("{other:?}"),
    }
    drop(store);
    open(directory.path()).unwrap();
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let (directory, store) = sqlite_store();
    drop(store);
    shell(directory.path()).pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(directory.path().join("bellcage.db")).unwrap();
    let error = refused(directory.path());
    assert!(matches!(error, StoreError::Newer { found: 99, known: 4, .. }), "{error:?}");
    assert!(error.to_string().contains("newer bellcage"), "{error}");
    assert_eq!(fs::read(directory.path().join("bellcage.db")).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("garbage.db");
    let garbage = b"not a database at all ".repeat(1_000);
    fs::write(&file, &garbage).unwrap();
    assert!(matches!(refused(&file), StoreError::Corrupt { path, .. } if path == file));
    assert_eq!(fs::read(&file).unwrap(), garbage);
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    shell(directory.path()).execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = refused(directory.path());
    assert!(error.to_string().contains("not one of bellcage's"), "{error}");
    let tables: i64 = shell(directory.path()).query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_damaged_page_is_reported_as_damage() {
    let (directory, store) = sqlite_store();
    for n in 0..200 {
        add(&store, job(&format!("job-{n}"))).await;
    }
    drop(store);
    let file = directory.path().join("bellcage.db");
    let mut bytes = fs::read(&file).unwrap();
    let (first_page, rest) = bytes.split_at_mut(4_096);
    assert!(first_page.starts_with(b"SQLite format 3"));
    rest.fill(0xa5);
    fs::write(&file, bytes).unwrap();
    let error = match open(directory.path()) {
        Err(error) => error,
        Ok(store) => store.jobs(&Default::default(), first_page_of_jobs()).await.unwrap_err(),
    };
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}

fn first_page_of_jobs() -> PageRequest {
    first_page(1_000)
}

#[test]
fn a_read_only_file_or_directory_is_refused() {
    let (directory, store) = sqlite_store();
    let file = store.file().to_owned();
    drop(store);
    for (path, mode) in [(file.as_path(), 0o400), (directory.path(), 0o500)] {
        let before = path.metadata().unwrap().permissions();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let error = refused(directory.path());
        fs::set_permissions(path, before).unwrap();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{path:?}: {error:?}");
    }
    open(directory.path()).unwrap();
}

#[test]
fn a_path_through_a_file_is_refused_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    let error = refused(&directory.path().join("file/store"));
    assert!(error.to_string().contains("file/store"), "{error}");
}

#[test]
fn what_is_made_is_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/store");
    let store = open(&path).unwrap();
    assert_eq!(mode(&path), 0o700);
    for file in ["bellcage.db", "bellcage.db-wal", "bellcage.db-shm", "bellcage.db.lock"] {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
    assert_eq!(store.file(), path.join("bellcage.db"));
}

#[test]
fn the_schema_refuses_states_that_cannot_be() {
    let (directory, store) = sqlite_store();
    drop(store);
    let db = shell(directory.path());
    db.execute_batch(
        "PRAGMA foreign_keys = OFF;
         INSERT INTO tenant VALUES (1, 'default');
         INSERT INTO job (id, tenant, name, revision, state, anchor, failures, created_at, updated_at, component, pin) VALUES (1, 1, 'a', 1, 0, 0, 0, 0, 0, 'c', '');
         INSERT INTO run (tenant, id, job, scheduled_at, cause, start_at, priority, state, turn, component, attempt, lost, created_at)
         VALUES (1, zeroblob(16), 1, 0, 1, 0, 0, 0, 1, 'c', 0, 0, 0);",
    )
    .unwrap();
    for wrong in [
        "UPDATE run SET state = 3, turn = NULL",                                          // ended without an outcome
        "UPDATE run SET outcome = 0",                                                     // an outcome without having ended
        "UPDATE run SET state = 1, turn = NULL, attempt = 1, started_at = 0",             // running without a lease
        "UPDATE run SET owner = 'a', token = 1, lease_until = 0",                         // a lease without running
        "UPDATE run SET state = 1, turn = NULL, owner = 'a', token = 1, lease_until = 0", // running without an attempt
        "UPDATE run SET turn = NULL",                                                     // waiting for nothing
        "UPDATE run SET cancel = 'why'",                                                  // asked to stop without running
        "UPDATE run SET lost = 1",                                                        // more attempts lost than started
        "UPDATE run SET attempt = -1, lost = -1",
        "UPDATE run SET state = 4",
        "UPDATE run SET cause = 0",             // of a firing, and of no instant
        "UPDATE run SET cause = 2",             // after nothing
        "UPDATE run SET cause = 3, firing = 1", // of a backfill without bound
        "UPDATE run SET id = zeroblob(15)",
        "UPDATE run SET scheduled_at = 'today'",
        "UPDATE job SET revision = 0",
        "UPDATE job SET state = 2",                // unresolved without a reason
        "UPDATE job SET removed = 1, wake_at = 1", // removed, and yet to be woken
        "UPDATE job SET running_max = 0",
        "UPDATE tally SET jobs = -1",
        "INSERT INTO tally VALUES (1, 0, 0, 1)",
        "INSERT INTO skip VALUES (1, 1, 1, 0, NULL, 0, 1, 0, 0, 0)", // a record of nothing
        "INSERT INTO skip VALUES (1, 1, 1, 0, NULL, 1, 1, 1, 0, 0)", // its last before its first
    ] {
        let error = db.execute_batch(wrong).expect_err(wrong);
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::ConstraintViolation), "{wrong}: {error}");
    }
}

#[tokio::test]
async fn a_job_that_cannot_be_read_is_parked_with_the_reason_and_stops_no_other() {
    let (directory, store) = sqlite_store();
    add(&store, job("bad")).await;
    add(&store, job("good")).await;
    store.add_run(run("bad", 0, 1)).await.unwrap();
    store.add_run(run("good", 0, 2)).await.unwrap();
    drop(store);
    shell(directory.path()).execute_batch("UPDATE job_spec SET spec = '{\"component\":\"c\",\"trigger\":{\"moon\":\"full\"}}' WHERE job = 1").unwrap();
    let store = open(directory.path()).unwrap();

    let leased = lease(&store, 0).await;
    assert_eq!(leased.iter().map(|l| l.job.key.clone()).collect::<Vec<JobKey>>(), [key("good")]);
    assert_eq!(claim(&store, 0, 10).await.iter().map(|c| c.run.job.clone()).collect::<Vec<_>>(), [key("good")]);
    let parked = get_job(&store, "bad").await;
    assert!(matches!(&parked.state, JobState::Unresolved(reason) if reason.contains("cannot be read")), "{:?}", parked.state);
    assert_eq!(parked.wake_at, None);
    assert_eq!(store.jobs(&Default::default(), first_page(10)).await.unwrap().items.len(), 2);

    // Whoever pauses it does not overwrite what stands there; whoever replaces it makes it whole.
    let paused = store.update_job(bellcage::job::Job { updated_at: at(1), ..parked.clone() }, &parked, None).await.unwrap();
    assert!(matches!(get_job(&store, "bad").await.state, JobState::Unresolved(_)));
    let whole = bellcage::job::Job { state: JobState::Active, ..job_with("bad", |spec| spec.priority = 3) };
    store.update_job(whole, &paused, None).await.unwrap();
    assert_eq!(get_job(&store, "bad").await.state, JobState::Active);
    assert_eq!(claim(&store, 0, 10).await.iter().map(|c| c.run.job.clone()).collect::<Vec<_>>(), [key("bad")]);
}

#[tokio::test]
async fn a_check_finds_what_no_constraint_can() {
    let (directory, store) = sqlite_store();
    add(&store, job("a")).await;
    store.add_run(run("a", 0, 1)).await.unwrap();
    let (tenant, name, sealed) = (TenantId::default(), "A".parse().unwrap(), b"sealed".to_vec());
    store.put_secret(bellcage::store::Secret { tenant, name, sealed, updated_at: at(0) }, 10).await.unwrap();
    drop(store);
    let db = shell(directory.path());
    db.execute_batch("PRAGMA foreign_keys = OFF; UPDATE secret SET name = 'A-1', sealed = x''; UPDATE tally SET unfinished = 7; UPDATE run SET turn = 0; DELETE FROM job_spec; UPDATE job SET tenant = 5")
        .unwrap();
    drop(db);
    let found = open(directory.path()).unwrap().check().await.unwrap();
    for wrong in [
        "unfinished runs",
        "is held back",
        "has no definition",
        "secret A-1 of tenant default has no value",
        "a secret has a name that is none: A-1",
        "refers to a row of tenant",
    ] {
        assert_eq!(found.iter().filter(|line| line.contains(wrong)).count(), 1, "{wrong}: {found:?}");
    }
}

#[tokio::test]
async fn a_backup_is_a_store() {
    let (directory, store) = sqlite_store();
    add(&store, job("a")).await;
    store.add_run(run("a", 0, 1)).await.unwrap();
    let to = directory.path().join("backup.db");
    store.backup(&to).await.unwrap();
    assert_eq!(mode(&to), 0o600);
    add(&store, job("b")).await;
    let copy = open(&to).unwrap();
    assert_eq!(get_job(&copy, "a").await, job("a"));
    assert_eq!(runs(&copy, Default::default()).await.len(), 1);
    assert!(copy.job(&key("b")).await.is_err());
    assert_eq!(copy.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_backup_overwrites_nothing() {
    let (directory, store) = sqlite_store();
    let to = directory.path().join("precious");
    fs::write(&to, "mine").unwrap();
    let error = store.backup(&to).await.unwrap_err();
    assert!(error.to_string().contains("precious"), "{error}");
    assert_eq!(fs::read(&to).unwrap(), b"mine");
}

#[tokio::test]
async fn ten_thousand_runs_behind_a_full_job_are_passed_over_once() {
    let (_directory, store) = sqlite_store();
    add(&store, job("a")).await;
    add(&store, bellcage::job::Job { next_fire: None, wake_at: None, ..job("b") }).await;
    store.add_run(run("a", 0, 0)).await.unwrap();
    let first = claim(&store, 0, 10).await.remove(0);
    // A batch of firings is one request, so this is quick.
    for n in 0..20 {
        let steps = (0..500).map(|m| step(run("a", 1, 1 + n * 500 + m))).collect();
        fire(&store, "a", n as i64, steps, n as i64 + 1).await;
    }
    store.add_run(run("b", 500, 1)).await.unwrap();
    assert_eq!(claim(&store, 1_000, 10).await.iter().map(|c| c.run.job.clone()).collect::<Vec<_>>(), [key("b")]);
    assert_eq!(store.counts().await.unwrap().runs_unfinished, 10_002);
    finish(&store, retry(&first, 1_001, 1_002)).await;
    let best = claim(&store, 1_001, 10).await;
    assert_eq!(best.iter().map(|c| c.run.id).collect::<Vec<_>>(), [run("a", 1, 1).id]);
    assert_eq!(store.prune(Retention { before: at(9_999), runs_per_job_max: 0, max: 100 }).await.unwrap(), 0);
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
}
