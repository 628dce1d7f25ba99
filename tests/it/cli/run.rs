//! `run`: no server, no store.

use crate::support::command::Place;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/demo");

#[test]
fn the_result_is_stdout_and_the_log_is_stderr() {
    let place = Place::default();
    let file = format!("{DEMO}/hello.wasm");
    let ran = place.bellcage_with_input(&["run", "--env", "A=B", "--stdin", "-", &file, "--fuel", "x", "-n"], b"four");
    assert_eq!(ran.code, 0, "{ran:?}");
    for line in ["args: --fuel x -n\n", "env: A=B\n", "stdin: 4 bytes\n", "files: none\n"] {
        assert!(ran.stdout.contains(line), "{line:?} in {ran:?}");
    }
    assert_eq!(ran.stdout.matches("env: ").count(), 1, "nothing of this process's environment: {ran:?}");
    assert_eq!(ran.stderr, "hello: started\nhello: done\n");
}

#[test]
fn the_exit_code_is_the_outcome() {
    let place = Place::default();
    for (args, exit, message) in [
        (&["--fuel", "1M", "spin"][..], 21, "out-of-fuel: used all its fuel (limits.fuel = 1000000)"),
        (&["--memory", "8MiB", "hog"], 22, "out-of-memory: needed "),
        (&["--fuel", "900G", "--timeout", "50ms", "spin"], 23, "timeout: "),
        (&["--result", "10", "hello"], 25, "limit: "),
    ] {
        let ran = place.bellcage(&[&["run"], args].concat());
        assert_eq!(ran.code, exit, "{ran:?}");
        assert!(ran.stderr.contains(message), "{ran:?}");
    }
}

#[test]
fn json_is_the_contract() {
    let place = Place::default();
    let ran = place.bellcage(&["run", "--json", "--fuel", "1M", "spin"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (21, ""));
    let document = ran.json();
    assert_eq!(document["outcome"], "out-of-fuel");
    assert_eq!(document["error"]["code"], "out-of-fuel");
    assert_eq!(document["exit_code"], serde_json::Value::Null);
    assert_eq!(document["logs"], "spin: I will never stop by myself\n");
    let receipt = &document["receipt"];
    assert_eq!((receipt["fuel_used"].as_u64(), receipt["fuel_limit"].as_u64()), (Some(1_000_000), Some(1_000_000)));
    for field in
        ["memory_peak_bytes", "memory_limit_bytes", "cpu_us", "wall_us", "instantiate_us", "host_calls", "log_bytes", "log_bytes_dropped", "result_bytes"]
    {
        assert!(receipt[field].is_u64(), "{field} in {receipt}");
    }
    assert!(receipt["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")));
    assert!(
        place.json(&["run", "hello"])["result"].as_str().is_some_and(|result| result.starts_with("hello from inside the cage\n")),
        "flags may stand before FILE only"
    );
}

#[test]
fn a_receipt_is_printed_on_stderr() {
    let place = Place::default();
    let ran = place.bellcage(&["run", "--receipt", "--fuel", "1M", "spin"]);
    assert!(ran.stderr.contains("fuel        1_000_000 of 1_000_000 (100.0 %)\n"), "{ran:?}");
    assert_eq!(ran.stdout, "");
}

#[test]
fn ctrl_c_cancels() {
    let place = Place::default();
    let mut child = place.command(&["run", "--fuel", "900G", "--timeout", "10m", "spin"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let handlers = format!("/proc/{}/status", child.id());
    // SIGINT is bit 2 of the signals that are caught.
    place.wait("the handler of SIGINT", || {
        let status = std::fs::read_to_string(&handlers).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        (u64::from_str_radix(caught.trim(), 16).ok()? & 2 != 0).then_some(())
    });
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(24));
}

#[test]
fn a_second_run_compiles_nothing() {
    let place = Place::default();
    let file = format!("{DEMO}/hello.wasm");
    assert_eq!(place.bellcage(&["run", &file]).code, 0);
    // Compiling is not possible with these caps: the child could not even be started.
    let ran = place.bellcage(&["run", "--set", "compile.memory=1MiB", &file]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn without_a_home_the_cache_is_in_the_working_directory() {
    let place = Place::default();
    let output = place.command(&["run", "hello"]).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(place.path(".bellcage/cache").exists());
}

#[test]
fn an_exported_function_is_called_with_json_arguments() {
    let place = Place::default();
    let add = r#"(component
        (core module $m (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
        (core instance $i (instantiate $m))
        (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add"))))"#;
    place.write("add.wasm", wat::parse_str(add).unwrap());
    assert_eq!(place.bellcage(&["run", "--entry", "add", "--args", r#"{"a":2,"b":3}"#, "add.wasm"]).ok(), "5\n");
    assert_eq!(place.json(&["run", "--entry", "add", "--args", "[2,40]", "add.wasm"])["result"], 42);
    place.bellcage(&["run", "--entry", "add", "--args", "[2,-1]", "add.wasm"]).refused(2, "args[1]", "it takes func(a: u32, b: u32) -> u32");
    place.bellcage(&["run", "--entry", "sub", "add.wasm"]).refused(2, "the component has no entry \"sub\"", "it has: add");
    place.bellcage(&["run", "add.wasm", "2", "3"]).refused(2, "add is a function, which is given its arguments with --args", "for example --args");
}

#[test]
fn without_a_name_the_command_is_called_else_the_typed_job_else_the_only_function() {
    let place = Place::default();
    let guest = |name: &str| place.write(&format!("{name}.wasm"), crate::support::cage::built_guest(name)).to_str().unwrap().to_owned();
    assert_eq!(place.bellcage(&["run", "--args", "{\"number\":\"4539 1488 0343 6467\"}", &guest("luhn")]).ok(), "true\n");
    // Its tool makes it export a function besides.
    let js = guest("template-js");
    assert_eq!(place.json(&["run", "--args", "{\"name\":\"Ada\"}", &js])["result"]["greeting"], "hello Ada");
    place.bellcage(&["run", &guest("distance")]).refused(2, "the component has no entry \"main\"", "it has: ");
    let refused = place.bellcage(&["run", "--stdout", "json", "--args", "{}", &js]);
    assert!(refused.code == 2 && refused.stderr.starts_with("error[bad-job]: stdout = \"json\" is for commands"), "{refused:?}");
}

#[test]
fn an_unknown_flag_before_the_file_is_refused_and_one_after_it_is_the_guests() {
    let place = Place::default();
    let ran = place.bellcage(&["run", "--feul", "3", "hello"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--fuel"), "the nearest flag is named: {ran:?}");
    assert_eq!(place.bellcage(&["run", "hello", "--feul", "3"]).code, 0);
}

#[test]
fn limits_above_the_caps_are_refused() {
    let place = Place::default();
    place.bellcage(&["run", "--memory", "2GiB", "hello"]).refused(
        2,
        "limits.memory = 2GiB is above this server's cap, which is 1GiB",
        "see the caps with: bellcage config show",
    );
    assert_eq!(place.bellcage(&["run", "--fuel", "much", "hello"]).code, 2);
    assert_eq!(place.bellcage(&["run", "--timeout", "5 parsecs", "hello"]).code, 2);
}
