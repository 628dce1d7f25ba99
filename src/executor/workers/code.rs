//! Compiled code by descriptor: what a confined worker is sent, it maps; it could open nothing.
//!
//! wasmtime maps files that it opens itself, by name. For memory that is handed to it, it asks back when it is to be
//! made executable and when it is not used any more. The pages are the file's, shared by all workers.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munmap};
use wasmtime::component::Component;
use wasmtime::{CustomCodeMemory, Engine};

/// The mapped artefacts of one engine.
#[derive(Clone)]
pub(super) struct Code(Arc<Mappings>);

struct Mappings {
    regions: Mutex<Regions>,
    /// Asked for before the process is confined.
    page_size: usize,
}

/// Lengths by first address.
#[derive(Default)]
struct Regions {
    used: BTreeMap<usize, usize>,
    /// Not used any more, but wasmtime may still look at them while it drops what it has.
    unused: Vec<(usize, usize)>,
}

impl Code {
    pub fn new() -> Self {
        Self(Arc::new(Mappings { regions: Mutex::default(), page_size: rustix::param::page_size() }))
    }

    /// To be given to the engine's configuration.
    pub fn memory(&self) -> Arc<dyn CustomCodeMemory> {
        self.0.clone()
    }

    /// The component whose artefact `file` is.
    ///
    /// # Safety
    /// The file was written by our compiler, is authenticated, and is never changed. `engine` was made with `memory`.
    /// Components of `engine` are loaded and dropped on this thread only.
    pub unsafe fn load(&self, engine: &Engine, file: OwnedFd) -> wasmtime::Result<Component> {
        let size = usize::try_from(rustix::fs::fstat(&file).map_err(io::Error::from)?.st_size)?;
        let mut regions = self.0.regions();
        regions.unmap_unused();
        // SAFETY: a fresh private mapping at an address of the kernel's choice.
        let start = unsafe { mmap(ptr::null_mut(), size, ProtFlags::READ, MapFlags::PRIVATE, &file, 0) }.map_err(io::Error::from)?;
        regions.used.insert(start.expose_provenance(), size);
        drop(regions);
        let memory =
            NonNull::new(ptr::slice_from_raw_parts_mut(start.cast::<u8>(), size)).ok_or_else(|| wasmtime::Error::msg("the file was mapped nowhere"))?;
        // SAFETY: what it contains is the caller's promise; that it stays mapped as long as it is used is this module's.
        let loaded = unsafe { Component::deserialize_raw(engine, memory) };
        if loaded.is_err() {
            self.0.regions().retire(start.addr());
        }
        loaded
    }
}

impl Mappings {
    fn regions(&self) -> MutexGuard<'_, Regions> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Regions {
    /// The region that begins at or before `address`.
    fn retire(&mut self, address: usize) {
        let found = self.used.range(..=address).next_back().map(|(start, size)| (*start, *size));
        if let Some((start, size)) = found.filter(|(start, size)| address <= start + size) {
            self.used.remove(&start);
            self.unused.push((start, size));
        }
    }

    fn unmap_unused(&mut self) {
        for (start, size) in self.unused.drain(..) {
            // SAFETY: mapped by `load`; its component is gone, and what dropped it has returned, since components are
            // loaded and dropped on one thread.
            let _ = unsafe { munmap(ptr::with_exposed_provenance_mut(start), size) };
        }
    }
}

impl CustomCodeMemory for Mappings {
    fn required_alignment(&self) -> usize {
        self.page_size
    }

    fn publish_executable(&self, code: *const u8, size: usize) -> wasmtime::Result<()> {
        // SAFETY: wasmtime names a part of what `load` gave it; the pages are private and not writable.
        unsafe { mprotect(code.cast_mut().cast(), size, MprotectFlags::READ | MprotectFlags::EXEC) }.map_err(io::Error::from)?;
        Ok(())
    }

    fn unpublish_executable(&self, code: *const u8, _size: usize) -> wasmtime::Result<()> {
        self.regions().retire(code.addr());
        Ok(())
    }
}
