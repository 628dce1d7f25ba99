//! `wasi:random`: wasmtime-wasi's, with the cap of `limits.random` in front; in a deterministic attempt what follows from its seed.

use wasmtime::component::HasData;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::random::WasiRandomCtx;

use crate::executor::determinism::Seeded;
use crate::executor::limiter::LimitHit;

pub(in crate::executor) struct Random<'a> {
    pub ctx: &'a mut WasiRandomCtx,
    /// Bytes in one call.
    pub max: u64,
    pub seeded: Option<&'a mut Seeded>,
}

impl HasData for Random<'static> {
    type Data<'a> = Random<'a>;
}

impl Random<'_> {
    fn check(&self, asked: u64) -> wasmtime::Result<()> {
        if asked > self.max {
            return Err(LimitHit::Random { asked }.into());
        }
        Ok(())
    }
}

impl random::Host for Random<'_> {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.check(len)?;
        match &mut self.seeded {
            Some(seeded) => Ok(seeded.secure(len)),
            None => random::Host::get_random_bytes(self.ctx, len),
        }
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        match &mut self.seeded {
            Some(seeded) => Ok(seeded.secure_u64()),
            None => random::Host::get_random_u64(self.ctx),
        }
    }
}

impl insecure::Host for Random<'_> {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.check(len)?;
        match &mut self.seeded {
            Some(seeded) => Ok(seeded.insecure(len)),
            None => insecure::Host::get_insecure_random_bytes(self.ctx, len),
        }
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        match &mut self.seeded {
            Some(seeded) => Ok(seeded.insecure_u64()),
            None => insecure::Host::get_insecure_random_u64(self.ctx),
        }
    }
}

impl insecure_seed::Host for Random<'_> {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        match &self.seeded {
            Some(seeded) => Ok(seeded.insecure_seed()),
            None => insecure_seed::Host::insecure_seed(self.ctx),
        }
    }
}
