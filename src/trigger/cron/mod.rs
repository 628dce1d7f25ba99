//! cron.
use jiff::Timestamp;
use jiff::tz::TimeZone;

#[derive(Debug)]
pub(super) struct Cron {}

impl Cron {
    pub fn next_after(&self, _t: Timestamp, _zone: &TimeZone) -> Option<Timestamp> {
        unimplemented!()
    }
    pub fn last_at_or_before(&self, _t: Timestamp, _zone: &TimeZone) -> Option<Timestamp> {
        unimplemented!()
    }
    pub fn count_between(&self, _after: Timestamp, _until: Timestamp, _zone: &TimeZone) -> u64 {
        unimplemented!()
    }
    pub fn describe(&self) -> String {
        unimplemented!()
    }
    pub fn notes(&self, _now: Timestamp, _zone: &TimeZone) -> Vec<String> {
        unimplemented!()
    }
}
