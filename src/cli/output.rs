//! What commands print: data on stdout, messages on stderr; tables cut to the terminal; nothing of a guest or a user
//! reaches a terminal with control characters in it.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;

use super::error::{CliError, Exit, Result};

/// Where a command prints, and how.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// `--json`: one document on stdout, errors too.
    pub json: bool,
    pub stdout: Style,
    pub stderr: Style,
    /// Columns of the terminal; `None` where stdout is not one.
    pub width: Option<usize>,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        let (stdout_is_terminal, stderr_is_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            json,
            stdout: Style::of(stdout_is_terminal),
            stderr: Style::of(stderr_is_terminal),
            width: rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col.into()).filter(|&columns: &usize| columns > 0),
            stdout_is_terminal,
            stderr_is_terminal,
        }
    }

    /// Text on stdout. A reader that has gone (`| head`) ends the command quietly.
    pub fn data(&self, text: &str) -> Result<()> {
        self.bytes(text.as_bytes())
    }

    pub fn line(&self, text: &str) -> Result<()> {
        self.data(&format!("{text}\n"))
    }

    /// One JSON document on stdout, indented for a person at a terminal.
    pub fn document(&self, value: &impl Serialize) -> Result<()> {
        let text = if self.stdout_is_terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.line(&text.map_err(|e| CliError::new(Exit::FAILED, "internal", e.to_string()))?)
    }

    /// One JSON document on one line, of a stream of them.
    pub fn jsonl(&self, value: &impl Serialize) -> Result<()> {
        self.line(&serde_json::to_string(value).map_err(|e| CliError::new(Exit::FAILED, "internal", e.to_string()))?)
    }

    /// A guest's bytes on stdout: as they are into a pipe or a file, with control characters escaped on a terminal.
    pub fn guest(&self, bytes: &[u8]) -> Result<()> {
        if self.stdout_is_terminal { self.data(&escape_lines(&String::from_utf8_lossy(bytes))) } else { self.bytes(bytes) }
    }

    /// A guest's log on stderr, as `guest` does on stdout.
    pub fn guest_log(&self, bytes: &[u8]) {
        let mut stderr = io::stderr().lock();
        let _ = if self.stderr_is_terminal { stderr.write_all(escape_lines(&String::from_utf8_lossy(bytes)).as_bytes()) } else { stderr.write_all(bytes) };
    }

    /// A message on stderr, a line of its own.
    pub fn message(&self, text: &str) {
        // There is nobody left to tell that stderr is gone.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// What is going on, for who watches a terminal.
    pub fn progress(&self, text: &str) {
        if self.stderr_is_terminal {
            self.message(text);
        }
    }

    /// The same with stderr's colours, for text that goes there.
    pub fn for_stderr(&self) -> Self {
        Self { stdout: self.stderr, ..*self }
    }

    pub fn note(&self, text: &str) {
        self.message(&format!("{} {}", self.stderr.yellow("note:"), escape(text)));
    }

    pub fn hint(&self, text: &str) {
        self.message(&format!("{} {}", self.stderr.cyan("hint:"), escape(text)));
    }

    fn bytes(&self, bytes: &[u8]) -> Result<()> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(Exit::OK.0.into()),
            Err(e) => Err(CliError::new(Exit::FAILED, "file", format!("standard output: {e}"))),
        }
    }
}

/// Colours, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Colours on a terminal that has them, unless `NO_COLOR` is set.
    fn of(terminal: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        Self { colour: terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb") }
    }

    pub fn has_colour(self) -> bool {
        self.colour
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
    pub fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }
    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }
    pub fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// An outcome and why it is not another one: `out-of-fuel: used all its fuel (limits.fuel = 1000000)`.
    pub fn outcome_line(self, outcome: &str, message: Option<&str>) -> String {
        let message = message.unwrap_or_default();
        // Some messages begin with the outcome already.
        let message = if message == outcome { "" } else { message.strip_prefix(&format!("{outcome}: ")).unwrap_or(message) };
        if message.is_empty() { self.outcome(outcome) } else { format!("{}: {}", self.outcome(outcome), escape(message)) }
    }

    /// An outcome in its colour: what the guest was, what a limit did, what is neither.
    pub fn outcome(self, outcome: &str) -> String {
        match outcome {
            "succeeded" => self.green(outcome),
            "cancelled" | "lost" | "refused" => self.yellow(outcome),
            _ => self.red(outcome),
        }
    }
}

/// `text` on one line with control characters, and those that turn the direction of writing, made visible.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_but(text, |_| false)
}

/// The same, but lines stay lines and tabs stay tabs.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_but(text, |c| matches!(c, '\n' | '\t'))
}

fn escape_but(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let unsafe_char = |c: char| (c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')) && !keep(c);
    if !text.contains(unsafe_char) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if unsafe_char(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    Cow::Owned(escaped)
}

/// A table: the columns as wide as what is in them, until the terminal is too narrow. Then figures are left out from
/// the right, and after that text is cut, the widest first; what a reader must copy stays whole.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy)]
pub struct Column {
    title: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Figure,
}

impl Column {
    /// May be cut.
    pub const fn text(title: &'static str) -> Self {
        Self { title, kind: Kind::Text }
    }

    /// Is never cut: ids, times.
    pub const fn whole(title: &'static str) -> Self {
        Self { title, kind: Kind::Whole }
    }

    /// Set to the right; the first to go where there is no room.
    pub const fn figure(title: &'static str) -> Self {
        Self { title, kind: Kind::Figure }
    }
}

/// The least that is left of a column that is cut.
const COLUMN_MIN: usize = 8;

impl Table {
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len(), "a row has a cell for every column");
        self.rows.push(cells.into_iter().map(|cell| escape(&cell).into_owned()).collect());
    }

    /// With titles, fitted to the terminal's width where there is one.
    pub fn render(&self, out: &Output) -> String {
        let layout = self.layout(out.width);
        let titles: Vec<_> = self.columns.iter().map(|c| c.title.to_owned()).collect();
        let mut text = out.stdout.dim(&self.line(&titles, &layout));
        text.push('\n');
        for row in &self.rows {
            text.push_str(&self.line(row, &layout));
            text.push('\n');
        }
        text
    }

    /// The columns that are shown, and how wide.
    fn layout(&self, most: Option<usize>) -> Vec<(usize, usize)> {
        let natural = |i: usize| self.rows.iter().map(|row| length(&row[i])).chain([length(self.columns[i].title)]).max().unwrap_or(0);
        let mut layout: Vec<_> = (0..self.columns.len()).map(|i| (i, natural(i))).collect();
        let Some(most) = most else { return layout };
        let too_wide = |layout: &[(usize, usize)]| layout.iter().map(|(_, width)| width + 2).sum::<usize>() > most + 2;
        let kind = |i: usize| self.columns[i].kind;
        while too_wide(&layout)
            && let Some(last) = layout.iter().rposition(|(i, _)| kind(*i) == Kind::Figure)
        {
            layout.remove(last);
        }
        while too_wide(&layout)
            && let Some((_, widest)) = layout.iter_mut().filter(|(i, width)| kind(*i) == Kind::Text && *width > COLUMN_MIN).max_by_key(|(_, width)| *width)
        {
            *widest -= 1;
        }
        layout
    }

    fn line(&self, cells: &[String], layout: &[(usize, usize)]) -> String {
        let cell = |(i, width): &(usize, usize)| {
            let cell = cut(&cells[*i], *width);
            let pad = " ".repeat(width.saturating_sub(length(&cell)));
            if self.columns[*i].kind == Kind::Figure { pad + &cell } else { cell.into_owned() + &pad }
        };
        layout.iter().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if length(text) <= width { Cow::Borrowed(text) } else { Cow::Owned(text.chars().take(width.saturating_sub(1)).chain(['…']).collect()) }
}

/// Names and values, one a line, the values aligned.
pub fn fields(out: &Output, rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| length(name)).max().unwrap_or(0);
    rows.iter()
        .map(|(name, value)| {
            let mut lines = value.lines();
            let first = format!("{}{}  {}\n", out.stdout.dim(name), " ".repeat(width - length(name)), escape(lines.next().unwrap_or_default()));
            lines.fold(first, |text, line| format!("{text}{}  {}\n", " ".repeat(width), escape(line)))
        })
        .collect()
}

/// Work that lasts longer says what is going on.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Does `work`; where it takes over a second and somebody watches, says what is going on.
pub fn patience<T>(message: &str, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    std::thread::scope(|scope| {
        let (done, waited) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            if waited.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = writeln!(io::stderr().lock(), "{message}");
            }
        });
        let answer = work();
        drop(done);
        answer
    })
}

/// `1234567` as `1_234_567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// A size for reading, to three digits: `1.2 MiB`.
pub fn size(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// A count for reading, to three digits: `9.5 G`.
pub fn count(n: u64) -> String {
    scaled(n as f64, 1000.0, &["", "k", "M", "G", "T", "P"]).trim_end().to_owned()
}

fn scaled(mut n: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while n >= step * 0.9995 && unit + 1 < units.len() {
        n /= step;
        unit += 1;
    }
    let digits = if unit == 0 || n >= 99.95 { 0 } else { 1 };
    let number = format!("{n:.digits$}");
    format!("{} {}", number.strip_suffix(".0").unwrap_or(&number), units[unit])
}

/// A duration for reading: `312 µs`, `4.2 ms`, `3.1 s`, `2 min 5 s`.
pub fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        1_000_000..60_000_000 => format!("{:.1} s", us as f64 / 1e6),
        _ => {
            let seconds = us / 1_000_000;
            match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
                (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
                (hours, minutes, _) => format!("{hours} h {minutes} min"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: Option<usize>) -> Output {
        Output { json: false, stdout: Style::default(), stderr: Style::default(), width, stdout_is_terminal: false, stderr_is_terminal: false }
    }

    #[test]
    fn control_characters_are_made_visible() {
        assert_eq!(escape("a\u{1b}[31mb\nc\u{202e}"), "a\\u{1b}[31mb\\nc\\u{202e}");
        assert_eq!(escape_lines("a\n\tb\r"), "a\n\tb\\r");
        assert!(matches!(escape("plain ü"), Cow::Borrowed(_)));
    }

    #[test]
    fn an_outcome_is_named_once_and_its_message_stays_whole() {
        let line = |message| Style::default().outcome_line("trapped", message);
        assert_eq!(line(None), "trapped");
        assert_eq!(line(Some("trapped")), "trapped");
        assert_eq!(line(Some("trapped: unreachable")), "trapped: unreachable");
        assert_eq!(line(Some("trapped is what it says")), "trapped: trapped is what it says");
    }

    #[test]
    fn a_table_is_aligned_and_fitted_to_the_terminal() {
        let mut table = Table::new([Column::whole("ID"), Column::text("WHAT"), Column::figure("FUEL")]);
        table.row(["a".into(), "a description of some length".into(), "1".into()]);
        table.row(["longer".into(), "x\u{7}y".into(), "1000".into()]);
        let at = |width| table.render(&plain(width));
        assert_eq!(
            at(None),
            "ID      WHAT                          FUEL\n\
             a       a description of some length     1\n\
             longer  x\\u{7}y                       1000\n"
        );
        assert_eq!(at(Some(41)), "ID      WHAT\na       a description of some length\nlonger  x\\u{7}y\n", "the figures go first");
        assert_eq!(at(Some(20)), "ID      WHAT\na       a descripti…\nlonger  x\\u{7}y\n", "then text is cut");
        assert_eq!(at(Some(5)), "ID      WHAT\na       a descr…\nlonger  x\\u{7}y\n", "an id stays whole");
    }

    #[test]
    fn figures_are_written_for_reading() {
        assert_eq!((grouped(1_234_567), grouped(12)), ("1_234_567".to_owned(), "12".to_owned()));
        assert_eq!((size(999), size(1 << 20), size(1536)), ("999 B".to_owned(), "1 MiB".to_owned(), "1.5 KiB".to_owned()));
        assert_eq!((count(999), count(10_000_000_000), count(999_999)), ("999".to_owned(), "10 G".to_owned(), "1 M".to_owned()));
        assert_eq!(
            (micros(312), micros(4_200), micros(3_100_000), micros(125_000_000)),
            ("312 µs".into(), "4.2 ms".into(), "3.1 s".into(), "2 min 5 s".into())
        );
    }
}
