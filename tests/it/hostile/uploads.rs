//! Hostile uploads: whatever the bytes are, they are refused or compiled within the caps, and this process goes on.
//!
//! The caps are far smaller than the defaults, so that a bomb is quick to be found out.

use std::time::Duration;

use bellcage::component::cache::Cache;
use bellcage::component::compile::{Compiler, CompilerConfig};
use bellcage::component::{Artefact, ComponentError, EngineSettings};
use bellcage::executor::{AttemptRequest, Executor as _};
use bellcage::job::{Limits, Outcome};
use futures_util::future::join_all;
use jiff::SignedDuration;

use super::chance::Chance;
use super::{ATTACKS, component};
use crate::support::{cage, wat};

/// Pushes to a cache of its own.
struct Gate {
    compiler: Compiler,
    cache: Cache,
    _dir: tempfile::TempDir,
}

impl Gate {
    fn new() -> Self {
        let config = CompilerConfig { cpu: Duration::from_secs(1), memory: 256 << 20, artefact_max: 32 << 20, source_max: 12 << 20, ..cage::compiler_config() };
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("artefacts"), &EngineSettings::default()).unwrap();
        Self { compiler: Compiler::new(config, EngineSettings::default()), cache, _dir: dir }
    }

    async fn push(&self, bytes: &[u8]) -> Result<Artefact, ComponentError> {
        self.cache.ensure(&self.compiler, bytes).await.map(|(artefact, _)| artefact)
    }

    /// How a push ended: an error's code, or `compiled`.
    async fn verdict(&self, bytes: &[u8]) -> &'static str {
        self.push(bytes).await.map_or_else(|error| error.code(), |_| "compiled")
    }

    /// All pushed; what passed is run. Nothing of it may be our fault.
    async fn withstands(&self, uploads: &[Vec<u8>]) {
        let (pool, honest) = (cage::pool(8), cage::request(&wat::tiny()).await);
        let fates = join_all(uploads.iter().map(|bytes| async {
            let artefact = match self.push(bytes).await {
                Ok(artefact) => artefact,
                Err(error) => return (!error.is_ours()).then_some(()).ok_or_else(|| error.to_string()),
            };
            let limits = Limits { timeout: SignedDuration::from_millis(200), ..ATTACKS[0].limits() };
            let report = pool.run(AttemptRequest { component: artefact, limits, ..honest.clone() }).await;
            (report.outcome != Outcome::Lost).then_some(()).ok_or_else(|| format!("{:?}", report.error))
        }));
        let faults: Vec<_> = fates.await.into_iter().filter_map(Result::err).collect();
        assert_eq!(faults, [""; 0]);
        assert_eq!(self.verdict(&wat::tiny()).await, "compiled", "the next honest one is served");
    }
}

/// Components of the corpus that have a bit of everything.
fn models() -> [Vec<u8>; 3] {
    ["results", "sleep-in-poll", "traps"].map(component)
}

// What chance does to a component.

#[tokio::test]
async fn components_with_a_flipped_bit_are_refused_or_run_in_the_cage() {
    let mut chance = Chance::of(1);
    let mut flipped = |model: &Vec<u8>| {
        let mut bytes = model.clone();
        let at = chance.below(bytes.len());
        bytes[at] ^= 1 << chance.below(8);
        bytes
    };
    let uploads: Vec<_> = models().iter().flat_map(|model| (0..30).map(|_| flipped(model)).collect::<Vec<_>>()).collect();
    Gate::new().withstands(&uploads).await;
}

#[tokio::test]
async fn components_with_a_part_replaced_by_another_are_refused_or_run_in_the_cage() {
    let mut chance = Chance::of(2);
    let models = models();
    let mut spliced = || {
        let (mut bytes, from) = (models[chance.below(3)].clone(), &models[chance.below(3)]);
        let length = 1 + chance.below(40);
        let (to, at) = (chance.below(bytes.len() - length), chance.below(from.len() - length));
        bytes[to..to + length].copy_from_slice(&from[at..at + length]);
        bytes
    };
    let uploads: Vec<_> = (0..50).map(|_| spliced()).collect();
    Gate::new().withstands(&uploads).await;
}

#[tokio::test]
async fn truncated_components_are_refused_or_run_in_the_cage() {
    let mut chance = Chance::of(3);
    let uploads: Vec<_> = models().iter().flat_map(|model| (0..10).map(|_| model[..chance.below(model.len())].to_vec()).collect::<Vec<_>>()).collect();
    Gate::new().withstands(&uploads).await;
}

#[tokio::test]
async fn noise_behind_the_right_first_bytes_is_refused() {
    let mut chance = Chance::of(4);
    let gate = Gate::new();
    for _ in 0..20 {
        let noise = (0..1 + chance.below(500)).map(|_| u8::try_from(chance.below(256)).unwrap());
        let verdict = gate.verdict(&[COMPONENT.to_vec(), noise.collect()].concat()).await;
        assert!(["component-truncated", "component-invalid"].contains(&verdict), "{verdict}");
    }
}

// What is built to be too much.

/// A component's first bytes, and a core module's.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

fn leb128(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

fn section(id: u8, count: usize, items: &[u8]) -> Vec<u8> {
    let count = leb128(count);
    [vec![id], leb128(count.len() + items.len()), count, items.to_vec()].concat()
}

/// A component of one core module of these sections.
fn of_module(sections: &[Vec<u8>]) -> Vec<u8> {
    let module = [MODULE.to_vec(), sections.concat()].concat();
    [COMPONENT.to_vec(), vec![1], leb128(module.len()), module].concat()
}

/// A module of `count` functions that do nothing. A file of six bytes for each.
fn functions(count: usize) -> Vec<u8> {
    let types = section(1, 1, &[0x60, 0, 0]);
    of_module(&[types, section(3, count, &vec![0; count]), section(10, count, &[2, 0, 0x0b].repeat(count))])
}

fn types(count: usize) -> Vec<u8> {
    // From so many i32 to so many i64: none is like another.
    let ty = |n: usize| [vec![0x60], leb128(n % 150), vec![0x7f; n % 150], leb128(n / 150), vec![0x7e; n / 150]].concat();
    of_module(&[section(1, count, &(0..count).flat_map(ty).collect::<Vec<_>>())])
}

fn components_in_components(depth: usize) -> Vec<u8> {
    (0..depth).fold(COMPONENT.to_vec(), |within, _| [COMPONENT.to_vec(), vec![4], leb128(within.len()), within].concat())
}

/// A command with this for its function's body.
fn body(locals: usize, body: &str) -> Vec<u8> {
    wat::command("(memory 1)", &format!("(local {}) {body} (i32.const 0)", "i32 ".repeat(locals)))
}

fn nested(open: &str, close: &str, depth: usize, within: &str) -> String {
    [open.repeat(depth), within.to_owned(), close.repeat(depth)].concat()
}

fn touch(locals: usize) -> String {
    (0..locals).map(|n| format!("(local.set {n} (i32.add (local.get {n}) (local.get {})))", (n + 1) % locals)).collect()
}

/// `verdicts` of each upload, by its name.
async fn are(expected: &[(&str, Vec<u8>, &[&str])]) {
    let gate = Gate::new();
    let verdicts = join_all(expected.iter().map(|(name, bytes, _)| async { (*name, gate.verdict(bytes).await) })).await;
    let wrong: Vec<_> = verdicts.into_iter().zip(expected).filter(|((_, verdict), (_, _, may))| !may.contains(verdict)).map(|(is, _)| is).collect();
    assert_eq!(wrong, [("", ""); 0]);
}

#[tokio::test]
async fn what_has_too_much_of_anything_is_refused_with_the_reason() {
    let funcs = "(func (export \"f%\") (canon lift (core func $i \"f\")))";
    let library = |exports: usize| {
        let exports: String = (0..exports).map(|n| funcs.replace('%', &n.to_string())).collect();
        wat::component(&format!("(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m)) {exports})"))
    };
    let named = |bytes: usize| {
        let name = "n".repeat(bytes);
        wat::component(&format!(
            "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m)) (func (export \"{name}\") (canon lift (core func $i \"f\"))))"
        ))
    };
    let doubling: String = (1..60).map(|n| format!("(type $t{n} (tuple $t{0} $t{0}))", n - 1)).collect();
    let lists: String = (1..500).map(|n| format!("(type $t{n} (list $t{}))", n - 1)).collect();
    are(&[
        ("more functions than wasm allows", functions(1_000_001), &["component-invalid"]),
        ("a thousand functions to call", library(1_000), &["compiled"]),
        ("more functions to call than a component may have", library(1_001), &["component-needs-too-much"]),
        ("a function with a name of 1,000 bytes", named(1_000), &["compiled"]),
        ("a function with a longer name", named(1_001), &["component-needs-too-much"]),
        ("50,000 locals", body(50_000, ""), &["compiled"]),
        ("more locals than wasm allows", body(50_001, ""), &["component-invalid"]),
        (
            "thousands of imports",
            wat::component(&format!("(component {})", (0..5_000).map(|n| format!("(import \"f{n}\" (func))")).collect::<String>())),
            &["component-unknown-import"],
        ),
        ("a type that doubles 60 times", wat::component(&format!("(component (type $t0 (tuple u8 u8)) {doubling})")), &["component-invalid"]),
        ("lists of lists of lists", wat::component(&format!("(component (type $t0 (list u8)) {lists})")), &["component-invalid"]),
        ("a memory of 2^48 bytes", wat::component("(component (core module (memory i64 4294967296)))"), &["component-invalid"]),
        ("a memory that threads share", wat::component("(component (core module (memory 1 1 shared)))"), &["component-invalid"]),
        ("a file over its cap", [COMPONENT.to_vec(), vec![0; 12 << 20]].concat(), &["component-too-large"]),
    ])
    .await;
}

/// What wasm allows, and what honest programs have little of: it may pass where it fits in the caps.
#[tokio::test]
async fn what_is_huge_but_allowed_is_compiled_within_the_caps_or_refused_by_one() {
    let data = wat::command(&format!("(memory 200) (data (i32.const 0) \"{}\")", "x".repeat(10 << 20)), "(i32.const 0)");
    let segments = wat::command(&format!("(memory 1) {}", "(data (i32.const 0) \"x\")".repeat(20_000)), "(i32.const 0)");
    let caps = &["compiled", "compile-cpu", "compile-memory", "compile-artefact-size", "compiler-failed"];
    are(&[
        ("10 MiB of data", data, caps),
        ("20,000 data segments", segments, caps),
        ("20,000 nested blocks", body(0, &nested("(block ", ")", 20_000, "")), caps),
        ("10,000 components in components", components_in_components(10_000), &[caps as &[_], &["component-no-entry", "component-invalid"]].concat()),
        ("20,000 types", types(20_000), &[caps as &[_], &["component-no-entry"]].concat()),
    ])
    .await;
}

#[tokio::test]
async fn compile_bombs_are_ended_by_a_cap() {
    let caps = &["compile-cpu", "compile-memory"];
    let branches = nested("(block ", ")", 1_000, &format!("(br_table {} (local.get 0))", (0..1_000).map(|n| format!("{n} ")).collect::<String>()));
    are(&[
        (
            "10,000 locals that live across 3,000 branches",
            body(10_000, &[&*"(if (local.get 0) (then (local.set 1 (i32.const 1))))".repeat(3_000), &touch(10_000)].concat()),
            caps,
        ),
        ("br_tables with a thousand depths", body(1, &branches.repeat(100)), caps),
        ("300,000 functions", functions(300_000), caps),
    ])
    .await;
}
