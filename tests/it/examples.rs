//! Every example runs and shows what its first comment says.

use std::path::Path;
use std::process::Command;

/// What each example prints must contain, in this order.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "when",
        &[
            "at 02:30, every day, Europe/Berlin time",
            "2026-03-28T02:30:00+01:00[Europe/Berlin]",
            "2026-03-29T03:00:00+02:00[Europe/Berlin]",
            "2026-03-30T02:30:00+02:00[Europe/Berlin]",
            "31536000 firings in 2026",
        ],
    ),
    ("embedded", &["greet succeeded", "hello from inside the cage / args: from within"]),
    ("embedded", &["spinner out-of-fuel"]),
];

#[test]
fn every_example_shows_what_it_says() {
    for (name, expected) in EXAMPLES {
        let run = Command::new(env!("CARGO")).args(["run", "--quiet", "--locked", "--example", name]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        let output = run.expect("cargo runs");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {printed}\n{}", String::from_utf8_lossy(&output.stderr));
        let mut rest = &*printed;
        for line in *expected {
            let at = rest.find(line).unwrap_or_else(|| panic!("{name} does not print {line:?}:\n{printed}"));
            rest = &rest[at + line.len()..];
        }
    }
}

#[test]
fn no_example_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for entry in std::fs::read_dir(folder).expect("the folder is readable").flatten() {
        let name = entry.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
        assert!(EXAMPLES.iter().any(|(known, _)| *known == name), "examples/{name}.rs is not run by this test");
    }
}
