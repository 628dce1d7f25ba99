//! Many components in turn: what an attempt costs when the memory of hardly any component is warm. On one core, all of it, as is
//! wasmtime alone.

use std::cell::RefCell;

use futures_util::StreamExt;

use crate::component::Artefact;
use crate::component::cache::Cache;
use crate::executor::bare::Bare;
use crate::executor::{Pool, PoolConfig};

use super::executors::{attempts, cpu, on_one_core, request};
use super::{BenchError, Goal, Guest, Row, TINY, middle};

const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 15;
/// Compiled at once.
const COMPILING: usize = 2;

pub(super) async fn measure(guest: &Guest, quick: bool) -> Result<Vec<Row>, BenchError> {
    let components = if quick { 200 } else { 1_000 };
    let cache = guest.cache()?;
    let artefacts = compile(guest, &cache, components).await?;
    let slots = PoolConfig::default().slots;
    let (each, limit) = middle(on_one_core(|| rounds(guest, &artefacts, slots))?);
    let what = format!("an attempt of each of {components} components in turn, CPU time on 1 core, {slots} slots");
    Ok(vec![Row::new("11", what, each, "µs").limit(limit).reach(&[Goal::RatioAtMost(1.3)])])
}

/// Microseconds of each: ours, and wasmtime alone.
fn rounds(guest: &Guest, artefacts: &[Artefact], slots: usize) -> Result<Vec<(f64, f64)>, BenchError> {
    let pool = guest.pool(Some(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut bare = Bare::new(slots as u32)?;
    let compiled = bare.compile(TINY)?;
    for _ in artefacts {
        // SAFETY: this engine has just compiled it.
        unsafe { bare.add(&compiled) }?;
    }
    let mut measured = Vec::new();
    for round in 0..=ROUNDS {
        let limit = each(artefacts.len(), || Ok(bare.turn()?))?;
        let ours = each(artefacts.len(), || runtime.block_on(turn(&pool, artefacts)))?;
        // The first loads them all.
        if round > 0 {
            measured.push((ours, limit));
        }
    }
    Ok(measured)
}

/// The same program under as many digests: each with a section that says which one it is.
async fn compile(guest: &Guest, cache: &Cache, components: usize) -> Result<Vec<Artefact>, BenchError> {
    let compiler = &guest.compiler();
    let compile = |n: usize| async move { cache.ensure(compiler, &numbered(n)).await.map(|(artefact, _)| artefact) };
    let mut compiling = futures_util::stream::iter((0..components).map(compile)).buffered(COMPILING);
    let mut artefacts = Vec::with_capacity(components);
    while let Some(artefact) = compiling.next().await {
        artefacts.push(artefact?);
    }
    Ok(artefacts)
}

fn numbered(n: usize) -> Vec<u8> {
    // A custom section: 0, its length, its name, its contents.
    let section = [&[0_u8, 11, 5][..], &b"bench"[..], &u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()[..], &[0][..]].concat();
    [TINY, &section].concat()
}

/// Microseconds of CPU time for each of `n` attempts.
fn each(n: usize, attempts: impl FnOnce() -> Result<(), BenchError>) -> Result<f64, BenchError> {
    let before = cpu(&[]);
    attempts()?;
    Ok((cpu(&[]) - before).as_secs_f64() * 1e6 / n as f64)
}

/// An attempt of each.
async fn turn(pool: &Pool, artefacts: &[Artefact]) -> Result<(), BenchError> {
    let artefacts = RefCell::new(artefacts.iter());
    attempts(pool, IN_FLIGHT, || artefacts.borrow_mut().next().map(request)).await
}
