//! Flags for limits and for what a guest is given, shared by `run` and `job add`.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;

use crate::job::{LimitsSpec, bytes};
use crate::trigger::parse_duration;

use super::error::{CliError, Result};

#[derive(Args, Default)]
pub struct LimitFlags {
    /// Wasm operations at most, such as 5_000_000, 200M, 10G
    #[arg(long, value_name = "N", help_heading = "Limits")]
    fuel: Option<String>,
    /// Linear memory at most, such as 64MiB
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    memory: Option<String>,
    /// Wall time at most, such as 30s
    #[arg(long, value_name = "DURATION", help_heading = "Limits")]
    timeout: Option<String>,
    /// Bytes of the result (standard output) at most
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    result: Option<String>,
    /// Bytes of log (standard error) kept at most: the head and the tail
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    logs: Option<String>,
    /// Calls to the host at most
    #[arg(long, value_name = "N", help_heading = "Limits")]
    host_calls: Option<u64>,
    /// Bytes given to the host in one call at most
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    host_call_bytes: Option<String>,
    /// Handles open at once at most
    #[arg(long, value_name = "N", help_heading = "Limits")]
    resources: Option<u64>,
    /// Bytes of all keys and values of the key-value namespace at most
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    kv_bytes: Option<String>,
    /// Keys of the key-value namespace at most
    #[arg(long, value_name = "N", help_heading = "Limits")]
    kv_keys: Option<u64>,
    /// Bytes of the body of an HTTP request, and of a response, at most
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    http_body: Option<String>,
    /// HTTP requests at once at most
    #[arg(long, value_name = "N", help_heading = "Limits")]
    http_requests: Option<u64>,
}

impl LimitFlags {
    pub fn spec(&self) -> Result<LimitsSpec> {
        let size = |flag: &str, typed: &Option<String>| {
            typed.as_deref().map(|text| bytes::parse(text).map_err(|e| CliError::usage(format!("{flag}: {e}")))).transpose()
        };
        Ok(LimitsSpec {
            fuel: self.fuel.as_deref().map(fuel).transpose()?,
            memory: size("--memory", &self.memory)?,
            timeout: self.timeout.as_deref().map(parse_duration).transpose()?,
            result: size("--result", &self.result)?,
            logs: size("--logs", &self.logs)?,
            host_calls: self.host_calls,
            host_call_bytes: size("--host-call-bytes", &self.host_call_bytes)?,
            resources: self.resources,
            kv_bytes: size("--kv-bytes", &self.kv_bytes)?,
            kv_keys: self.kv_keys,
            http_body: size("--http-body", &self.http_body)?,
            http_requests: self.http_requests,
            // Of a component's form, or seldom reached: in a job's file.
            table_elements: None,
            instances: None,
            random: None,
            checkpoint: None,
        })
    }
}

/// A number of operations; `k`, `M`, `G` and `T` multiply.
fn fuel(typed: &str) -> Result<u64> {
    let (digits, unit) = typed.split_at(typed.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len());
    let factor = match unit {
        "" => Some(1),
        "k" | "K" => Some(1_000),
        "m" | "M" => Some(1_000_000),
        "g" | "G" => Some(1_000_000_000),
        "t" | "T" => Some(1_000_000_000_000),
        _ => None,
    };
    let number = digits.replace('_', "").parse::<u64>().ok().zip(factor).and_then(|(n, factor)| n.checked_mul(factor));
    number.ok_or_else(|| CliError::usage(format!("--fuel: {typed:?} is not a number of operations")).hint("write it as 5_000_000, 200M or 10G"))
}

/// `K=V` pairs.
pub fn pairs(flag: &str, typed: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(CliError::usage(format!("{flag}: {text:?} is not NAME=VALUE"))),
    };
    typed.iter().map(pair).collect()
}

/// A file's bytes, or standard input's for `-`; refused past `most`.
pub fn read_input(typed: &str, most: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    let path = Path::new(typed);
    let mut read = Vec::new();
    let result = match typed {
        "-" => std::io::stdin().lock().take(most + 1).read_to_end(&mut read),
        _ => std::fs::File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut read)),
    };
    result.map_err(|e| CliError::file(path, &e))?;
    if read.len() as u64 > most {
        return Err(CliError::usage(format!("{typed} has more than {}, the most that is taken", bytes::format(most))).hint("was another file meant?"));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuel_is_written_with_units() {
        for (typed, want) in [("5_000_000", 5_000_000), ("200M", 200_000_000), ("10G", 10_000_000_000), ("3k", 3_000)] {
            assert_eq!(fuel(typed).unwrap(), want, "{typed}");
        }
        for bad in ["", "M", "1.5G", "-1", "1X", "99999999999T"] {
            assert!(fuel(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pair_has_a_name() {
        assert_eq!(pairs("--env", &["A=b=c".to_owned()]).unwrap()["A"], "b=c");
        assert!(pairs("--env", &["=x".to_owned()]).is_err());
        assert!(pairs("--env", &["x".to_owned()]).is_err());
    }
}
