//! The configuration: flags over the environment over `bellcage.toml` over `default.toml`, each value with where it came from.
//!
//! `default.toml` is embedded and is the reference: every setting stands in it with a comment, and a key that does not is
//! refused by name. Nothing here looks at the environment or at the command line by itself: a caller hands both in.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use crate::executor::Confinement;
use crate::job::{DirectoryName, Limits, LimitsSpec, SecretText, TenantId, bytes, duration};

/// The commented defaults, as embedded.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// The file that is read from the working directory when no other is named.
pub const FILE_NAME: &str = "bellcage.toml";

/// The section whose names are tenants' and not settings'.
const TENANT: &str = "tenant";

/// The least that a server can give its guests.
const MEMORY_MIN: u64 = 16 << 20;

/// The largest configuration file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub store: Store,
    pub scheduler: Scheduler,
    pub executor: Executor,
    /// Of attempts whose job does not say.
    pub limits: Limits,
    /// The most that a job may ask for.
    pub limit_caps: Limits,
    pub http: Http,
    pub compile: Compile,
    pub secrets: Secrets,
    /// Of this machine, that jobs may be granted by name.
    pub directories: BTreeMap<DirectoryName, Directory>,
    pub shutdown: Shutdown,
    pub log: Log,
    /// What is set for single tenants, by name.
    #[serde(default)]
    pub tenant: BTreeMap<TenantId, Tenant>,
}

/// The settings of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tenant {
    /// The most that a job of the tenant may ask for, where that is less than `limit_caps`.
    pub limits: LimitsSpec,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    /// Empty: made at the first start and kept in the data directory.
    pub token: String,
    /// Names that requests may use for this server besides its own address.
    pub hosts: Vec<String>,
    #[serde(with = "bytes")]
    pub component_max: u64,
    #[serde(with = "bytes")]
    pub body_max: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub data: PathBuf,
    #[serde(with = "duration")]
    pub keep_for: SignedDuration,
    pub keep_runs_per_job: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduler {
    #[serde(with = "duration")]
    pub lease: SignedDuration,
    pub batch_max: usize,
    #[serde(with = "duration")]
    pub every_min: SignedDuration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Executor {
    pub kind: ExecutorKind,
    /// 0: one per core.
    pub workers: usize,
    pub slots: usize,
    /// Attempts in a process of their own at once. 0: four per core.
    pub processes: usize,
    pub confinement: Confinement,
    pub recycle_after: u64,
    pub nice: u32,
    /// 0: half of what there is.
    #[serde(with = "bytes")]
    pub memory: u64,
    #[serde(with = "bytes")]
    pub scratch_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecutorKind {
    /// Confined processes.
    Workers,
    /// Threads of the server.
    Pool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub at_once: usize,
    /// Whether a grant may name addresses that are not on the public internet.
    pub private: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compile {
    #[serde(with = "bytes")]
    pub memory: u64,
    #[serde(with = "duration")]
    pub cpu: SignedDuration,
    #[serde(with = "duration")]
    pub wall: SignedDuration,
    #[serde(with = "bytes")]
    pub artefact: u64,
    /// 0: one per core.
    pub at_once: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    pub path: PathBuf,
    /// Whether jobs may write there.
    #[serde(default)]
    pub write: bool,
}

/// What secrets are sealed under.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// Empty: `key_file`'s.
    pub key: SecretText,
    /// Empty: one is made at the first start and kept in the data directory.
    pub key_file: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    #[serde(with = "duration")]
    pub drain: SignedDuration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    Text,
    Json,
}

/// Where a value came from. `Display` is how a user would find it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Environment { name: String },
    Flag { name: String },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { name } | Self::Flag { name } => f.write_str(name),
        }
    }
}

/// What a configuration is made from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A file that was named and must exist; else `bellcage.toml`, where there is one.
    pub file: Option<PathBuf>,
    /// The environment's variables; those that do not begin with `BELLCAGE_` are passed over.
    pub environment: Vec<(String, String)>,
    /// In the order in which they were typed.
    pub flags: Vec<FlagValue>,
}

/// A flag that sets a setting.
#[derive(Clone, Debug)]
pub struct FlagValue {
    /// As typed: `--listen`.
    pub flag: String,
    /// `server.listen`.
    pub key: String,
    pub value: String,
}

/// One setting as it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// `server.listen`.
    pub key: String,
    pub value: Value,
    pub origin: Origin,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the configuration file {} cannot be read: {detail}", path.display())]
    Read { path: PathBuf, detail: String },
    #[error("{}:{line}: {message}", path.display())]
    Syntax { path: PathBuf, line: usize, message: String },
    #[error("{origin}: there is no setting {key:?}")]
    Unknown { key: String, origin: Origin, nearest: Option<String> },
    #[error("{origin}: {key} cannot be {value}: {message}")]
    Value { key: String, value: String, origin: Origin, message: String },
}

impl ConfigError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "config-unreadable",
            Self::Syntax { .. } | Self::Value { .. } => "bad-config",
            Self::Unknown { .. } => "unknown-setting",
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } | Self::Syntax { .. } => None,
            Self::Unknown { nearest: Some(nearest), .. } => Some(format!("did you mean {nearest}?")),
            Self::Unknown { .. } => Some("see all settings with: bellcage config show".to_owned()),
            Self::Value { key, .. } => Some(format!("the default is {key} = {}", default_of(key)?)),
        }
    }
}

/// A configuration and where each of its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    values: Table,
    origins: BTreeMap<String, Origin>,
    /// Variables of the environment that begin with `BELLCAGE_` and set nothing. They are not refused: container
    /// platforms set such names for services of that name.
    pub unknown_variables: Vec<String>,
}

/// Settings whose values are shown to nobody.
const HIDDEN: [&str; 2] = ["server.token", "secrets.key"];

/// Names that begin with `BELLCAGE_` and are no settings: where a client finds its server, and which file to read.
const OTHER_VARIABLES: [&str; 3] = ["BELLCAGE_SERVER", "BELLCAGE_TOKEN", "BELLCAGE_CONFIG"];

impl Loaded {
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        let mut loaded = Self::defaults();
        match sources.file {
            Some(path) => loaded.read_file(&path)?,
            None if Path::new(FILE_NAME).exists() => loaded.read_file(Path::new(FILE_NAME))?,
            None => {}
        }
        for (name, value) in sources.environment {
            loaded.set_variable(name, &value)?;
        }
        for FlagValue { flag, key, value } in sources.flags {
            loaded.set_text(&key, &value, Origin::Flag { name: flag })?;
        }
        Ok(loaded)
    }

    /// The defaults under a file's text, as if it had been read from `path`.
    pub fn from_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut loaded = Self::defaults();
        loaded.read_text(path, text)?;
        Ok(loaded)
    }

    /// Every setting in the order of `default.toml`, secrets blanked.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings: Vec<_> = keys(&self.values)
            .map(|(section, key)| {
                let name = format!("{section}.{key}");
                let value = &self.values[section][key];
                let value = if HIDDEN.contains(&&*name) && value.as_str() != Some("") { Value::from("(set)") } else { value.clone() };
                Setting { origin: self.origins.get(&name).cloned().unwrap_or(Origin::Default), key: name, value }
            })
            .collect();
        settings.sort_by_key(|setting| place_in_default(&setting.key));
        settings.extend(self.settings_of_tenants());
        settings
    }

    /// What stands in no default: it is there because somebody set it.
    fn settings_of_tenants(&self) -> Vec<Setting> {
        let table = |values: &Table, name: &str| values.get(name).and_then(Value::as_table).cloned().unwrap_or_default();
        let mut settings = Vec::new();
        for (tenant, groups) in table(&self.values, TENANT) {
            for (limit, value) in groups.as_table().map(|groups| table(groups, "limits")).unwrap_or_default() {
                let key = format!("{TENANT}.{tenant}.limits.{limit}");
                settings.push(Setting { value, origin: self.origins.get(&key).cloned().unwrap_or(Origin::Default), key });
            }
        }
        settings
    }

    /// Whether nobody set it.
    pub fn is_default(&self, key: &str) -> bool {
        !self.origins.contains_key(key)
    }

    fn defaults() -> Self {
        let values: Table = DEFAULT_TOML.parse().expect("default.toml is TOML: a test reads it");
        let config = values.clone().try_into().expect("default.toml fills a configuration: a test reads it");
        Self { config, values, origins: BTreeMap::new(), unknown_variables: Vec::new() }
    }

    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let unreadable = |detail: String| ConfigError::Read { path: path.to_owned(), detail };
        let size = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            return Err(unreadable(format!("it has {size} bytes, above the most that is read, {FILE_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
        self.read_text(path, &text)
    }

    fn read_text(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let line_of = |at: usize| text.bytes().take(at).filter(|&b| b == b'\n').count() + 1;
        let syntax = |e: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            line: line_of(e.span().map_or(0, |span| span.start)),
            message: e.message().to_owned(),
        };
        let places = DeTable::parse(text).map_err(syntax)?;
        let values: Table = text.parse().map_err(syntax)?;
        for (section, entries) in places.get_ref() {
            let origin = |at: usize| Origin::File { path: path.to_owned(), line: line_of(at) };
            let name = section.get_ref().as_ref();
            let DeValue::Table(entries) = entries.get_ref() else {
                return Err(unknown(name, origin(section.span().start)));
            };
            if name == TENANT {
                self.read_tenants(entries, origin, &values)?;
                continue;
            }
            if !self.values.contains_key(name) {
                return Err(unknown(name, origin(section.span().start)));
            }
            for key in entries.keys() {
                let value = values[name][key.get_ref().as_ref()].clone();
                self.set(&format!("{name}.{}", key.get_ref()), value, origin(key.span().start))?;
            }
        }
        Ok(())
    }

    /// `[tenant.NAME.limits]`, for any number of names.
    fn read_tenants(&mut self, tenants: &DeTable<'_>, origin: impl Fn(usize) -> Origin, values: &Table) -> Result<(), ConfigError> {
        for (tenant, groups) in tenants {
            let key = |rest: &str| format!("{TENANT}.{}{rest}", tenant.get_ref());
            let DeValue::Table(groups) = groups.get_ref() else { return Err(unknown(&key(""), origin(tenant.span().start))) };
            for (group, limits) in groups {
                let DeValue::Table(limits) = limits.get_ref() else { return Err(unknown(&key(&format!(".{}", group.get_ref())), origin(group.span().start))) };
                for limit in limits.keys() {
                    let path = [tenant, group, limit].map(|name| name.get_ref().to_string());
                    let value = path.iter().try_fold(&values[TENANT], |value, name| value.get(name)).cloned();
                    let value = value.expect("both are read from one text");
                    self.set_of_tenant(&path, value, origin(limit.span().start))?;
                }
            }
        }
        Ok(())
    }

    fn set_of_tenant(&mut self, path: &[String; 3], value: Value, origin: Origin) -> Result<(), ConfigError> {
        let [tenant, group, limit] = path;
        let key = format!("{TENANT}.{tenant}.{group}.{limit}");
        let default = default_of(&format!("{group}.{limit}"));
        if group != "limits" || default.is_none() {
            return Err(unknown(&key, origin));
        }
        let (shown, before) = (value.to_string(), self.values.clone());
        let mut place = &mut self.values;
        for name in [TENANT, tenant, group] {
            place = place.entry(name).or_insert_with(|| Value::Table(Table::new())).as_table_mut().expect("only tables were put here");
        }
        place.insert(limit.clone(), value);
        let refused = match Config::deserialize(self.values.clone()) {
            Ok(config) if config.tenant.values().any(|tenant| asks_for_zero(&tenant.limits)) => Some("it must be more than zero".to_owned()),
            Ok(config) => {
                self.config = config;
                None
            }
            Err(error) => Some(explain(error.message())),
        };
        if let Some(message) = refused {
            self.values = before;
            return Err(ConfigError::Value { key, value: shown, origin, message });
        }
        self.origins.insert(key, origin);
        Ok(())
    }

    fn set_variable(&mut self, name: String, value: &str) -> Result<(), ConfigError> {
        let Some(upper) = name.strip_prefix("BELLCAGE_") else { return Ok(()) };
        let found = keys(&self.values).map(|(section, key)| format!("{section}.{key}")).find(|key| key.replace('.', "_").to_uppercase() == upper);
        match found {
            Some(key) => self.set_text(&key, value, Origin::Environment { name }),
            None => {
                if !OTHER_VARIABLES.contains(&name.as_str()) {
                    self.unknown_variables.push(name);
                }
                Ok(())
            }
        }
    }

    /// Sets from text without TOML's quotes: a number or a truth value where the default is one, a list by its commas.
    fn set_text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let plain = Value::from(text);
        let value = match default_of(key) {
            Some(Value::Integer(_)) => text.replace('_', "").parse().map_or(plain, Value::Integer),
            Some(Value::Boolean(_)) => text.parse().map_or(plain, Value::Boolean),
            Some(Value::Array(_)) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect::<Vec<_>>().into(),
            _ => plain,
        };
        self.set(key, value, origin)
    }

    fn set(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), ConfigError> {
        let place = key.split_once('.').and_then(|(section, name)| self.values.get_mut(section)?.as_table_mut()?.get_mut(name));
        match (place, key.split_once('.')) {
            (Some(place), _) => *place = value.clone(),
            // Whoever lists a directory names it.
            (None, Some(("directories", name))) => {
                if let Some(listed) = self.values.get_mut("directories").and_then(Value::as_table_mut) {
                    listed.insert(name.to_owned(), value.clone());
                }
            }
            _ => return Err(unknown(key, origin)),
        }
        match Config::deserialize(self.values.clone()) {
            Ok(config) => self.config = config,
            Err(error) => {
                let hidden = HIDDEN.contains(&key);
                let (value, message) =
                    if hidden { ("(hidden)".to_owned(), "it must be text".to_owned()) } else { (value.to_string(), explain(error.message())) };
                return Err(ConfigError::Value { key: key.to_owned(), value, origin, message });
            }
        }
        if let Some(message) = self.config.refuse(key) {
            return Err(ConfigError::Value { key: key.to_owned(), value: value.to_string(), origin, message });
        }
        self.origins.insert(key.to_owned(), origin);
        Ok(())
    }
}

impl Config {
    /// Why the value of `key`, of the right type, cannot be used all the same.
    fn refuse(&self, key: &str) -> Option<String> {
        let zero = match key {
            "server.component_max" => self.server.component_max == 0,
            "server.body_max" => self.server.body_max == 0,
            "store.keep_for" => self.store.keep_for.is_zero(),
            "store.keep_runs_per_job" => self.store.keep_runs_per_job == 0,
            "scheduler.lease" => self.scheduler.lease.is_zero(),
            "scheduler.batch_max" => self.scheduler.batch_max == 0,
            "executor.slots" => self.executor.slots == 0,
            "executor.recycle_after" => self.executor.recycle_after == 0,
            "executor.scratch_max" => self.executor.scratch_max == 0,
            "http.at_once" => self.http.at_once == 0,
            "compile.memory" => self.compile.memory == 0,
            "compile.cpu" => self.compile.cpu.is_zero(),
            "compile.wall" => self.compile.wall.is_zero(),
            "compile.artefact" => self.compile.artefact == 0,
            _ if key.starts_with("limits.") => has_zero(&self.limits),
            _ if key.starts_with("limit_caps.") => has_zero(&self.limit_caps),
            _ => false,
        };
        match key {
            _ if zero => Some("it must be more than zero".to_owned()),
            "directories.scratch" => Some("a grant of this name is a fresh directory: use another name".to_owned()),
            _ if key.starts_with("directories.") && self.directories.values().any(|directory| !directory.path.is_absolute()) => {
                Some("its path must be absolute".to_owned())
            }
            "store.data" if self.store.data.as_os_str().is_empty() => Some("it must name a directory".to_owned()),
            "scheduler.batch_max" if self.scheduler.batch_max > 100_000 => Some("the most is 100000".to_owned()),
            "executor.workers" if self.executor.workers > 1_024 => Some("the most is 1024".to_owned()),
            "executor.processes" if self.executor.processes > 10_000 => Some("the most is 10000".to_owned()),
            "executor.nice" if self.executor.nice > 19 => Some("the most is 19".to_owned()),
            "executor.memory" if (1..MEMORY_MIN).contains(&self.executor.memory) => Some(format!("the least is {}", bytes::format(MEMORY_MIN))),
            "executor.slots" if self.executor.slots > 100_000 => Some("the most is 100000".to_owned()),
            "limit_caps.http_body" if self.limit_caps.http_body > 1 << 30 => Some("the most is 1GiB".to_owned()),
            "limit_caps.http_requests" if self.limit_caps.http_requests > 1_000 => Some("the most is 1000".to_owned()),
            "http.at_once" if self.http.at_once > 10_000 => Some("the most is 10000".to_owned()),
            "compile.at_once" if self.compile.at_once > 1_024 => Some("the most is 1024".to_owned()),
            _ => None,
        }
    }
}

fn has_zero(limits: &Limits) -> bool {
    let Limits { fuel, memory, timeout, result, logs, table_elements, instances, host_calls, resources, .. } = limits;
    let Limits { host_call_bytes, random, checkpoint, kv_bytes, kv_keys, http_body, http_requests, .. } = limits;
    timeout.is_zero()
        || [fuel, memory, result, logs, table_elements, instances, host_calls, resources].contains(&&0)
        || [host_call_bytes, random, checkpoint, kv_bytes, kv_keys, http_body, http_requests].contains(&&0)
}

fn asks_for_zero(limits: &LimitsSpec) -> bool {
    let LimitsSpec { fuel, memory, timeout, result, logs, table_elements, instances, host_calls, resources, .. } = limits;
    let LimitsSpec { host_call_bytes, random, checkpoint, kv_bytes, kv_keys, http_body, http_requests, .. } = limits;
    timeout.is_some_and(|timeout| !timeout.is_positive())
        || [fuel, memory, result, logs, table_elements, instances, host_calls, resources].contains(&&Some(0))
        || [host_call_bytes, random, checkpoint, kv_bytes, kv_keys, http_body, http_requests].contains(&&Some(0))
}

/// Settings of before 0.1.0, and what is set in their place.
const RENAMED: [(&str, &str); 3] =
    [("key_value", "limits.kv_bytes and limits.kv_keys"), ("http.body", "limits.http_body"), ("http.per_attempt", "limits.http_requests")];

fn unknown(key: &str, origin: Origin) -> ConfigError {
    if let Some((_, now)) = RENAMED.iter().find(|(before, _)| *before == key) {
        return ConfigError::Unknown { key: key.to_owned(), origin, nearest: Some((*now).to_owned()) };
    }
    let defaults = Loaded::defaults().values;
    let sections = defaults.keys().cloned();
    let all = keys(&defaults).map(|(section, name)| format!("{section}.{name}"));
    let nearest = if key.contains('.') { nearest(key, all) } else { nearest(key, sections) };
    ConfigError::Unknown { key: key.chars().take(100).collect(), origin, nearest }
}

fn default_of(key: &str) -> Option<Value> {
    let (section, name) = key.split_once('.')?;
    Loaded::defaults().values.get(section)?.get(name).cloned()
}

fn keys(table: &Table) -> impl Iterator<Item = (&str, &str)> {
    let sections = table.iter().filter(|(section, _)| *section != TENANT);
    sections
        .flat_map(|(section, entries)| entries.as_table().into_iter().flat_map(move |entries| entries.keys().map(move |key| (section.as_str(), key.as_str()))))
}

/// The line of `default.toml` on which a setting stands.
fn place_in_default(key: &str) -> Option<usize> {
    let (section, name) = key.split_once('.')?;
    let mut inside = false;
    DEFAULT_TOML.lines().position(|line| {
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        }
        inside && line.split_once(" = ").is_some_and(|(left, _)| left == name)
    })
}

/// serde's words for a type that does not fit, as a sentence for people.
fn explain(message: &str) -> String {
    let message = message.trim().replace("invalid type: ", "").replace("invalid value: ", "");
    let message = message.replace("invalid socket address syntax", "an address and a port are wanted, such as 127.0.0.1:7878");
    ["usize", "u32", "u64"].iter().fold(message, |message, number| message.replace(&format!("expected {number}"), "expected a whole number, 0 or more"))
}

/// Of `names`, the one most like `typed`, where one is near enough to be meant.
pub fn nearest(typed: &str, names: impl IntoIterator<Item = String>) -> Option<String> {
    let typed: String = typed.chars().take(100).collect();
    let most = (typed.len() / 3).clamp(1, 3);
    names.into_iter().map(|name| (distance(&typed, &name), name)).filter(|(distance, _)| *distance <= most).min().map(|(_, name)| name)
}

/// Letters to insert, remove or replace to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::compile::CompilerConfig;
    use crate::executor::{PoolConfig, WorkersConfig};
    use crate::outside::WorldConfig;
    use crate::scheduler::Options;

    fn file(text: &str) -> Result<Loaded, ConfigError> {
        Loaded::from_text(Path::new("bellcage.toml"), text)
    }

    #[test]
    fn default_toml_equals_the_defaults_of_the_code() {
        let config = Loaded::defaults().config;
        let options = Options::default();
        assert_eq!(config.limits, options.limits);
        assert_eq!(config.limit_caps, options.limit_caps);
        assert_eq!(config.scheduler, Scheduler { lease: options.lease, batch_max: options.batch_max, every_min: options.every_min });
        let (Http { at_once, private }, world) = (config.http, WorldConfig::default());
        assert_eq!((at_once, private), (world.http_at_once, world.http_private));
        assert_eq!(private, options.http_private);
        assert_eq!((config.store.keep_for, config.store.keep_runs_per_job), (options.keep_for, options.keep_runs_per_job));
        assert_eq!((config.executor.scratch_max, config.directories.len()), (options.scratch_max, options.directories.len()));
        assert_eq!(config.executor.slots, PoolConfig::default().slots);
        let workers = WorkersConfig::new(PathBuf::new());
        let Executor { slots, confinement, recycle_after, nice, .. } = config.executor;
        assert_eq!((slots, confinement, recycle_after, nice), (workers.slots, workers.confinement, workers.recycle_after, workers.nice));
        assert_eq!(nice, PoolConfig::default().nice);
        let compiler = CompilerConfig::new(PathBuf::new());
        let Compile { memory, cpu, wall, artefact, at_once: _ } = config.compile;
        assert_eq!((memory, artefact, config.server.component_max), (compiler.memory, compiler.artefact_max, compiler.source_max));
        assert_eq!((cpu.unsigned_abs(), wall.unsigned_abs()), (compiler.cpu, compiler.wall));
    }

    #[test]
    fn every_setting_of_default_toml_has_a_comment_unless_its_section_explains_it() {
        let mut commented = false;
        let mut section = "";
        for line in DEFAULT_TOML.lines() {
            match line.as_bytes().first() {
                Some(b'#') => commented = true,
                Some(b'[') => section = line,
                Some(_) => {
                    assert!(commented || section == "[limit_caps]", "{line:?} has no comment");
                    commented = false;
                }
                None => commented = false,
            }
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let mut loaded = file("[executor]\nslots = 1\nworkers = 1\n[limits]\nfuel = 1\n").unwrap();
        loaded.set_variable("BELLCAGE_EXECUTOR_SLOTS".to_owned(), "2").unwrap();
        loaded.set_variable("BELLCAGE_LIMITS_FUEL".to_owned(), "2_000").unwrap();
        loaded.set_text("executor.slots", "3", Origin::Flag { name: "--slots".to_owned() }).unwrap();
        loaded.set_variable("BELLCAGE_HTTP_PRIVATE".to_owned(), "false").unwrap();
        assert!(!loaded.config.http.private);
        assert_eq!((loaded.config.executor.slots, loaded.config.executor.workers, loaded.config.limits.fuel), (3, 1, 2000));
        let origin = |key: &str| loaded.settings().into_iter().find(|s| s.key == key).unwrap().origin.to_string();
        assert_eq!(origin("executor.slots"), "--slots");
        assert_eq!(origin("limits.fuel"), "BELLCAGE_LIMITS_FUEL");
        assert_eq!(origin("executor.workers"), "bellcage.toml:3");
        assert_eq!(origin("log.level"), "default");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_name() {
        let error = file("[server]\n\nlisen = \"x\"").unwrap_err();
        assert_eq!(error.to_string(), "bellcage.toml:3: there is no setting \"server.lisen\"");
        assert_eq!(error.hint().as_deref(), Some("did you mean server.listen?"));
        let error = file("[sever]\nlisten = \"x\"").unwrap_err();
        assert_eq!((error.to_string().as_str(), error.hint().as_deref()), ("bellcage.toml:1: there is no setting \"sever\"", Some("did you mean server?")));
        let error = file("listen = 1").unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("see all settings with: bellcage config show"));
    }

    #[test]
    fn a_setting_that_has_become_a_limit_is_refused_with_its_name() {
        for (text, now) in [
            ("[key_value]\nquota = \"2MiB\"", "did you mean limits.kv_bytes and limits.kv_keys?"),
            ("[http]\nbody = \"2MiB\"", "did you mean limits.http_body?"),
            ("[http]\nper_attempt = 2", "did you mean limits.http_requests?"),
        ] {
            assert_eq!(file(text).unwrap_err().hint().as_deref(), Some(now), "{text}");
        }
    }

    #[test]
    fn a_bad_value_is_refused_with_its_line_and_the_default() {
        for (text, message) in [
            ("[limits]\nmemory = \"much\"", "bellcage.toml:2: limits.memory cannot be \"much\": \"much\" is not a size"),
            ("[limits]\nfuel = 0", "bellcage.toml:2: limits.fuel cannot be 0: it must be more than zero"),
            ("[server]\nlisten = \"here\"", "bellcage.toml:2: server.listen cannot be \"here\": an address and a port are wanted"),
            ("[server]\nlisten = \"a", "bellcage.toml:2: "),
            ("[executor]\nslots = -4", "bellcage.toml:2: executor.slots cannot be -4: integer `-4`, expected a whole number, 0 or more"),
            ("[executor]\nnice = 300", "bellcage.toml:2: executor.nice cannot be 300: the most is 19"),
        ] {
            let error = file(text).unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}");
        }
        assert_eq!(file("[limits]\nfuel = 0").unwrap_err().hint().as_deref(), Some("the default is limits.fuel = 10000000000"));
    }

    #[test]
    fn a_tenant_has_caps_of_its_own_which_are_shown() {
        let loaded = file("[log]\nlevel = \"warn\"\n[tenant.default.limits]\nmemory = \"64MiB\"\n[tenant.\"a.b\".limits]\nfuel = 5\n").unwrap();
        let cap = |tenant: &str| loaded.config.tenant[&tenant.parse().unwrap()].limits.clone();
        assert_eq!((cap("default").memory, cap("a.b").fuel), (Some(64 << 20), Some(5)));
        let shown: Vec<_> = loaded.settings().iter().rev().take(2).map(|s| format!("{} = {} {}", s.key, s.value, s.origin)).collect();
        assert_eq!(shown, ["tenant.default.limits.memory = \"64MiB\" bellcage.toml:4", "tenant.a.b.limits.fuel = 5 bellcage.toml:6"]);
    }

    #[test]
    fn what_cannot_be_set_of_a_tenant_is_refused_with_its_line() {
        for (text, message) in [
            ("[tenant.acme.limits]\nfuel = 0", "bellcage.toml:2: tenant.acme.limits.fuel cannot be 0: it must be more than zero"),
            ("[tenant.acme.limits]\nfeul = 1", "bellcage.toml:2: there is no setting \"tenant.acme.limits.feul\""),
            ("[tenant.acme]\nlimit = { fuel = 1 }", "bellcage.toml:2: there is no setting \"tenant.acme.limit.fuel\""),
            ("[tenant.acme]\nfuel = 1", "bellcage.toml:2: there is no setting \"tenant.acme.fuel\""),
            ("[tenant]\nacme = 1", "bellcage.toml:2: there is no setting \"tenant.acme\""),
            ("tenant = 1", "bellcage.toml:1: there is no setting \"tenant\""),
            ("[tenant.\"not a name\".limits]\nfuel = 1", "bellcage.toml:2: tenant.not a name.limits.fuel cannot be 1: "),
        ] {
            let error = file(text).unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}");
        }
    }

    #[test]
    fn variables_that_set_nothing_are_reported_and_not_refused() {
        let mut loaded = Loaded::defaults();
        for name in ["BELLCAGE_SERVER", "BELLCAGE_TOKEN", "BELLCAGE_PORT", "HOME"] {
            loaded.set_variable(name.to_owned(), "tcp://10.0.0.1:80").unwrap();
        }
        assert_eq!(loaded.unknown_variables, ["BELLCAGE_PORT"]);
    }

    #[test]
    fn directories_are_listed_by_names_of_ones_own() {
        let listed = file("[directories.data]\npath = \"/srv/data\"\n[directories.out]\npath = \"/srv/out\"\nwrite = true").unwrap().config.directories;
        let directory = |path: &str, write| Directory { path: path.into(), write };
        assert_eq!(listed.into_values().collect::<Vec<_>>(), [directory("/srv/data", false), directory("/srv/out", true)]);
        let scratch = file("[directories.scratch]\npath = \"/srv\"").unwrap_err();
        assert!(scratch.to_string().contains("a grant of this name is a fresh directory"), "{scratch}");
        for bad in ["data = 1", "data = { path = \"srv\" }", "data = { path = \"/srv\", mode = 1 }", "\"/x\" = { path = \"/srv\" }"] {
            assert!(matches!(file(&format!("[directories]\n{bad}")), Err(ConfigError::Value { .. })), "{bad}");
        }
    }

    #[test]
    fn the_key_of_secrets_is_never_shown() {
        let mut loaded = file("[secrets]\nkey = \"hush\"").unwrap();
        loaded.set_variable("BELLCAGE_SECRETS_KEY".to_owned(), "hush2").unwrap();
        let shown = loaded.settings().into_iter().find(|s| s.key == "secrets.key").unwrap();
        assert_eq!((shown.value, shown.origin.to_string().as_str()), (Value::from("(set)"), "BELLCAGE_SECRETS_KEY"));
        assert_eq!(loaded.config.secrets.key.expose(), "hush2");
        assert!(!format!("{:?}", loaded.config).contains("hush"));
        assert!(!file("[secrets]\nkey = [\"hush\"]").unwrap_err().to_string().contains("hush"));
    }

    #[test]
    fn settings_are_listed_in_the_order_of_the_reference_and_hide_the_token() {
        let mut loaded = file("[server]\ntoken = \"hush\"").unwrap();
        loaded.set_text("log.format", "json", Origin::Default).unwrap();
        let settings = loaded.settings();
        assert_eq!(settings.first().map(|s| s.key.as_str()), Some("server.listen"));
        assert_eq!(settings.last().map(|s| s.key.as_str()), Some("log.format"));
        assert_eq!(settings[1].value, Value::from("(set)"));
    }
}
