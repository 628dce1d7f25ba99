//! `bellcage:job/progress`: how far the attempt is. The newest report is kept; who watches is told of it some ten times a
//! second at most, however often the guest reports.

use wasmtime::component::HasData;

use super::bindings::progress::Host;
use crate::component::as_shown;
use crate::executor::signal::Signal;
use crate::job::Progress;

pub(in crate::executor) struct Reporting<'a>(pub &'a Signal);

impl HasData for Reporting<'static> {
    type Data<'a> = Reporting<'a>;
}

impl Host for Reporting<'_> {
    fn report(&mut self, fraction: Option<f64>, message: String) -> wasmtime::Result<()> {
        self.0.news.progress(shown(fraction, &message));
        Ok(())
    }
}

/// As it may be kept and shown, whoever told it.
pub(in crate::executor) fn shown(fraction: Option<f64>, message: &str) -> Progress {
    let mut message = as_shown(message, Progress::MESSAGE_MAX);
    message.truncate(message.floor_char_boundary(Progress::MESSAGE_MAX));
    Progress { fraction: fraction.filter(|part| !part.is_nan()).map(|part| part.clamp(0.0, 1.0)), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_moved_into_its_range_and_what_is_no_number_is_unknown() {
        let kept = |fraction| shown(Some(fraction), "").fraction;
        assert_eq!([kept(-0.5), kept(0.25), kept(f64::INFINITY), kept(f64::NAN)], [Some(0.0), Some(0.25), Some(1.0), None]);
        assert_eq!(shown(None, "at it"), Progress { fraction: None, message: "at it".to_owned() });
    }

    #[test]
    fn of_a_message_256_bytes_are_kept() {
        assert_eq!(shown(None, &"å".repeat(300)).message, "å".repeat(128));
    }
}
