//! Triggers alone: when would a job fire? Nothing is started, no clock is read: the same question has the same answer on
//! every machine. Notice the second and third line: the clock change of 29 March moves one firing, and loses none.
//!
//! cargo run --example when

use bellcage::trigger::{Salt, TriggerError, TriggerSpec, parse_instant};

fn main() -> Result<(), TriggerError> {
    let spec = TriggerSpec::from_json(r#"{ "cron": "30 2 * * *", "timezone": "Europe/Berlin" }"#)?;
    let trigger = spec.compile(Salt { tenant: "default", job: "nightly" })?;
    println!("{}", trigger.describe());

    let after = parse_instant("2026-03-28T00:00:00Z", None)?;
    let fires = std::iter::successors(trigger.next_after(after), |&fire| trigger.next_after(fire));
    for fire in fires.take(3) {
        println!("{}", fire.to_zoned_datetime(trigger.timezone().clone()));
    }

    // A year of a one-second job is counted, not enumerated.
    let every = TriggerSpec::from_json(r#"{ "every": "1s", "start": "2026-01-01T00:00:00Z" }"#)?.compile(Salt { tenant: "default", job: "often" })?;
    let (from, to) = (parse_instant("2026-01-01T00:00:00Z", None)?, parse_instant("2027-01-01T00:00:00Z", None)?);
    println!("{} firings in 2026", every.count_between(from, to).n);
    Ok(())
}
