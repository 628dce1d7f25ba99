//! Triggers as users write them. The serde form is the contract of the design's section 5.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Salt, Trigger, TriggerError};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TriggerSpec {
    Manual {},
    Cron(CronSpec),
    Every(EverySpec),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CronSpec {}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EverySpec {}

impl TriggerSpec {
    /// With an interval that has no start anchored at `anchor`.
    pub fn anchored(self, _anchor: Timestamp) -> Self {
        unimplemented!()
    }
    pub fn compile(self, _salt: Salt<'_>) -> Result<Trigger, TriggerError> {
        unimplemented!()
    }
    /// The shortest interval of any `every` in it.
    pub fn shortest_interval(&self) -> Option<SignedDuration> {
        unimplemented!()
    }
}
