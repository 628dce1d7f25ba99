//! The table of `explain error` against the codes that the sources can emit.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::command::Place;

/// Text that precedes a code in the sources.
const BEFORE: &[&str] = &[
    "TriggerError::new(",
    "code: ",
    "BAD_REQUEST, ",
    "NOT_FOUND, ",
    "FORBIDDEN, ",
    "CONFLICT, ",
    "UNAUTHORIZED, ",
    "METHOD_NOT_ALLOWED, ",
    "MISDIRECTED_REQUEST, ",
    "PAYLOAD_TOO_LARGE, ",
    "PRECONDITION_FAILED, ",
    "REQUEST_TIMEOUT, ",
    "SERVICE_UNAVAILABLE, ",
    "INTERNAL_SERVER_ERROR, ",
    "UNSUPPORTED_MEDIA_TYPE, ",
    "Exit::FAILED, ",
    "Exit::USAGE, ",
    "Exit::NOT_FOUND, ",
    "Exit::CONFLICT, ",
    "Exit::DENIED, ",
    "run_error(",
    "RunError::new(",
];

#[test]
fn every_code_that_the_sources_emit_is_in_the_table() {
    let listed: BTreeSet<String> =
        Place::default().json(&["explain", "error"])["codes"].as_array().unwrap().iter().map(|code| code["code"].as_str().unwrap().to_owned()).collect();
    let mut emitted = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut emitted);
    assert!(emitted.len() > 60, "the codes were not found in the sources: {emitted:?}");
    let missing: Vec<_> = emitted.difference(&listed).collect();
    assert!(missing.is_empty(), "not in the table of src/cli/explain/codes.rs: {missing:?}");
}

fn collect(folder: &Path, codes: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, codes);
        } else if path.extension().is_some_and(|e| e == "rs") && path.file_name().is_some_and(|name| name != "codes.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let own = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            codes.extend(in_source(own));
            if path.components().any(|part| part.as_os_str() == "executor") {
                codes.extend(own.split('"').skip(1).step_by(2).filter(|text| is_compound(text) && !EXECUTOR_OTHERS.contains(text)).map(str::to_owned));
            }
        }
    }
}

/// In the executor every literal that looks like a code is one, but these.
const EXECUTOR_OTHERS: &[&str] = &["bellcage-listener", "bellcage-pulse", "bellcage-ticker", "best-effort", "kebab-case", "run-worker"];

/// Literals after one of `BEFORE`, and those that the arms of a `fn code` give.
fn in_source(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for before in BEFORE {
        found.extend(text.split(before).skip(1).filter_map(literal));
    }
    for body in text.split("fn code(").skip(1) {
        let body = body.split("\n    }\n").next().unwrap_or_default();
        found.extend(body.split("=> ").skip(1).filter_map(literal));
    }
    found.retain(|code| code.len() > 2 && is_lower(code));
    found
}

fn is_lower(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Words joined by hyphens.
fn is_compound(text: &str) -> bool {
    is_lower(text) && text.contains('-') && text.split('-').all(|word| !word.is_empty()) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

fn literal(text: &str) -> Option<String> {
    Some(text.trim_start().strip_prefix('"')?.split('"').next()?.to_owned())
}
