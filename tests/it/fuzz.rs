//! What fuzzing starts from, and what it found, replayed: each input passes the check of its target.

use std::path::{Path, PathBuf};

#[path = "../../fuzz/checks/config.rs"]
mod config;
#[path = "../../fuzz/checks/trigger.rs"]
mod trigger;
#[path = "../../fuzz/checks/upload.rs"]
mod upload;
#[path = "../../fuzz/checks/value.rs"]
mod value;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = |kind: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target);
    let files = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("it is readable").path());
    let inputs: Vec<_> = files(folder("seeds")).chain(files(folder("regressions"))).collect();
    assert!(!inputs.is_empty(), "there is nothing to replay for {target}");
    for input in inputs {
        println!("{}", input.display());
        check(&std::fs::read(&input).expect("it is readable"));
    }
}

#[test]
fn configurations_pass_the_check_of_their_fuzz_target() {
    replay("config", config::check);
}

#[test]
fn triggers_pass_the_check_of_their_fuzz_target() {
    replay("trigger", trigger::check);
}

#[test]
fn uploads_pass_the_check_of_their_fuzz_target() {
    replay("upload", upload::check);
}

#[test]
fn values_pass_the_check_of_their_fuzz_target() {
    replay("value", value::check);
}
