//! Component: what becomes of uploaded bytes, good and bad, and what is kept of them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use bellcage::component::cache::Cache;
use bellcage::component::compile::{Compiler, CompilerConfig};
use bellcage::component::{Artefact, ComponentError, EngineSettings, EntryKind, Inspection};
use bellcage::executor::{AttemptRequest, Executor as _};
use bellcage::job::{Digest, Outcome};

use crate::support::{cage, wat};

/// A cache of its own, for tests that look at the files or want a fresh compilation.
struct Kept {
    dir: tempfile::TempDir,
    cache: Cache,
}

impl Kept {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Self::open(dir.path());
        Self { dir, cache }
    }

    fn open(dir: &Path) -> Cache {
        Cache::open(&dir.join("artefacts"), &EngineSettings::default()).unwrap()
    }

    async fn push(&self, bytes: &[u8]) -> Result<(Artefact, Inspection), ComponentError> {
        self.cache.ensure(&cage::compiler(), bytes).await
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(self.dir.path().join("artefacts")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

async fn refused(bytes: &[u8]) -> ComponentError {
    let kept = Kept::new();
    let error = kept.push(bytes).await.expect_err("it is refused");
    assert_eq!(kept.files(), ["artefact.key"], "nothing is kept of a refused component");
    error
}

async fn refused_with(bytes: &[u8], config: CompilerConfig) -> ComponentError {
    Kept::new().cache.ensure(&Compiler::new(config, EngineSettings::default()), bytes).await.expect_err("it is refused")
}

// Bad uploads.

#[tokio::test]
async fn text_is_not_wasm_even_where_wasmtime_would_read_it() {
    for text in [&b"(component)"[..], b"hello", b"", b"\0as"] {
        assert_eq!(refused(text).await, ComponentError::NotWasm);
    }
}

#[tokio::test]
async fn a_core_module_of_which_no_component_can_be_made_is_refused_with_the_reason() {
    for (module, why) in [
        ("(module)", "it exports no function"),
        (
            r#"(module (import "env" "now" (func)) (func (export "run")))"#,
            r#"it imports from "env", and only WASI preview 1 (wasi_snapshot_preview1) can be given to a core module"#,
        ),
        (
            r#"(module (func (export "a_b")) (func (export "Z")) (func (export "two") (result i32 i32) unreachable))"#,
            r#"of what it exports ("a_b", "Z", "two") nothing is a function of numbers with a name in kebab-case"#,
        ),
    ] {
        let error = refused(&wat::component(module)).await;
        assert_eq!((error.code(), error.is_ours()), ("component-core-module", false));
        assert_eq!(error.to_string(), format!("this core WebAssembly module cannot be made a component: {why}"));
        assert!(error.hint().unwrap().contains("wasm32-wasip2"));
    }
    let broken = refused(&wat::component(r#"(module (func (export "run") (result i32)))"#)).await;
    assert_eq!(broken.code(), "component-invalid");
}

#[tokio::test]
async fn a_core_module_of_functions_of_numbers_is_made_a_component_of_them() {
    let module = wat::component(
        r#"(module (memory (export "memory") 1)
            (func (export "_initialize"))
            (func (export "add-up") (param i32 i64) (result i64) (i64.add (i64.extend_i32_s (local.get 0)) (local.get 1)))
            (func (export "list") (param f32) (result f64) (f64.promote_f32 (local.get 0)))
            (func (export "not_this")))"#,
    );
    let kept = Kept::new();
    let (artefact, inspection) = kept.push(&module).await.unwrap();
    assert_eq!(artefact.digest, Digest::of(&module), "it is known by what was uploaded");
    let entries: Vec<_> = inspection.entries.iter().map(|e| format!("{}: {}", e.name, e.signature)).collect();
    assert_eq!(entries, ["add-up: func(p0: s32, p1: s64) -> s64", "list: func(p0: f32) -> f64"]);
    assert!(inspection.adapted.is_some_and(|digest| digest != artefact.digest));
    let args = serde_json::json!([-2, 44]);
    let request = AttemptRequest { entry: "add-up".parse().unwrap(), args, ..cage::request(&module).await };
    assert_eq!(cage::pool(1).run(request).await.result.unwrap().to_json(), 42);
}

#[tokio::test]
async fn a_component_is_not_adapted() {
    assert_eq!(Kept::new().push(&wat::tiny()).await.unwrap().1.adapted, None);
}

#[tokio::test]
async fn a_component_is_refused_wherever_it_is_cut_off() {
    let (kept, whole) = (Kept::new(), wat::tiny());
    let mut taken = 0;
    for length in 8..whole.len() {
        match kept.push(&whole[..length]).await {
            Err(ComponentError::Truncated { .. } | ComponentError::NoEntry | ComponentError::Invalid { .. }) => {}
            Err(error) => panic!("cut off at {length}: {error}"),
            // Cut between its last export and its names, it is a whole component.
            Ok(_) => taken += 1,
        }
    }
    assert_eq!(taken, 1);
    let length = whole.len() as u64 - 1;
    assert_eq!(refused(&whole[..whole.len() - 1]).await, ComponentError::Truncated { at: length });
}

#[tokio::test]
async fn a_component_with_nothing_to_call_is_refused() {
    let error = refused(&wat::component("(component)")).await;
    assert_eq!((error.code(), error.to_string().as_str()), ("component-no-entry", "the component exports nothing that a job could call"));
}

#[tokio::test]
async fn a_run_that_gives_something_else_is_a_function_and_no_command() {
    let component = wat::component(
        r#"(component
            (core module $m (func (export "run") (result i32) (i32.const 7)))
            (core instance $i (instantiate $m))
            (func $run (result u32) (canon lift (core func $i "run")))
            (instance $command (export "run" (func $run)))
            (export "wasi:cli/run@0.2.6" (instance $command)))"#,
    );
    let (_, inspection) = Kept::new().push(&component).await.unwrap();
    let entries: Vec<_> = inspection.entries.iter().map(|entry| (&*entry.name, entry.kind)).collect();
    assert_eq!(entries, [("run.run", EntryKind::Function)]);
}

#[tokio::test]
async fn an_invalid_component_is_refused_with_the_validators_reason() {
    let error = refused(&wat::component("(component (core module (func (result i32) (i64.const 0))))")).await;
    assert_eq!(error.code(), "component-invalid");
    assert!(error.to_string().contains("type mismatch"), "{error}");
}

#[tokio::test]
async fn an_unknown_import_is_named() {
    let error =
        refused(&wat::component(r#"(component (import "acme:mail/send@1.2.0" (instance)) (import "wasi:io/poll@0.2.0" (instance)) (import "f" (func)))"#))
            .await;
    assert_eq!(error.to_string(), r#"the component imports "acme:mail/send@1.2.0", "f", which bellcage does not offer"#);
    assert_eq!((error.code(), error.is_ours()), ("component-unknown-import", false));
}

#[tokio::test]
async fn an_import_of_an_unknown_version_is_named() {
    let error = refused(&wat::component(r#"(component (import "wasi:clocks/wall-clock@0.3.0" (instance)))"#)).await;
    assert_eq!(error.to_string(), r#"the component imports "wasi:clocks/wall-clock@0.3.0", which bellcage does not offer"#);
}

#[tokio::test]
async fn an_offered_import_of_another_shape_is_refused() {
    let error = refused(&wat::component(r#"(component (import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result string))))))"#)).await;
    assert_eq!(error.code(), "component-import-mismatch");
    assert!(error.to_string().contains("wasi:clocks/monotonic-clock@0.2.0"), "{error}");
}

/// A command that imports a function of an interface; `ty` is the function's.
fn importing(interface: &str, function: &str, ty: &str) -> Vec<u8> {
    wat::component(&format!(
        r#"(component
            (import "{interface}" (instance (export "{function}" (func {ty}))))
            (core module $m (func (export "run") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $command (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $command)))"#
    ))
}

/// Compatible versions add functions and never change them: so an older or newer one runs as far as it asks for what is there.
#[tokio::test]
async fn a_component_of_an_older_or_newer_minor_version_of_wasi_runs() {
    for version in ["0.2.0", "0.2.6", "0.2.99"] {
        let component = importing(&format!("wasi:clocks/monotonic-clock@{version}"), "now", "(result u64)");
        assert_eq!(cage::run(&component, bellcage::job::Limits::default()).await.outcome, Outcome::Succeeded, "{version}");
    }
}

#[tokio::test]
async fn a_function_of_a_newer_minor_version_of_wasi_is_refused_with_the_imports_name_and_version() {
    let error = refused(&importing("wasi:clocks/monotonic-clock@0.2.99", "tomorrow", "(result u64)")).await;
    assert_eq!(error.code(), "component-import-mismatch");
    let text = error.to_string();
    assert!(text.contains("wasi:clocks/monotonic-clock@0.2.99") && text.contains("tomorrow"), "{text}");
}

#[tokio::test]
async fn another_version_of_the_job_package_is_refused_by_name() {
    let error = refused(&importing("bellcage:job/cancellation@0.2.0", "is-cancelled", "(result bool)")).await;
    assert_eq!(error.to_string(), r#"the component imports "bellcage:job/cancellation@0.2.0", which bellcage does not offer"#);
    let newer = importing("bellcage:job/cancellation@0.1.7", "is-cancelled", "(result bool)");
    assert_eq!(cage::run(&newer, bellcage::job::Limits::default()).await.outcome, Outcome::Succeeded);
}

/// An interface that exports `run: func() -> u32`.
fn exporting(interface: &str) -> Vec<u8> {
    wat::component(&format!(
        r#"(component
            (core module $m (func (export "run") (result i32) i32.const 7))
            (core instance $i (instantiate $m))
            (func $run (result u32) (canon lift (core func $i "run")))
            (instance $entry (export "run" (func $run)))
            (export "{interface}" (instance $entry)))"#
    ))
}

#[tokio::test]
async fn a_typed_job_of_another_version_or_shape_is_refused() {
    let error = refused(&exporting("bellcage:job/entry@0.2.0")).await;
    assert_eq!(error, ComponentError::UnknownExport { export: "bellcage:job/entry@0.2.0".to_owned() });
    let error = refused(&exporting("bellcage:job/entry@0.1.0")).await;
    assert_eq!(error.to_string(), r#"the component's export "bellcage:job/entry@0.1.0" is not what bellcage calls by that name; it has run: func() -> u32"#);
}

#[tokio::test]
async fn a_typed_job_is_named_after_its_function() {
    let (_, inspection) = Kept::new().push(&cage::built_guest("wordcount")).await.unwrap();
    let entry = &inspection.entries[0];
    assert_eq!((inspection.entries.len(), entry.name.as_str(), entry.kind), (1, "run", EntryKind::Job));
    for name in ["run", "entry.run", "bellcage:job/entry.run", "bellcage:job/entry@0.1.0.run"] {
        assert_eq!(inspection.entry(&name.parse().unwrap()), Ok(entry), "{name}");
    }
}

#[tokio::test]
async fn an_artefact_from_outside_is_refused() {
    let kept = Kept::new();
    let (artefact, _) = kept.push(&wat::tiny()).await.unwrap();
    let native = std::fs::read(&artefact.path).unwrap();
    let error = refused(&native).await;
    assert_eq!(error, ComponentError::Precompiled);
}

#[tokio::test]
async fn a_component_over_the_size_cap_is_refused() {
    let bytes = wat::tiny();
    let error = refused_with(&bytes, CompilerConfig { source_max: 100, ..cage::compiler_config() }).await;
    assert_eq!(error, ComponentError::TooLarge { bytes: bytes.len() as u64, max: 100 });
}

#[tokio::test]
async fn what_no_sandbox_could_give_is_refused_when_pushed() {
    for (items, asked) in [
        ("(memory 20000)", "needs a memory of 1.3GiB; at most 1GiB can be given"),
        ("(table 30000 funcref)", "needs a table of 30000 elements; at most 20000 can be given"),
        ("(memory 1) (memory 1) (memory 1) (memory 1) (memory 1)", "needs 5 memories; at most 4 can be given"),
    ] {
        let error = refused(&wat::command(items, "(i32.const 0)")).await;
        assert_eq!((error.code(), error.to_string()), ("component-needs-too-much", format!("the component {asked}")));
    }
}

// Compile bombs. The caps are smaller than the defaults, so that the tests are quick.

/// Nested loops over many locals: a few KiB that take seconds to compile.
fn loops(depth: usize, locals: usize) -> Vec<u8> {
    let open = "(loop ".repeat(depth);
    let close = ")".repeat(depth);
    let touch: String = (0..locals).map(|n| format!("(local.set {n} (i32.add (local.get {n}) (local.get {})))", (n + 1) % locals)).collect();
    wat::command("", &format!("(local {}) {open} {touch} (br_if 0 (local.get 0)) {close} (i32.const 0)", "i32 ".repeat(locals)))
}

#[tokio::test]
async fn a_compilation_over_its_cpu_time_is_ended() {
    let error = refused_with(&loops(3_000, 300), CompilerConfig { cpu: Duration::from_secs(1), ..cage::compiler_config() }).await;
    assert_eq!(error.to_string(), "compiling the component took too much CPU time, more than the 1 s that a compilation may use");
    assert_eq!((error.code(), error.is_ours()), ("compile-cpu", false));
}

#[tokio::test]
async fn a_compilation_over_its_wall_time_is_ended() {
    let error = refused_with(&loops(3_000, 300), CompilerConfig { wall: Duration::from_millis(200), ..cage::compiler_config() }).await;
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("compile-wall", "compiling the component took too long, more than the 200ms that a compilation may use")
    );
}

#[tokio::test]
async fn a_compilation_over_its_memory_is_ended() {
    let bomb = loops(3_000, 300);
    let error = refused_with(&bomb, CompilerConfig { memory: 160 << 20, cpu: Duration::from_secs(20), ..cage::compiler_config() }).await;
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("compile-memory", "compiling the component took too much memory, more than the 160MiB that a compilation may use")
    );
}

#[tokio::test]
async fn an_artefact_over_its_size_cap_is_refused() {
    let error = refused_with(&wat::tiny(), CompilerConfig { artefact_max: 4096, ..cage::compiler_config() }).await;
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("compile-artefact-size", "compiling the component gave too much native code, more than the 4KiB that a compilation may use")
    );
}

#[tokio::test]
async fn a_compiler_that_is_missing_is_our_fault() {
    let error = refused_with(&wat::tiny(), CompilerConfig::new("/nonexistent/bellcage".into())).await;
    assert!(error.is_ours() && error.to_string().contains("/nonexistent/bellcage"), "{error}");
}

#[test]
fn the_hidden_subcommand_tells_a_user_who_tries_it_what_it_is() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_bellcage")).arg("compile-component").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("for bellcage itself"));
}

/// A compile child that waits for its component, told that `parent` is its parent.
fn waiting_child(parent: u32) -> std::process::Child {
    let brief = serde_json::json!({
        "parent": parent, "settings": EngineSettings::default(), "source_max": 1000, "artefact_max": 4096, "memory": 1 << 30, "cpu_seconds": 5, "confined": true
    });
    // Left open across exec, as a careless ancestor may have done.
    let left_open = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&left_open, rustix::io::FdFlags::empty()).unwrap();
    std::process::Command::new(env!("CARGO_BIN_EXE_bellcage"))
        .args(["compile-component", &brief.to_string()])
        .env_clear()
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

/// Its version, as in 6.12.
fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[test]
fn the_compile_child_gives_up_all_that_it_does_not_need() {
    let mut child = waiting_child(std::process::id());
    let pid = child.id();
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    // The filter of system calls is the last thing that it puts on before it reads its stdin.
    let stat = || read("stat").rsplit_once(") ").unwrap().1.split(' ').map(str::to_owned).collect::<Vec<_>>();
    while !read("status").contains("Seccomp:\t2") {
        assert_eq!(child.try_wait().unwrap(), None, "it lives");
        std::thread::yield_now();
    }
    let limits = read("limits");
    let limit =
        |name: &str| limits.lines().find(|line| line.starts_with(name)).unwrap()[26..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(limit("Max cpu time"), ["5", "6"]);
    assert_eq!(limit("Max address space"), ["1073741824"; 2]);
    assert_eq!(limit("Max file size"), ["4096"; 2]);
    assert_eq!(limit("Max core file size"), ["0"; 2]);
    assert_eq!(limit("Max open files"), ["8"; 2]);
    assert!(read("status").contains("NoNewPrivs:\t1"));
    let own = rustix::process::getpriority_process(None).unwrap();
    assert_eq!(stat()[16], (own + 15).min(19).to_string(), "it is nice");
    // Where the kernel takes slices, and says so.
    let slice = |sched: String| sched.lines().find_map(|line| line.strip_prefix("se.slice")?.rsplit(' ').next()?.parse::<u64>().ok());
    if kernel() >= (6, 12)
        && let Some(slice) = std::fs::read_to_string(format!("/proc/{pid}/sched")).ok().and_then(slice)
    {
        assert_eq!(slice, 100_000_000, "what is woken goes first");
    }
    assert_eq!(stat()[2], pid.to_string(), "a process group of its own");
    let mut open: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What becomes of a compiler that was taken over and tries this.
#[cfg(debug_assertions)]
macro_rules! a_compiler_that_was_taken_over_and {
    ($($name:ident: $what:literal)*) => {$(
        #[tokio::test]
        async fn $name() {
            let error = refused_with(&wat::tiny(), CompilerConfig { escape: Some($what.to_owned()), ..cage::compiler_config() }).await;
            assert_eq!(error.code(), "compiler-failed");
            assert!(error.to_string().contains("it was ended by signal 31 (SYS"), "{error}");
        }
    )*};
}

#[cfg(debug_assertions)]
a_compiler_that_was_taken_over_and! {
    a_compiler_that_was_taken_over_and_opens_a_file_is_killed: "open"
    a_compiler_that_was_taken_over_and_makes_a_socket_is_killed: "socket"
    a_compiler_that_was_taken_over_and_connects_is_killed: "connect"
    a_compiler_that_was_taken_over_and_traces_is_killed: "ptrace"
    a_compiler_that_was_taken_over_and_forks_is_killed: "clone"
    a_compiler_that_was_taken_over_and_runs_a_program_is_killed: "exec"
    a_compiler_that_was_taken_over_and_kills_is_killed: "kill"
    a_compiler_that_was_taken_over_and_makes_code_is_killed: "write and execute"
}

#[test]
fn a_compile_child_whose_parent_is_gone_does_nothing() {
    let output = waiting_child(1).wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("its parent is gone"));
}

// Inspection.

#[tokio::test]
async fn a_command_has_the_entry_main_and_its_imports() {
    let (_, inspection) = cage::cache().ensure(&cage::compiler(), &cage::built_guest("probe")).await.unwrap();
    let [main] = &*inspection.entries else { panic!("{:?}", inspection.entries) };
    assert_eq!((main.name.as_str(), main.kind, main.signature.as_str()), ("main", EntryKind::Command, ""));
    assert!(inspection.imports.iter().any(|name| name.starts_with("wasi:cli/environment@0.2.")), "{:?}", inspection.imports);
}

#[tokio::test]
async fn exported_functions_have_their_wit_signatures() {
    let text = r#"(component
        (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "f") (param i32 i32 i32) (result i32) unreachable)
            (func (export "g")))
        (core instance $i (instantiate $m))
        (alias core export $i "memory" (core memory $memory))
        (alias core export $i "realloc" (core func $realloc))
        (func $generate (param "day" string) (param "limit" u32) (result (result (list u8) (error string)))
            (canon lift (core func $i "f") (memory $memory) (realloc $realloc)))
        (func $stop (canon lift (core func $i "g")))
        (export "stop" (func $stop))
        (instance $api (export "generate" (func $generate)))
        (export "acme:reports/api@1.0.0" (instance $api)))"#;
    let (_, inspection) = Kept::new().push(&wat::component(text)).await.unwrap();
    let entries: Vec<_> = inspection.entries.iter().map(|e| (e.name.as_str(), e.kind, e.signature.as_str())).collect();
    assert_eq!(
        entries,
        [("stop", EntryKind::Function, "func()"), ("api.generate", EntryKind::Function, "func(day: string, limit: u32) -> result<list<u8>, string>"),]
    );
}

// The cache.

#[tokio::test]
async fn a_component_is_compiled_once() {
    let kept = Kept::new();
    let bytes = wat::tiny();
    let (first, inspection) = kept.push(&bytes).await.unwrap();
    assert_eq!(first.digest, Digest::of(&bytes));
    // A compiler that cannot compile, and a cache that has only the files.
    let broken = Compiler::new(CompilerConfig::new("/nonexistent".into()), EngineSettings::default());
    let again = Kept::open(kept.dir.path()).ensure(&broken, &bytes).await.unwrap();
    assert_eq!(again, (first, inspection));
}

#[tokio::test]
async fn asked_for_many_times_at_once_a_component_is_compiled_once() {
    let kept = Kept::new();
    // One child at once: a second compilation could not even begin before the first has ended.
    let compiler = cage::compiler();
    let bytes = wat::tiny();
    let answers = futures_util::future::join_all((0..20).map(|_| kept.cache.ensure(&compiler, &bytes))).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref() == Ok(first)));
    assert_eq!(kept.files().len(), 3, "{:?}", kept.files());
}

#[tokio::test]
async fn the_cache_is_for_its_user_alone() {
    let kept = Kept::new();
    kept.push(&wat::tiny()).await.unwrap();
    let dir = kept.dir.path().join("artefacts");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for name in kept.files() {
        assert_eq!(mode(&dir.join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn other_settings_are_other_artefacts() {
    let kept = Kept::new();
    let (artefact, _) = kept.push(&wat::tiny()).await.unwrap();
    let other = Cache::open(&kept.dir.path().join("artefacts"), &EngineSettings { memory_max: 1 << 24, ..EngineSettings::default() }).unwrap();
    assert_eq!(other.find(&artefact.digest).unwrap(), None);
}

#[tokio::test]
async fn an_artefact_with_any_bit_flipped_counts_as_absent_and_is_compiled_again() {
    let kept = Kept::new();
    let bytes = wat::tiny();
    let (artefact, inspection) = kept.push(&bytes).await.unwrap();
    let good = std::fs::read(&artefact.path).unwrap();
    let step = good.len() / 50;
    for at in (0..good.len()).step_by(step).chain([good.len() - 1]) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&artefact.path, &bad).unwrap();
        assert_eq!(kept.cache.find(&artefact.digest).unwrap(), None, "byte {at}");
        assert!(artefact.open().unwrap_err().to_string().contains("its seal does not fit"), "byte {at}");
    }
    assert_eq!(kept.push(&bytes).await.unwrap(), (artefact.clone(), inspection));
    assert!(artefact.open().is_ok());
}

#[tokio::test]
async fn a_seal_with_any_bit_flipped_fits_no_artefact() {
    let kept = Kept::new();
    let (artefact, _) = kept.push(&wat::tiny()).await.unwrap();
    let seal = artefact.path.with_extension("seal");
    let good = std::fs::read(&seal).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&seal, &bad).unwrap();
        assert!(artefact.open().is_err(), "byte {at}");
    }
}

#[tokio::test]
async fn an_artefact_cannot_pass_for_another() {
    let kept = Kept::new();
    let (tiny, _) = kept.push(&wat::tiny()).await.unwrap();
    let (spin, _) = kept.push(&wat::spin()).await.unwrap();
    for extension in ["cwasm", "seal"] {
        std::fs::copy(spin.path.with_extension(extension), tiny.path.with_extension(extension)).unwrap();
    }
    assert_eq!(kept.cache.find(&tiny.digest).unwrap(), None);
    assert!(Artefact { digest: tiny.digest, path: spin.path }.open().is_err());
}

#[tokio::test]
async fn an_artefact_that_was_changed_never_runs() {
    let kept = Kept::new();
    let (artefact, _) = kept.push(&wat::tiny()).await.unwrap();
    let request = AttemptRequest { component: artefact.clone(), ..cage::request(&wat::tiny()).await };
    let mut bytes = std::fs::read(&artefact.path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&artefact.path, bytes).unwrap();
    let report = cage::pool(1).run(request).await;
    assert_eq!((report.outcome, report.error.unwrap().code.as_str()), (Outcome::Refused, "component-damaged"));
}

#[tokio::test]
async fn an_artefact_of_another_key_is_absent() {
    let kept = Kept::new();
    let (artefact, _) = kept.push(&wat::tiny()).await.unwrap();
    std::fs::write(kept.dir.path().join("artefacts/artefact.key"), [7; 32]).unwrap();
    assert_eq!(Kept::open(kept.dir.path()).find(&artefact.digest).unwrap(), None);
}
