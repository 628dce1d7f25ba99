//! Threads that read, each with a connection of its own. They see what had been committed when a request begins: an
//! answered write is seen by every later read.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::open::failed;
use super::writer::{Db, Done, Failure};
use crate::store::StoreError;

pub(super) type Read = Box<dyn FnOnce(&Db) + Send>;

pub(super) fn request<T: Send + 'static>(work: impl FnOnce(&Db) -> Done<T> + Send + 'static, to: oneshot::Sender<Result<T, StoreError>>) -> Read {
    Box::new(move |db| {
        let found = work(db).map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Database(error) => failed(&db.path, &error),
        });
        // The caller may have gone.
        let _ = to.send(found);
    })
}

pub(super) fn run(db: &Db, queue: &Mutex<mpsc::Receiver<Read>>) {
    loop {
        // One thread waits in the queue, the others for their turn to do so.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match next {
            Some(read) => read(db),
            None => return,
        }
    }
}
