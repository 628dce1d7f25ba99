//! Small guests as text: commands whose `run` is the given core function body.

pub fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// A command of one core module: `items` are its own items, `body` its `run`, which gives 0 for ok and 1 for err.
pub fn command(items: &str, body: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
            (core module $m {items} (func (export "run") (result i32) {body}))
            (core instance $i (instantiate $m))
            {}
        )"#,
        export_run("$i")
    ))
}

/// A command whose core module calls the host as `"host" "call"`. `imports` are the component's imports and the core
/// function `$call` that they give.
pub fn calling_command(imports: &str, call_type: &str, items: &str, body: &str) -> Vec<u8> {
    component(&format!(
        r#"(component
            {imports}
            (core module $m (import "host" "call" (func $call {call_type})) {items} (func (export "run") (result i32) {body}))
            (core instance $i (instantiate $m (with "host" (instance (export "call" (func $call))))))
            {}
        )"#,
        export_run("$i")
    ))
}

fn export_run(instance: &str) -> String {
    format!(
        r#"(func $run (result (result)) (canon lift (core func {instance} "run")))
           (instance $command (export "run" (func $run)))
           (export "wasi:cli/run@0.2.6" (instance $command))"#
    )
}

/// `$call: func() -> i64`, the monotonic clock.
pub const NOW: &str = r#"
    (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock (export "now" (func (result u64)))))
    (core func $call (canon lower (func $clock "now")))"#;

/// `$call: func(nanoseconds: i64) -> i32`, a pollable that is never waited for.
pub const SUBSCRIBE: &str = r#"
    (import "wasi:io/poll@0.2.6" (instance $poll (export "pollable" (type (sub resource)))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock
        (alias outer 1 $pollable (type $outer))
        (export "pollable" (type $own-pollable (eq $outer)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $own-pollable))))))
    (core func $call (canon lower (func $clock "subscribe-duration")))"#;

pub fn tiny() -> Vec<u8> {
    command("", "(i32.const 0)")
}

pub fn spin() -> Vec<u8> {
    command("", "(loop (br 0)) (i32.const 0)")
}
