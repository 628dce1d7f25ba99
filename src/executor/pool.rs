//! The in-process executor: one engine and pool per worker thread.
use async_trait::async_trait;

use super::{AttemptReport, AttemptRequest, Executor};
use crate::job::RunId;

pub struct Pool {}

#[derive(Clone, Debug)]
pub struct PoolConfig {}

#[async_trait]
impl Executor for Pool {
    async fn run(&self, _request: AttemptRequest) -> AttemptReport {
        unimplemented!()
    }
    fn slots(&self) -> usize {
        unimplemented!()
    }
    fn cancel(&self, _run: RunId, _reason: &str) {
        unimplemented!()
    }
}
