//! Decisions: pure functions from what is known (and `now`) to what is to be done. Nothing here waits, reads a clock,
//! touches a store or can fail; `scheduler::driver` carries the answers out.
//!
//! * `fire`: a job that came due → the runs to make, the firings that make none (with the reason), the next firing.
//! * `backfill`: a past period → the instants of it that are to be made up for.
//! * `settle`: an attempt that ended → the run ended, or another attempt at a given time.
//! * `change`: a job added, replaced, paused, resumed, removed → the job as it is to be kept.
//! * `wake`: how long the driver may sleep.

mod after;
mod backfill;
mod change;
mod fire;
mod open;
mod settle;
#[cfg(test)]
mod tests;
mod wake;

pub use after::unresolved;
pub use backfill::{Backfill, Past, backfill};
pub use change::{create, pause, replace, resume, retire};
pub use fire::{Due, Ends, Firing, Step, fire};
pub use settle::{Decision, Settlement, settle, start_missed};
pub use wake::wake;
