//! Very many definitions, in several requests: what a server takes at once is bounded in number and size.

use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use serde::Serialize;

use super::{Call, Client, ClientError, Method, encode};
use crate::wire::{AddJob, Applied, AppliedJob, OnConflict, upstream_first};

/// Requests under way at the same time: while the server stores one, the next is written, sent and read.
const AT_ONCE: usize = 3;
/// Definitions in one request at most.
const JOBS_MAX: usize = 500;
/// Bytes of definitions in one request, unless a single one has more: half of what a server takes by default.
const BYTES_MAX: usize = 512 << 10;

/// `wire::Apply`, of definitions that are kept elsewhere.
#[derive(Serialize)]
struct Apply<'a> {
    jobs: Vec<&'a AddJob>,
    on_conflict: OnConflict,
}

type Answers = Vec<(usize, AppliedJob)>;

/// What became of each, in the order given. Those that follow others are sent after the rest, one request after the other.
pub(super) fn all(client: &Client, jobs: &[AddJob], on_conflict: OnConflict) -> Result<Applied, ClientError> {
    let order = upstream_first(jobs, |job| job.id.as_str(), |job| job.spec.trigger.upstream());
    let (following, others): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|&place| jobs[place].spec.trigger.is_after());
    let sending = Sending { client, jobs, on_conflict };
    let mut answers = sending.send(&others, AT_ONCE)?;
    answers.extend(sending.send(&following, 1)?);
    answers.sort_by_key(|(place, _)| *place);
    Ok(Applied { jobs: answers.into_iter().map(|(_, applied)| applied).collect() })
}

struct Sending<'a> {
    client: &'a Client,
    jobs: &'a [AddJob],
    on_conflict: OnConflict,
}

impl Sending<'_> {
    /// After a request that fails no other is sent.
    fn send(&self, places: &[usize], at_once: usize) -> Result<Answers, ClientError> {
        let batches = Mutex::new(places.chunks(JOBS_MAX));
        let next = || batches.lock().unwrap_or_else(PoisonError::into_inner).next();
        let stop = || *batches.lock().unwrap_or_else(PoisonError::into_inner) = [].chunks(1);
        thread::scope(|scope| {
            let (told, heard) = mpsc::channel();
            for _ in 0..at_once.min(places.len().div_ceil(JOBS_MAX)) {
                let told = told.clone();
                scope.spawn(move || {
                    while let Some(batch) = next() {
                        let answers = self.batch(batch);
                        if answers.is_err() {
                            stop();
                        }
                        // Who listens does so until the last of us is gone.
                        let _ = told.send(answers);
                    }
                });
            }
            drop(told);
            heard.into_iter().collect::<Result<Vec<Answers>, _>>().map(|answers| answers.concat())
        })
    }

    /// One request, or where that would be too large, several.
    fn batch(&self, places: &[usize]) -> Result<Answers, ClientError> {
        let body = encode(&Apply { jobs: places.iter().map(|&place| &self.jobs[place]).collect(), on_conflict: self.on_conflict });
        if body.len() > BYTES_MAX && places.len() > 1 {
            let (some, others) = places.split_at(places.len() / 2);
            let mut answers = self.batch(some)?;
            answers.extend(self.batch(others)?);
            return Ok(answers);
        }
        let Applied { jobs } = self.client.json(Call::new(Method::POST, "/api/v1/apply").json(&body))?;
        if jobs.len() != places.len() {
            return Err(self.client.foreign(&format!("{} answers about {} definitions", jobs.len(), places.len())));
        }
        Ok(places.iter().copied().zip(jobs).collect())
    }
}
