//! The sandbox: one suite, which every executor passes.
#![allow(clippy::duplicate_mod, reason = "the suite is a module of each executor's")]

use std::sync::Arc;

use bellcage::executor::{AttemptReport, AttemptRequest, Executor, Outside};
use bellcage::job::Limits;

use crate::support::cage;

/// In threads of this process.
#[path = "."]
mod pool {
    use super::{Arc, Executor, Outside};
    use bellcage::executor::{Pool, PoolConfig};

    pub fn executor(workers: usize, slots: usize) -> Arc<dyn Executor> {
        Arc::new(Pool::start(PoolConfig { workers, slots, ..PoolConfig::default() }).expect("a pool"))
    }

    pub fn executor_with(outside: Arc<dyn Outside>) -> Arc<dyn Executor> {
        Arc::new(Pool::start_with(PoolConfig { workers: 1, slots: 4, ..PoolConfig::default() }, outside).expect("a pool"))
    }

    mod cases;
    mod http;
    mod outside;
    mod typed;
}

/// In confined processes.
#[path = "."]
mod workers {
    use super::{Arc, Executor, Outside};
    use crate::support::cage;
    use bellcage::executor::Workers;

    pub fn executor(workers: usize, slots: usize) -> Arc<dyn Executor> {
        Arc::new(Workers::start(cage::workers_config(workers, slots)).expect("worker processes"))
    }

    pub fn executor_with(outside: Arc<dyn Outside>) -> Arc<dyn Executor> {
        Arc::new(Workers::start_with(cage::workers_config(1, 4), outside).expect("worker processes"))
    }

    mod cases;
    mod http;
    mod outside;
    mod typed;
}

/// In a confined process for each attempt.
#[path = "."]
mod process_per_run {
    use super::{Arc, AttemptReport, AttemptRequest, Executor, Outside};
    use crate::support::cage;
    use async_trait::async_trait;
    use bellcage::executor::{Workers, WorkersConfig};
    use bellcage::job::{Isolation, Progress, RunId};

    struct Alone(Workers);

    #[async_trait]
    impl Executor for Alone {
        async fn run(&self, request: AttemptRequest) -> AttemptReport {
            self.0.run(AttemptRequest { isolation: Isolation::ProcessPerRun, ..request }).await
        }

        fn slots(&self) -> usize {
            self.0.slots()
        }

        fn cancel(&self, run: RunId, reason: &str) {
            self.0.cancel(run, reason);
        }

        fn progress(&self, run: RunId) -> Option<Progress> {
            self.0.progress(run)
        }

        async fn fresh_progress(&self) -> Vec<(RunId, Progress)> {
            self.0.fresh_progress().await
        }
    }

    pub fn executor(workers: usize, slots: usize) -> Arc<dyn Executor> {
        let config = WorkersConfig { alone_max: 8, ..cage::workers_config(workers, slots) };
        Arc::new(Alone(Workers::start(config).expect("worker processes")))
    }

    pub fn executor_with(outside: Arc<dyn Outside>) -> Arc<dyn Executor> {
        let config = WorkersConfig { alone_max: 8, ..cage::workers_config(1, 4) };
        Arc::new(Alone(Workers::start_with(config, outside).expect("worker processes")))
    }

    mod cases;
    mod http;
    mod outside;
    mod typed;
}

/// One attempt of a component with these limits.
async fn run(executor: &dyn Executor, component: &[u8], limits: Limits) -> AttemptReport {
    executor.run(AttemptRequest { limits, ..cage::request(component).await }).await
}

/// One attempt of the `probe` guest with these arguments.
async fn probe(executor: &dyn Executor, args: &[&str], limits: Limits) -> AttemptReport {
    let request = cage::request(&cage::built_guest("probe")).await;
    executor.run(AttemptRequest { args: args.into(), limits, ..request }).await
}
