//! `bellcage calendar …`: exclusion calendars.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;

use crate::job::CalendarName;
use crate::wire::{Calendar, Exclusion, Exclusions};

use super::component::{PageFlags, hint_more};
use super::error::{CliError, Exit, Result};
use super::output::{Column, Table, fields};
use super::{Context, limits, when};

/// The largest definition that is read from a file.
const FILE_MAX: u64 = 1 << 20;

#[derive(Subcommand)]
pub enum CalendarCommand {
    /// Add a calendar, or put it in the place of the one of its name
    Set(SetArgs),
    /// Every calendar
    List {
        #[command(flatten)]
        page: PageFlags,
    },
    /// What a calendar leaves out
    Show { name: String },
    /// Remove a calendar; refused while jobs refer to it
    Rm { name: String },
}

#[derive(Args)]
pub struct SetArgs {
    /// Such as holidays; jobs refer to it with --calendar NAME
    name: String,
    /// Read the definition from a TOML file: timezone = "…" and exclude = [{ date = "2026-12-24" }, …]
    #[arg(short, long, conflicts_with_all = ["timezone", "date", "yearly", "weekdays", "daily", "window"])]
    file: Option<PathBuf>,
    /// Whose days and times are meant [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// Leave out one day, such as 2026-12-24
    #[arg(long, value_name = "DATE")]
    date: Vec<String>,
    /// Leave out a day of each year, such as 12-25
    #[arg(long, value_name = "MM-DD")]
    yearly: Vec<String>,
    /// Leave out days of the week, such as sat,sun
    #[arg(long, value_name = "DAYS", value_delimiter = ',')]
    weekdays: Vec<String>,
    /// Leave out a time of every day, such as 22:00-06:00
    #[arg(long, value_name = "FROM-TO")]
    daily: Vec<String>,
    /// Leave out a stretch of time, such as 2026-12-20T18:00/2027-01-02 (its end not included)
    #[arg(long, value_name = "FROM/TO")]
    window: Vec<String>,
}

pub fn run(command: &CalendarCommand, context: &Context) -> Result {
    match command {
        CalendarCommand::Set(args) => set(args, context),
        CalendarCommand::List { page } => list(page, context),
        CalendarCommand::Show { name } => show(&parse_name(name)?, context),
        CalendarCommand::Rm { name } => rm(&parse_name(name)?, context),
    }
}

fn set(args: &SetArgs, context: &Context) -> Result {
    let name = parse_name(&args.name)?;
    let exclusions = match &args.file {
        Some(path) => {
            let bytes = limits::read_input(&path.to_string_lossy(), FILE_MAX)?;
            let text = String::from_utf8_lossy(&bytes);
            toml::from_str(&text).map_err(|e| CliError::usage(format!("{}: {}", path.display(), e.message())).hint("exclude = [{ date = \"2026-12-24\" }, { yearly = \"12-25\" }, { weekdays = [\"sat\", \"sun\"] }, { daily = \"22:00-06:00\" }, { from = \"…\", to = \"…\" }]"))?
        }
        None => args.exclusions()?,
    };
    // Refused here with the place marked, before a server is asked.
    exclusions.compile()?;
    let calendar = context.client()?.put_calendar(&name, &exclusions)?;
    if context.out.json {
        context.out.document(&calendar)?;
    } else {
        context.out.line(&format!("calendar {name} leaves out {}", count(calendar.exclusions.exclude.len())))?;
        context.out.hint(&format!("let a job heed it: bellcage job add … --calendar {name}"));
    }
    Ok(Exit::OK)
}

fn count(rules: usize) -> String {
    match rules {
        0 => "nothing".to_owned(),
        1 => "1 rule".to_owned(),
        n => format!("{n} rules"),
    }
}

impl SetArgs {
    fn exclusions(&self) -> Result<Exclusions> {
        use crate::trigger::{DailyRule, DateRule, WeekdaysRule, WindowRule, YearlyRule};
        let mut exclude: Vec<Exclusion> = Vec::new();
        exclude.extend(self.date.iter().map(|date| Exclusion::Date(DateRule { date: date.clone() })));
        exclude.extend(self.yearly.iter().map(|yearly| Exclusion::Yearly(YearlyRule { yearly: yearly.clone() })));
        if !self.weekdays.is_empty() {
            exclude.push(Exclusion::Weekdays(WeekdaysRule { weekdays: self.weekdays.clone() }));
        }
        exclude.extend(self.daily.iter().map(|daily| Exclusion::Daily(DailyRule { daily: daily.clone(), weekdays: Vec::new() })));
        for window in &self.window {
            let (from, to) = window.split_once('/').ok_or_else(|| {
                CliError::usage(format!("{window:?} is not a stretch of time")).hint("write it as FROM/TO, such as 2026-12-20T18:00/2027-01-02")
            })?;
            exclude.push(Exclusion::Window(WindowRule { from: from.to_owned(), to: to.to_owned() }));
        }
        Ok(Exclusions { timezone: self.timezone.clone(), exclude })
    }
}

fn list(page: &PageFlags, context: &Context) -> Result {
    let list = context.client()?.calendars(&page.page())?;
    let out = &context.out;
    if out.json {
        out.document(&list)?;
        return Ok(Exit::OK);
    }
    if list.calendars.is_empty() {
        out.hint("there is no calendar yet: bellcage calendar set holidays --yearly 12-25");
        return Ok(Exit::OK);
    }
    let mut table = Table::new([Column::whole("NAME"), Column::text("LEAVES OUT"), Column::whole("UPDATED")]);
    for calendar in list.calendars {
        let rules = calendar.exclusions.exclude.iter().map(describe).collect::<Vec<_>>().join(", ");
        table.row([calendar.name.to_string(), rules, when::local(calendar.updated_at, &TimeZone::UTC)]);
    }
    out.data(&table.render(out))?;
    hint_more(context, list.next.as_ref());
    Ok(Exit::OK)
}

fn show(name: &CalendarName, context: &Context) -> Result {
    let Calendar { name, exclusions, updated_at } = context.client()?.calendar(name)?;
    let out = &context.out;
    if out.json {
        out.document(&Calendar { name, exclusions, updated_at })?;
        return Ok(Exit::OK);
    }
    let rules = exclusions.exclude.iter().map(describe).collect::<Vec<_>>().join("\n");
    let shown = [
        ("name", name.to_string()),
        ("timezone", exclusions.timezone.unwrap_or_else(|| "UTC".to_owned())),
        ("leaves out", if rules.is_empty() { "nothing".to_owned() } else { rules }),
        ("updated", when::local(updated_at, &TimeZone::UTC)),
    ];
    out.data(&fields(out, &shown))?;
    Ok(Exit::OK)
}

fn describe(rule: &Exclusion) -> String {
    match rule {
        Exclusion::Date(rule) => rule.date.clone(),
        Exclusion::Yearly(rule) => format!("{} each year", rule.yearly),
        Exclusion::Weekdays(rule) => rule.weekdays.join(" "),
        Exclusion::Daily(rule) if rule.weekdays.is_empty() => format!("{} each day", rule.daily),
        Exclusion::Daily(rule) => format!("{} on {}", rule.daily, rule.weekdays.join(" ")),
        Exclusion::Window(rule) => format!("{} to {}", rule.from, rule.to),
    }
}

fn rm(name: &CalendarName, context: &Context) -> Result {
    let removed = context.client()?.remove_calendar(name)?;
    if context.out.json {
        context.out.document(&removed)?;
    } else {
        context.out.line(&format!("removed calendar {}", removed.removed))?;
    }
    Ok(Exit::OK)
}

fn parse_name(typed: &str) -> Result<CalendarName> {
    Ok(typed.parse()?)
}
