//! `bellcage:job/checkpoint`: bytes kept from one attempt of a run to the next. What is saved leaves with the attempt's
//! report; the scheduler stores it where there is another attempt.

use wasmtime::component::HasData;

use super::bindings::checkpoint::{Error, Host};
use crate::executor::signal::Signal;

pub(in crate::executor) struct Checkpoint<'a> {
    pub signal: &'a Signal,
    /// What earlier attempts of the run saved last.
    pub kept: Option<&'a [u8]>,
    /// Bytes of a checkpoint.
    pub max: u64,
}

impl HasData for Checkpoint<'static> {
    type Data<'a> = Checkpoint<'a>;
}

impl Host for Checkpoint<'_> {
    fn save(&mut self, data: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        if data.len() as u64 > self.max {
            return Ok(Err(Error::TooLarge(self.max)));
        }
        self.signal.news.checkpoint(data);
        Ok(Ok(()))
    }

    fn load(&mut self) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.signal.news.saved().or_else(|| self.kept.map(<[u8]>::to_vec)))
    }
}
