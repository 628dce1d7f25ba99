//! The one thread that writes. Requests that wait in its queue are carried out in one transaction, and answered when
//! it has been committed: the disk is waited for once a group, not once a request.
//!
//! A request that is refused (no such job, a name taken) finds that out before it writes anything, so its refusal is an
//! answer like any other. Where the database itself fails, the group is undone, and each of its requests is carried out
//! again in a transaction of its own, so that one's failure never undoes others.

use std::path::PathBuf;
use std::rc::Rc;

use rusqlite::{CachedStatement, Connection, Params};
use tokio::sync::{mpsc, oneshot};

use super::live::Live;
use super::log::Log;
use super::open::failed;
use crate::store::StoreError;

/// Requests carried out in one transaction at most; one of many items counts as so many. Few, so that what comes next waits for some
/// milliseconds only, and that amid a burst some of it starts while the rest is stored.
const GROUP_MAX: usize = 256;

pub(super) struct Writer {
    /// Shared with nobody: with a copy, statements can be kept at hand while the rest changes.
    pub db: Rc<Db>,
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
    /// Gets back what was asked, too.
    pub to: oneshot::Sender<(Result<T, StoreError>, F)>,
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
        let Self { work, found, to, .. } = *self;
        let answer = match (failed, found) {
            (Some(error), _) => Err(error),
            (None, Some(found)) => found,
            (None, None) => Err(StoreError::Closed),
        };
        let _ = to.send((answer, work));
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
    pub(super) fn new(db: Db, live: Live) -> Self {
        Self { db: Rc::new(db), live }
    }

    /// Until nobody can ask any more. Its connection is given back open: it is the last to be closed.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Request>>, mut log: Log) -> Option<Db> {
        while let Some(request) = queue.blocking_recv() {
            self.carry_out(request, &mut queue);
            log.committed(&self.db);
        }
        Rc::into_inner(self.db)
    }

    /// Carries out a request, with those that wait behind it or come meanwhile.
    fn carry_out(&mut self, first: Box<dyn Request>, queue: &mut mpsc::Receiver<Box<dyn Request>>) {
        let mut size = 0;
        let mut next = Some(first);
        let mut group = Vec::new();
        let done = self.transaction(&mut group, || {
            let request = next.take().or_else(|| (size < GROUP_MAX).then(|| queue.try_recv().ok()).flatten())?;
            size += request.size();
            Some(request)
        });
        match done {
            Ok(()) => group.drain(..).for_each(|request| request.answer(None)),
            Err(error) if group.len() == 1 => group.drain(..).for_each(|request| request.answer(Some(failed(&self.db.path, &error)))),
            // Where it could not even begin, the first has not been taken.
            Err(_) => group.drain(..).chain(next).for_each(|request| self.carry_out_alone(request)),
        }
    }

    fn carry_out_alone(&mut self, request: Box<dyn Request>) {
        let (mut next, mut done) = (Some(request), Vec::new());
        let failure = self.transaction(&mut done, || next.take()).err();
        done.into_iter().chain(next).for_each(|request| request.answer(failure.as_ref().map(|error| failed(&self.db.path, error))));
    }

    /// Carries out what `next` gives, and puts it into `done`.
    fn transaction(&mut self, done: &mut Vec<Box<dyn Request>>, next: impl FnMut() -> Option<Box<dyn Request>>) -> rusqlite::Result<()> {
        let end = self.attempt(done, next);
        match &end {
            Ok(()) => self.live.committed(),
            Err(_) => {
                // An error may have ended the transaction already; then this one is of no interest.
                let _ = self.db.execute("ROLLBACK", ());
                self.live.undone();
            }
        }
        end
    }

    fn attempt(&mut self, done: &mut Vec<Box<dyn Request>>, mut next: impl FnMut() -> Option<Box<dyn Request>>) -> rusqlite::Result<()> {
        self.db.execute("BEGIN IMMEDIATE", ())?;
        self.live.refresh(&self.db)?;
        while let Some(mut request) = next() {
            let carried_out = request.carry_out(self);
            done.push(request);
            carried_out?;
        }
        self.live.write_tally(&self.db)?;
        self.db.execute("COMMIT", ())?;
        Ok(())
    }
}
