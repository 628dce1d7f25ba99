//! `bellcage:job/logging`: messages with a level, each a line of the attempt's log: `WARN prices: 3 rows were skipped`.

use wasmtime::component::HasData;

use super::bindings::logging::{Host, Level};
use crate::component::as_shown;
use crate::executor::output::{EndsSink, Output};

/// Characters of one message and of its context.
const MESSAGE_MAX: usize = 64 << 10;
const CONTEXT_MAX: usize = 200;

/// Into the log that standard error goes to.
pub(in crate::executor) struct Logging<'a>(pub &'a Output<EndsSink>);

impl HasData for Logging<'static> {
    type Data<'a> = Logging<'a>;
}

impl Host for Logging<'_> {
    fn log(&mut self, level: Level, context: String, message: String) -> wasmtime::Result<()> {
        Ok(self.0.sink().line(line(level, &context, &message).as_bytes())?)
    }
}

/// One line, whatever the guest put into it.
fn line(level: Level, context: &str, message: &str) -> String {
    let message = as_shown(message, MESSAGE_MAX);
    match context {
        "" => format!("{} {message}\n", name(level)),
        context => format!("{} {}: {message}\n", name(level), as_shown(context, CONTEXT_MAX)),
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Trace => "TRACE",
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
        Level::Critical => "CRITICAL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_with_its_level_and_context() {
        assert_eq!(line(Level::Warn, "prices", "3 rows\nskipped\x1b[0m"), "WARN prices: 3 rows\\nskipped\\u{1b}[0m\n");
        assert_eq!(line(Level::Info, "", "ready"), "INFO ready\n");
    }

    #[test]
    fn a_long_message_is_cut() {
        assert_eq!(line(Level::Info, "", &"x".repeat(MESSAGE_MAX + 5)).chars().count(), "INFO …\n".chars().count() + MESSAGE_MAX);
    }
}
