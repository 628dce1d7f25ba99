//! `store check` and `store backup`.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use super::open::failed;
use super::writer::{Db, Done};
use crate::store::StoreError;

/// Faults listed of each kind at most.
const LISTED_MAX: usize = 20;

/// What the verbs rely on and no CHECK can say: each query finds what breaks it, as text.
const INVARIANTS: &[&str] = &[
    "SELECT 'the tally says ' || jobs || ' jobs, but there are ' || n FROM tally, (SELECT count(*) AS n FROM job WHERE removed = 0) WHERE jobs <> n",
    "SELECT 'the tally says ' || unfinished || ' unfinished runs, but there are ' || n FROM tally, (SELECT count(*) AS n FROM run WHERE state <> 3) \
     WHERE unfinished <> n",
    "SELECT 'job ' || name || ' has no definition' FROM job WHERE removed = 0 AND NOT EXISTS (SELECT 1 FROM job_spec WHERE job = job.id)",
    "SELECT 'job ' || name || ' was removed, but its definition is there' FROM job JOIN job_spec ON job_spec.job = job.id WHERE removed = 1",
    "SELECT 'job ' || name || ' has a next firing that nothing looks for' FROM job WHERE state = 0 AND removed = 0 AND pause IS NULL \
     AND next_fire IS NOT NULL AND wake_at IS NULL",
    "SELECT 'job ' || name || ' has an end of an upstream run that nothing looks for' FROM job WHERE removed = 0 AND wake_at IS NULL \
     AND EXISTS (SELECT 1 FROM arrived_end WHERE job = job.id AND seen = 0)",
    "SELECT 'job ' || name || ' says ' || ended || ' ended runs, but there are ' || n FROM job, \
     (SELECT job AS id, sum(state = 3) AS n FROM run GROUP BY job) AS counted WHERE counted.id = job.id AND ended <> n",
    "SELECT 'job ' || job.name || ' was removed, but run ' || hex(run.id) || ' waits' FROM run JOIN job ON job.id = run.job WHERE removed = 1 AND turn IS NOT NULL",
    "SELECT 'run ' || hex(run.id) || ' is held back, but no other of job ' || job.name || ' runs or is in turn' FROM run JOIN shared_job AS job ON job.id = run.job \
     WHERE turn = 0 AND job.state <> 2 AND NOT EXISTS (SELECT 1 FROM run AS other WHERE other.job = job.id AND (other.state = 1 OR other.turn = 1))",
    "SELECT 'backfill ' || hex(run.id) || ' is held back, but no other of job ' || job.name || ' runs or is in turn' FROM run JOIN shared_job AS job ON job.id = run.job \
     WHERE turn = 3 AND job.state <> 2 AND NOT EXISTS (SELECT 1 FROM run AS other WHERE other.job = job.id AND other.cause = 3 AND (other.state = 1 OR other.turn IN (1, 2)))",
    "SELECT 'run ' || hex(run.id) || ' has a fencing token that was not given out' FROM run, tally WHERE token >= tokens",
    "SELECT 'a checkpoint is left of run ' || hex(run) || ', which does not wait for another attempt' FROM checkpoint \
     WHERE NOT EXISTS (SELECT 1 FROM run WHERE run.id = checkpoint.run AND state IN (1, 2))",
    "SELECT 'job ' || job.name || ' says that it keeps ' || u.keys || ' keys of ' || u.bytes || ' bytes, but that is not so' FROM job JOIN kv_usage AS u ON u.job = job.id \
     JOIN (SELECT job, count(*) AS keys, sum(length(CAST(key AS BLOB)) + length(value)) AS bytes FROM kv GROUP BY job) AS k ON k.job = job.id \
     WHERE u.keys <> k.keys OR u.bytes <> k.bytes",
    "SELECT 'job ' || name || ' was removed, but it keeps keys' FROM job WHERE removed = 1 AND EXISTS (SELECT 1 FROM kv WHERE kv.job = job.id)",
    "SELECT 'secret ' || name || ' of tenant ' || coalesce((SELECT name FROM tenant WHERE id = secret.tenant), '?') || ' has no value' FROM secret WHERE length(sealed) = 0",
    "SELECT 'a secret has a name that is none: ' || name FROM secret WHERE name = '' OR name GLOB '*[^A-Za-z0-9_]*' OR name GLOB '[0-9]*' OR length(name) > 100",
    "SELECT 'an attempt is left of run ' || hex(run) || ', which is gone' FROM attempt WHERE NOT EXISTS (SELECT 1 FROM run WHERE run.id = attempt.run)",
];

/// Jobs whose runs wait for none but those of their own job: no attempt of theirs has a process to itself (`JobSpec::is_alone`).
const SHARED_JOB: &str = "WITH shared_job AS (SELECT job.* FROM job LEFT JOIN job_spec ON job_spec.job = job.id WHERE CASE WHEN json_valid(spec) \
    THEN coalesce(json_extract(spec, '$.isolation'), '') <> 'process-per-run' AND coalesce(json_array_length(spec, '$.grants.dirs'), 0) = 0 ELSE 1 END) ";

impl Db {
    pub(super) fn check(&self) -> Done<Vec<String>> {
        let mut found: Vec<String> = self.query_all(&format!("PRAGMA integrity_check({LISTED_MAX})"), (), |row| row.get(0))?;
        found.retain(|line| line != "ok");
        // Where the pages themselves are damaged, nothing else can be believed.
        if !found.is_empty() {
            return Ok(found);
        }
        let dangling = "SELECT 'a row of ' || \"table\" || ' refers to a row of ' || parent || ' that is gone' FROM pragma_foreign_key_check";
        // One instant for all questions, while the writer goes on.
        self.execute("BEGIN", ())?;
        let answers = std::iter::once(&dangling).chain(INVARIANTS).try_for_each(|sql| {
            found.extend(self.query_all(&format!("{SHARED_JOB}{sql} LIMIT {LISTED_MAX}"), (), |row| row.get::<_, String>(0))?);
            Ok::<_, rusqlite::Error>(())
        });
        self.execute("COMMIT", ())?;
        answers?;
        Ok(found)
    }

    /// All in one step, which in WAL mode reads one instant and keeps nobody from writing.
    pub(super) fn backup(&self, to: &Path) -> Done<()> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
        made.map_err(|e| StoreError::Backend(format!("the backup {} could not be made: {e}", to.display())))?;
        let copy = || {
            let mut target = Connection::open(to)?;
            let done = Backup::new(&self.connection, &mut target)?.step(-1)?;
            debug_assert_eq!(done, rusqlite::backup::StepResult::Done);
            Ok(())
        };
        copy().map_err(|e| failed(to, &e).into())
    }
}
