//! Values: what a job gives a function arrives as it was given, what it returns is what is recorded, and neither may
//! be of any size or shape.

mod any;
mod echo;
mod jobs;
mod schema;

use bellcage::component::cache::Cache;
use bellcage::component::signature::{Signature, WitType, WitValue};
use bellcage::component::{EngineSettings, EntryInfo};
use bellcage::executor::{AttemptReport, AttemptRequest, Executor as _, Pool};
use bellcage::job::{Entry, Limits, Outcome, RunResult};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::support::cage::{self, ReportExt as _};
use crate::support::wat;

const PLENTY: u64 = 1 << 20;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn json_of(ty: &WitType, value: &WitValue) -> Value {
    ty.write(value, PLENTY).expect("a small value").0
}

fn taking(ty: &WitType) -> Signature {
    Signature { params: vec![("x".to_owned(), ty.clone())], result: None }
}

fn typed_value() -> impl Strategy<Value = (WitType, WitValue)> {
    any::ty().prop_flat_map(|ty| any::value(&ty).prop_map(move |value| (ty.clone(), value)))
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn what_is_written_is_read_back((ty, value) in typed_value()) {
        let json = json_of(&ty, &value);
        // As it is stored and sent: through its text.
        let json: Value = serde_json::from_str(&json.to_string()).unwrap();
        let read = taking(&ty).read(&json!({ "x": json })).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(json_of(&ty, &read[0]), json);
    }

    #[test]
    fn the_size_that_is_told_is_that_of_the_text((ty, value) in typed_value()) {
        let (json, bytes) = ty.write(&value, PLENTY).unwrap();
        prop_assert_eq!(bytes, json.to_string().len() as u64);
        prop_assert!(ty.write(&value, bytes - 1).is_err());
    }

    #[test]
    fn what_is_accepted_the_schema_admits((ty, value) in typed_value(), (other, _) in typed_value()) {
        let signature = taking(&ty);
        let args = json!({ "x": json_of(&ty, &value) });
        prop_assert!(schema::admits(&signature.json_schema(), &args), "{} does not admit {args}", signature.json_schema());
        if taking(&other).check(&args).is_ok() {
            prop_assert!(schema::admits(&taking(&other).json_schema(), &args), "{other} accepts {args}");
        }
    }

    #[test]
    fn any_json_is_accepted_or_refused_with_its_place(ty in any::ty(), (of, value) in typed_value()) {
        let args = json!([json_of(&of, &value)]);
        if let Err(error) = taking(&ty).check(&args) {
            prop_assert!(error.path.starts_with("args[0]"), "{}", error);
        }
    }

    #[test]
    fn a_signature_is_stored_and_read_back(ty in any::ty()) {
        let signature = taking(&ty);
        let text = serde_json::to_string(&signature).unwrap();
        prop_assert_eq!(serde_json::from_str::<Signature>(&text).unwrap(), signature);
    }
}

// Through a component.

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn call(pool: &Pool, component: &[u8], entry: &str, args: Value) -> AttemptReport {
    let entry = Entry::Function(entry.into());
    pool.run(AttemptRequest { entry, args, ..cage::request(component).await }).await
}

/// The value that a call which succeeded gave back.
#[track_caller]
fn value_of(report: &AttemptReport) -> &Value {
    match &report.result {
        Some(RunResult::Value(value)) => value,
        other => panic!("{other:?}: {}", report.message()),
    }
}

#[test]
fn values_of_any_type_go_through_a_component_unchanged() {
    // Random components are not worth keeping.
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), &EngineSettings::default()).unwrap();
    let (compiler, pool, runtime) = (cage::compiler(), cage::pool(1), runtime());
    let base = runtime.block_on(cage::request(&wat::tiny()));
    let values = any::ty().prop_flat_map(|ty| {
        let list = WitType::List(Box::new(ty.clone()));
        any::value(&list).prop_map(move |values| (ty.clone(), list.clone(), values))
    });
    let mut runner = TestRunner::new(cases(48));
    let run = runner.run(&values, |(ty, list, values)| {
        let (component, inspection) = runtime.block_on(cache.ensure(&compiler, &echo::component(&ty))).unwrap();
        let signature = Signature { params: vec![("values".to_owned(), list.clone())], result: Some(list.clone()) };
        prop_assert_eq!(inspection.entries[0].types.as_ref(), Some(&signature));
        let given = json_of(&list, &values);
        let request = AttemptRequest { component, entry: Entry::Function("echo".into()), args: json!({ "values": given }), ..base.clone() };
        let report = runtime.block_on(pool.run(request));
        prop_assert_eq!(report.outcome, Outcome::Succeeded, "{}", report.message());
        prop_assert_eq!(report.receipt.result_bytes, given.to_string().len() as u64);
        prop_assert_eq!(value_of(&report), &given);
        Ok(())
    });
    run.unwrap_or_else(|e| panic!("{e}"));
}

/// The entries of the guest that gives back what it is given, in Rust.
async fn echo_guest() -> (Vec<u8>, Vec<EntryInfo>) {
    let component = cage::built_guest("echo");
    let (_, inspection) = cage::cache().ensure(&cage::compiler(), &component).await.expect("the guest compiles");
    (component, inspection.entries)
}

fn some_value(runner: &mut TestRunner, ty: &WitType) -> Value {
    json_of(ty, &any::value(ty).new_tree(runner).expect("a value").current())
}

#[tokio::test]
async fn a_rust_guest_gives_back_values_of_every_type() {
    let (component, entries) = echo_guest().await;
    let (pool, mut runner) = (cage::pool(4), TestRunner::deterministic());
    let mut seen = 0;
    for entry in entries.iter().filter(|entry| entry.function().starts_with("echo-")) {
        let signature = entry.types.as_ref().expect("a signature");
        let Some((_, ty)) = signature.params.first().filter(|_| signature.params.len() == 1) else { continue };
        for _ in 0..8 {
            let given = some_value(&mut runner, ty);
            let report = call(&pool, &component, &entry.name, json!([given])).await;
            assert_eq!(report.outcome, Outcome::Succeeded, "{} of {given}: {}", entry.name, report.message());
            // A result stands in a tuple, or it would be the call's own.
            let wrapped = signature.result.as_ref() != Some(ty);
            assert_eq!(*value_of(&report), if wrapped { json!([given]) } else { given }, "{}", entry.name);
        }
        seen += 1;
    }
    assert!(seen >= 35, "{seen} functions were tried: {entries:?}");
}

#[tokio::test]
async fn a_result_that_is_returned_is_the_outcome() {
    let (component, entries) = echo_guest().await;
    let (pool, mut runner) = (cage::pool(4), TestRunner::deterministic());
    let mut seen = 0;
    for entry in entries.iter().filter(|entry| entry.function().starts_with("return-")) {
        let (_, ty) = &entry.types.as_ref().expect("a signature").params[0];
        for _ in 0..8 {
            let given = some_value(&mut runner, ty);
            let report = call(&pool, &component, &entry.name, json!({ "v": given })).await;
            let (outcome, code, value) = match given.get("ok") {
                Some(value) => (Outcome::Succeeded, "", value),
                None => (Outcome::Failed, "returned-err", &given["err"]),
            };
            assert_eq!((report.outcome, report.code(), value_of(&report)), (outcome, code, value), "{} of {given}", entry.name);
        }
        seen += 1;
    }
    assert!(seen >= 5, "{seen} functions were tried");
}

#[tokio::test]
async fn an_error_that_is_returned_is_told_in_words() {
    let (component, _) = echo_guest().await;
    let report = call(&cage::pool(1), &component, "types.return-result", json!([{ "err": "no such\nday" }])).await;
    assert_eq!(report.message(), "returned an error: no such\\nday");
    assert_eq!((report.exit_code, value_of(&report)), (None, &json!("no such\nday")));
}

#[tokio::test]
async fn a_function_of_several_parameters_takes_them_by_name_or_by_position() {
    let (component, _) = echo_guest().await;
    let pool = cage::pool(1);
    for args in [json!({ "times": 2, "text": "ab" }), json!(["ab", 2])] {
        let report = call(&pool, &component, "echo-root", args).await;
        assert_eq!((report.outcome, value_of(&report)), (Outcome::Succeeded, &json!("abab")), "{}", report.message());
        assert_eq!(report.exit_code, None);
    }
}

#[tokio::test]
async fn a_function_that_returns_nothing_gives_null() {
    let (component, _) = echo_guest().await;
    let report = call(&cage::pool(1), &component, "types.echo-nothing", Value::Null).await;
    assert_eq!((report.outcome, value_of(&report)), (Outcome::Succeeded, &Value::Null));
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused_before_the_guest_starts() {
    let (component, _) = echo_guest().await;
    let report = call(&cage::pool(1), &component, "types.echo-point", json!([{ "x": 1, "y": 1u64 << 40 }])).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Refused, "bad-args"));
    assert_eq!(report.message(), "args[0].y: 1099511627776 does not fit s32 (-2147483648 to 2147483647)");
    assert_eq!(report.receipt.fuel_used, 0);
}

#[tokio::test]
async fn what_a_function_prints_goes_to_the_log() {
    let component = wat::component(
        r#"(component
            (import "wasi:io/error@0.2.6" (instance $io-error (export "error" (type (sub resource)))))
            (alias export $io-error "error" (type $error))
            (import "wasi:io/streams@0.2.6" (instance $streams
                (export "output-stream" (type $stream (sub resource)))
                (alias outer 1 $error (type $outer)) (export "error" (type $e (eq $outer)))
                (type $failure (variant (case "last-operation-failed" (own $e)) (case "closed")))
                (export "stream-error" (type $stream-error (eq $failure)))
                (export "[method]output-stream.blocking-write-and-flush"
                    (func (param "self" (borrow $stream)) (param "contents" (list u8)) (result (result (error $stream-error)))))))
            (alias export $streams "output-stream" (type $output-stream))
            (import "wasi:cli/stdout@0.2.6" (instance $stdout
                (alias outer 1 $output-stream (type $outer)) (export "output-stream" (type $s (eq $outer)))
                (export "get-stdout" (func (result (own $s))))))
            (core module $memory (memory (export "memory") 1) (data (i32.const 0) "hello\0a"))
            (core instance $mem (instantiate $memory))
            (alias core export $mem "memory" (core memory $m))
            (core func $get (canon lower (func $stdout "get-stdout")))
            (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $m)))
            (core module $main
                (import "host" "get" (func $get (result i32)))
                (import "host" "write" (func $write (param i32 i32 i32 i32)))
                (func (export "print") (result i32)
                    (call $write (call $get) (i32.const 0) (i32.const 6) (i32.const 16))
                    (i32.const 7)))
            (core instance $i (instantiate $main (with "host" (instance (export "get" (func $get)) (export "write" (func $write))))))
            (func (export "print") (result u8) (canon lift (core func $i "print"))))"#,
    );
    let report = call(&cage::pool(1), &component, "print", Value::Null).await;
    assert_eq!((report.outcome, value_of(&report)), (Outcome::Succeeded, &json!(7)), "{}", report.message());
    assert_eq!(report.log.to_text(), "hello\n");
}

// Names of functions.

/// Exports `run` at its root and in three interfaces, two of which have the same short name.
fn several_interfaces() -> Vec<u8> {
    wat::component(
        r#"(component
            (core module $m (func (export "root") (result i32) (i32.const 0)) (func (export "one") (result i32) (i32.const 1))
                (func (export "two") (result i32) (i32.const 2)) (func (export "three") (result i32) (i32.const 3)))
            (core instance $i (instantiate $m))
            (func $root (result u8) (canon lift (core func $i "root")))
            (func $one (result u8) (canon lift (core func $i "one")))
            (func $two (result u8) (canon lift (core func $i "two")))
            (func $three (result u8) (canon lift (core func $i "three")))
            (instance $api-one (export "run" (func $one)))
            (instance $api-two (export "run" (func $two)))
            (instance $other (export "run" (func $three)))
            (export "run" (func $root))
            (export "acme:reports/api@1.0.0" (instance $api-one))
            (export "acme:reports/api@2.0.0" (instance $api-two))
            (export "acme:reports/other@1.2.3" (instance $other)))"#,
    )
}

#[tokio::test]
async fn an_interface_is_named_in_short_without_its_version_or_in_full() {
    let (component, pool) = (several_interfaces(), cage::pool(1));
    for (entry, expected) in [
        ("run", 0),
        ("acme:reports/api@1.0.0.run", 1),
        ("acme:reports/api@2.0.0.run", 2),
        ("acme:reports/other@1.2.3.run", 3),
        ("acme:reports/other.run", 3),
        ("other.run", 3),
    ] {
        let report = call(&pool, &component, entry, Value::Null).await;
        assert_eq!((report.outcome, value_of(&report)), (Outcome::Succeeded, &json!(expected)), "{entry}: {}", report.message());
    }
}

#[tokio::test]
async fn a_short_name_of_several_interfaces_is_refused_with_all_of_them() {
    let report = call(&cage::pool(1), &several_interfaces(), "api.run", Value::Null).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Refused, "ambiguous-entry"));
    assert_eq!(report.message(), r#"the component has several entries "api.run": acme:reports/api@1.0.0.run and acme:reports/api@2.0.0.run"#);
}

#[tokio::test]
async fn a_function_of_a_resource_is_listed_but_not_called() {
    let component = wat::component(
        r#"(component
            (type $r (resource (rep i32)))
            (export $counter "counter" (type $r))
            (core module $m (func (export "f") (param i32)))
            (core instance $i (instantiate $m))
            (func (export "take") (param "it" (own $counter)) (canon lift (core func $i "f"))))"#,
    );
    let report = call(&cage::pool(1), &component, "take", json!([1])).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Refused, "entry-not-callable"));
    assert_eq!(report.message(), r#"the component has an entry "take" that cannot be called: its signature has a resource, which cannot be given in JSON"#);
}

// Limits.

/// `get` returns what `body`, a core function that gives the address of (start, length) or of a value, says.
fn returning(ty: &str, pages: u32, items: &str, body: &str) -> Vec<u8> {
    wat::component(&format!(
        r#"(component
            (core module $m (memory (export "memory") {pages}) {items} (func (export "get") (result i32) {body}))
            (core instance $i (instantiate $m))
            (alias core export $i "memory" (core memory $memory))
            (func (export "get") (result {ty}) (canon lift (core func $i "get") (memory $memory))))"#
    ))
}

/// A list that starts at 16 and is `length` long.
fn listing(ty: &str, pages: u32, length: u64) -> Vec<u8> {
    let body = format!("(i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const {length})) (i32.const 0)");
    returning(&format!("(list {ty})"), pages, "", &body)
}

async fn get(component: &[u8], limits: Limits) -> AttemptReport {
    let entry = Entry::Function("get".into());
    cage::pool(1).run(AttemptRequest { entry, limits, ..cage::request(component).await }).await
}

#[tokio::test]
async fn a_result_may_have_as_much_json_as_its_limit() {
    // 49,149 bytes are 65,532 characters of base64; with the quotes 65,534.
    for (length, outcome) in [(49_149, Outcome::Succeeded), (49_150, Outcome::Limit)] {
        let report = get(&listing("u8", 1, length), Limits { result: 65_534, ..Limits::default() }).await;
        assert_eq!(report.outcome, outcome, "{}", report.message());
    }
}

#[tokio::test]
async fn by_default_a_mebibyte_of_json_may_be_any_type() {
    for (ty, length) in [("u8", 786_000), ("s8", 520_000), ("bool", 170_000), ("(option u8)", 200_000), ("(tuple u8 u8)", 170_000)] {
        let report = get(&listing(ty, 17, length), Limits::default()).await;
        assert_eq!(report.outcome, Outcome::Succeeded, "{ty}: {}", report.message());
    }
}

#[tokio::test]
async fn a_result_past_its_limit_is_refused_and_the_limit_named() {
    for (ty, length) in [("u8", 800_000), ("u8", 60_000_000), ("(option u64)", 3_000_000), ("string", 7_000_000)] {
        let report = get(&listing(ty, 1_000, length), Limits::default()).await;
        assert_eq!((report.outcome, report.code()), (Outcome::Limit, "limit-result"), "{ty}: {}", report.message());
        assert_eq!(report.message(), "returned a value that takes more JSON than limits.result = 1MiB allows");
        assert_eq!((report.result, report.receipt.result_bytes), (None, 0));
    }
}

#[tokio::test]
async fn a_result_that_is_none_traps() {
    let zero = "(i32.const 0)";
    for (component, what) in [
        (listing("u8", 1, 1 << 20), "a list beyond the memory"),
        (listing("u64", 1, 0xffff_ffff), "a list longer than any memory"),
        (returning("string", 1, r#"(data (i32.const 0) "\10\00\00\00\01\00\00\00") (data (i32.const 16) "\ff")"#, zero), "a string that is not UTF-8"),
        (returning("(list char)", 1, r#"(data (i32.const 0) "\10\00\00\00\01\00\00\00") (data (i32.const 16) "\00\d8\00\00")"#, zero), "half a character"),
        (
            returning(
                "(list (option u8))",
                1,
                r#"(data (i32.const 0) "\10\00\00\00\01\00\00\00\07")"#,
                "(i32.store (i32.const 16) (i32.const 7)) (i32.const 0)",
            ),
            "an unknown case",
        ),
    ] {
        let report = get(&component, Limits::default()).await;
        assert_eq!((report.outcome, report.code()), (Outcome::Trapped, "trap"), "{what}: {}", report.message());
        assert!(report.message().len() < 1_100);
    }
}

#[tokio::test]
async fn a_function_is_held_to_fuel_and_memory_as_a_command_is() {
    let spin = returning("(list u8)", 1, "", "(loop (br 0)) (i32.const 0)");
    let report = get(&spin, Limits { fuel: 100_000, ..Limits::default() }).await;
    assert_eq!((report.outcome, report.result), (Outcome::OutOfFuel, None));
    // Its arguments do not fit into the guest's memory.
    let component = echo::component(&WitType::U8);
    let entry = Entry::Function("echo".into());
    let limits = Limits { memory: 256 << 10, ..Limits::default() };
    let args = json!(["A".repeat(400_000)]);
    let report = cage::pool(1).run(AttemptRequest { entry, args, limits, ..cage::request(&component).await }).await;
    assert_eq!((report.outcome, report.code()), (Outcome::OutOfMemory, "out-of-memory"), "{}", report.message());
}

// Hostile types.

#[tokio::test]
async fn types_that_double_forty_times_are_listed_without_being_written_out() {
    let mut types = "(type $t0 (tuple u8 u8))".to_owned();
    for i in 1..=40 {
        types.push_str(&format!("(type $t{i} (tuple $t{} $t{}))", i - 1, i - 1));
    }
    // A list, so that the value itself is small.
    for depth in [10, 15, 40] {
        let text = format!(
            r#"(component {types}
                (core module $m (memory (export "memory") 1) (func (export "get") (result i32) (i32.const 0)))
                (core instance $i (instantiate $m))
                (alias core export $i "memory" (core memory $memory))
                (func (export "get") (result (list $t{depth})) (canon lift (core func $i "get") (memory $memory))))"#
        );
        match cage::cache().ensure(&cage::compiler(), &wat::component(&text)).await {
            Ok((_, inspection)) => {
                let entry = &inspection.entries[0];
                assert!(entry.signature.len() < 10_000);
                let types = entry.types.as_ref().unwrap();
                assert_eq!(types.obstacle(), Some("a type made of more than 2000 parts"));
            }
            Err(error) => assert_eq!(error.code(), "component-invalid", "{error}"),
        }
    }
}
