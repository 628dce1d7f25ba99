//! An executor that does as its arguments say, in order: `hold` waits until it is cancelled, `log TEXT` writes to the log,
//! `drop N` says that N bytes of log were dropped, `say TEXT` is the result, `fail CODE` exits so.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bellcage::executor::{AttemptReport, AttemptRequest, Executor};
use bellcage::job::{AttemptLog, Outcome, Receipt, RunError, RunId, RunResult};
use tokio::sync::watch;

#[derive(Default)]
pub struct Scripted {
    /// The reason, once there is one, for each attempt that is going.
    cancelled: Mutex<HashMap<RunId, watch::Sender<Option<String>>>>,
}

#[async_trait]
impl Executor for Scripted {
    async fn run(&self, request: AttemptRequest) -> AttemptReport {
        let (cancel, mut cancelled) = watch::channel(None);
        self.cancelled().insert(request.run, cancel);
        let mut report = AttemptReport {
            started_at: request.scheduled_at,
            ended_at: request.scheduled_at,
            outcome: Outcome::Succeeded,
            exit_code: Some(0),
            error: None,
            result: None,
            retry: None,
            progress: None,
            checkpoint: None,
            log: AttemptLog::default(),
            receipt: Receipt {
                fuel_used: 1_000,
                fuel_limit: request.limits.fuel,
                memory_peak_bytes: 65_536,
                memory_limit_bytes: request.limits.memory,
                wall_us: 2_000,
                queue_us: 3_000,
                digest: Some(request.component.digest),
                ..Receipt::default()
            },
        };
        let args: Vec<String> = serde_json::from_value(request.args).unwrap_or_default();
        let mut words = args.into_iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "hold" => {
                    let reason = cancelled.wait_for(Option::is_some).await.map(|reason| reason.clone().unwrap_or_default());
                    let message = reason.unwrap_or_default();
                    report.outcome = Outcome::Cancelled;
                    report.exit_code = None;
                    report.error = Some(RunError { code: "cancelled".to_owned(), message, ..RunError::default() });
                    break;
                }
                "log" => report.log.head = words.next().unwrap().into_bytes(),
                "drop" => report.log.dropped = words.next().unwrap().parse().unwrap(),
                "say" => report.result = Some(RunResult::Text(words.next().unwrap().into_bytes())),
                "fail" => {
                    report.outcome = Outcome::Failed;
                    report.exit_code = words.next().unwrap().parse().ok();
                    report.error = Some(RunError { code: "exit-code".to_owned(), message: "it failed".to_owned(), ..RunError::default() });
                }
                other => panic!("the script has no word {other:?}"),
            }
        }
        self.cancelled().remove(&request.run);
        report
    }

    fn slots(&self) -> usize {
        4
    }

    fn cancel(&self, run: RunId, reason: &str) {
        if let Some(cancel) = self.cancelled().get(&run) {
            cancel.send_replace(Some(reason.to_owned()));
        }
    }
}

impl Scripted {
    fn cancelled(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, watch::Sender<Option<String>>>> {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
