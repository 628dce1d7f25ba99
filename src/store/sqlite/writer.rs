//! The one thread that writes. Requests that wait in its queue are carried out in one transaction, and answered when
//! it has been committed: the disk is waited for once a group, not once a request.
//!
//! A request that is refused (no such job, a name taken) finds that out before it writes anything, so its refusal is an
//! answer like any other. Where the database itself fails, the group is undone, and each of its requests is carried out
//! again in a transaction of its own, so that one's failure never undoes others.

use std::path::PathBuf;

use rusqlite::{CachedStatement, Connection, Params};
use tokio::sync::{mpsc, oneshot};

use super::live::Live;
use super::log::Log;
use super::open::failed;
use crate::store::StoreError;

/// Requests carried out in one transaction at most; one of many items counts as so many, so that what comes next waits
/// for some milliseconds only.
const GROUP_MAX: usize = 1_000;

pub(super) struct Writer {
    pub db: Db,
    pub live: Live,
}

/// The writer's connection.
pub(super) struct Db {
    pub connection: Connection,
    pub path: PathBuf,
}

/// Why a request was not carried out.
pub(super) enum Failure {
    /// It is answered so; nothing was written.
    Refused(StoreError),
    /// The transaction is undone.
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        Self::Database(e)
    }
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        Self::Refused(e)
    }
}

pub(super) type Done<T> = Result<T, Failure>;

/// A request in the queue.
pub(super) trait Request: Send {
    /// Carries it out; perhaps a second time, after the first was undone.
    fn carry_out(&mut self, writer: &mut Writer) -> Result<(), rusqlite::Error>;
    /// Tells the caller, who may have gone.
    fn answer(self: Box<Self>, failed: Option<StoreError>);
    /// As how many requests it counts.
    fn size(&self) -> usize;
}

pub(super) struct Write<T, F> {
    pub work: F,
    pub size: usize,
    pub found: Option<Result<T, StoreError>>,
    pub to: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&mut Writer) -> Done<T> + Send> Request for Write<T, F> {
    fn carry_out(&mut self, writer: &mut Writer) -> Result<(), rusqlite::Error> {
        self.found = Some(match (self.work)(writer) {
            Ok(found) => Ok(found),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Database(error)) => return Err(error),
        });
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let answer = match (failed, self.found) {
            (Some(error), _) => Err(error),
            (None, Some(found)) => found,
            (None, None) => Err(StoreError::Closed),
        };
        let _ = self.to.send(answer);
    }

    fn size(&self) -> usize {
        self.size
    }
}

impl Db {
    pub(super) fn statement(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.connection.prepare_cached(sql)
    }

    /// Returns how many rows changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.statement(sql)?.execute(params)
    }

    pub(super) fn query_opt<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        let mut statement = self.statement(sql)?;
        let mut rows = statement.query(params)?;
        rows.next()?.map(read).transpose()
    }

    pub(super) fn query_all<T>(&self, sql: &str, params: impl Params, read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<Vec<T>> {
        self.statement(sql)?.query_map(params, read)?.collect()
    }
}

impl Writer {
    /// Until nobody can ask any more. Its connection is given back open: it is the last to be closed.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Request>>, mut log: Log) -> Db {
        let mut group = Vec::new();
        while let Some(request) = queue.blocking_recv() {
            let mut size = request.size();
            group.push(request);
            while size < GROUP_MAX {
                match queue.try_recv() {
                    Ok(request) => {
                        size += request.size();
                        group.push(request);
                    }
                    Err(_) => break,
                }
            }
            self.carry_out(&mut group);
            log.committed(&self.db);
        }
        self.db
    }

    fn carry_out(&mut self, group: &mut Vec<Box<dyn Request>>) {
        match self.transaction(group) {
            Ok(()) => group.drain(..).for_each(|request| request.answer(None)),
            Err(error) if group.len() == 1 => group.drain(..).for_each(|request| request.answer(Some(failed(&self.db.path, &error)))),
            Err(_) => {
                for mut request in group.drain(..) {
                    let done = self.transaction(std::slice::from_mut(&mut request));
                    request.answer(done.err().map(|error| failed(&self.db.path, &error)));
                }
            }
        }
    }

    fn transaction(&mut self, group: &mut [Box<dyn Request>]) -> rusqlite::Result<()> {
        let done = self.attempt(group);
        match &done {
            Ok(()) => self.live.committed(),
            Err(_) => {
                // An error may have ended the transaction already; then this one is of no interest.
                let _ = self.db.execute("ROLLBACK", ());
                self.live.undone();
            }
        }
        done
    }

    fn attempt(&mut self, group: &mut [Box<dyn Request>]) -> rusqlite::Result<()> {
        self.db.execute("BEGIN IMMEDIATE", ())?;
        self.live.refresh(&self.db)?;
        for request in group {
            request.carry_out(self)?;
        }
        self.live.write_tally(&self.db)?;
        self.db.execute("COMMIT", ())?;
        Ok(())
    }
}
