//! Many components in turn: what an attempt costs when the memory of hardly any component is warm.

use futures_util::StreamExt;

use crate::component::Artefact;
use crate::component::cache::Cache;
use crate::executor::bare::Bare;
use crate::executor::{AttemptRequest, Executor, Pool, PoolConfig};

use super::executors::{check, cpu, request};
use super::{BenchError, Goal, Guest, Row, TINY, middle};

const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 15;
/// Compiled at once.
const COMPILING: usize = 2;

pub(super) async fn measure(guest: &Guest, quick: bool) -> Result<Vec<Row>, BenchError> {
    let components = if quick { 200 } else { 1_000 };
    let cache = guest.cache()?;
    let artefacts = compile(guest, &cache, components).await?;
    let pool = guest.pool(Some(1))?;
    let slots = PoolConfig::default().slots as u32;
    let mut bare = Bare::new(slots)?;
    let compiled = bare.compile(TINY)?;
    for _ in 0..components {
        // SAFETY: this engine has just compiled it.
        unsafe { bare.add(&compiled) }?;
    }
    let mut measured = Vec::new();
    for round in 0..=ROUNDS {
        let (limit, each) = (bare_round(&bare, components)?, turn(&pool, guest, &artefacts).await?);
        // The first loads them all.
        if round > 0 {
            measured.push((each, limit));
        }
    }
    let what = format!("an attempt of each of {components} components in turn, CPU time, {slots} slots");
    let (each, limit) = middle(measured);
    Ok(vec![Row::new("11", what, each, "µs").limit(limit).reach(&[Goal::RatioAtMost(1.3)])])
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

fn bare_round(bare: &Bare, components: usize) -> Result<f64, BenchError> {
    let before = cpu(&[]);
    bare.turn()?;
    Ok((cpu(&[]) - before).as_secs_f64() * 1e6 / components as f64)
}

async fn turn(pool: &Pool, guest: &Guest, artefacts: &[Artefact]) -> Result<f64, BenchError> {
    let before = cpu(&[]);
    let attempts = artefacts.iter().map(|artefact| pool.run(AttemptRequest { component: artefact.clone(), ..request(guest) }));
    let mut attempts = futures_util::stream::iter(attempts).buffer_unordered(IN_FLIGHT);
    while let Some(report) = attempts.next().await {
        check(&report)?;
    }
    Ok((cpu(&[]) - before).as_secs_f64() * 1e6 / artefacts.len() as f64)
}
