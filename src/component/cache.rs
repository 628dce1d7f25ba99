//! Artefacts by digest: compiled once, kept, authenticated whenever they are opened.
//!
//! ```text
//! DIR/artefact.key                    32 random bytes; whoever can read it can make artefacts
//! DIR/<digest>-<engine hash>.cwasm    the artefact: native code
//! DIR/<digest>-<engine hash>.seal     HMAC-SHA256 over name, inspection and artefact; then the inspection
//! ```
//! The directory is for this user alone. Files are written under another name, synced, then renamed; they are never
//! changed in place. wasmtime checks of an artefact only that versions and settings fit: of 400 files with one flipped
//! bit it accepted 376. So an artefact whose seal does not fit is never handed to it: it counts as absent.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash as _, Hasher};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use wasmtime::Engine;

use super::compile::Compiler;
use super::inspect::INSPECTION_FORMAT;
use super::queue::{Need, Place};
use super::{Artefact, ComponentError, EngineSettings, Inspection, engine_config};
use crate::job::{Digest, TenantId};

const KEY: &str = "artefact.key";
const PART: &str = "part";
/// Parts left by a process that died are removed after so long.
const PART_KEPT: Duration = Duration::from_secs(3600);
/// Authenticated artefacts remembered at most.
const KNOWN_MAX: usize = 10_000;
const SEAL_MAX: u64 = 32 << 20;

type Found = (Artefact, Inspection);
type Flight = Arc<OnceCell<Result<Found, ComponentError>>>;

/// Artefacts in one directory, for one engine.
pub struct Cache {
    inner: Arc<Inner>,
    /// Compilations under way: who asks for the same digest for the same tenant waits for the first.
    flights: Mutex<HashMap<(TenantId, Digest), Flight>>,
}

struct Inner {
    dir: PathBuf,
    key: Key,
    engine: String,
    /// What was authenticated, and the file that it was: as long as that is in place, it need not be read again.
    known: Mutex<HashMap<Digest, (FileStamp, Found)>>,
}

impl Cache {
    /// The cache in `dir`, which is made (for this user alone) where it is missing.
    pub fn open(dir: &Path, settings: &EngineSettings) -> Result<Self, ComponentError> {
        let failed = |e: std::io::Error| ComponentError::machine(format!("cannot open the artefact cache {}", dir.display()), e);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let key = Key::read_or_make(dir).map_err(failed)?;
        remove_old_parts(dir);
        let inner = Inner { dir: dir.to_owned(), key, engine: engine_hash(settings)?, known: Mutex::default() };
        Ok(Self { inner: Arc::new(inner), flights: Mutex::default() })
    }

    /// The artefact of `digest`, authenticated, where it is there. Reads it all the first time: up to some tenths of a second.
    pub fn find(&self, digest: &Digest) -> Result<Option<(Artefact, Inspection)>, ComponentError> {
        Ok(self.inner.find(digest))
    }

    /// Whether there is an artefact of `digest` for this engine. It is not looked into.
    pub fn has(&self, digest: &Digest) -> bool {
        self.inner.path(digest).exists()
    }

    /// `ensure_for` a push of the default tenant.
    pub async fn ensure(&self, compiler: &Compiler, bytes: &[u8]) -> Result<(Artefact, Inspection), ComponentError> {
        self.ensure_for(&TenantId::default(), Need::Push, compiler, bytes).await
    }

    /// The artefact of `bytes`, compiled if need be. However many of a tenant ask for the same bytes at once, one compilation
    /// runs and all get its answer; none waits for what another tenant has in the queue. Errors: also `TooManyWait`.
    pub async fn ensure_for(&self, tenant: &TenantId, need: Need, compiler: &Compiler, bytes: &[u8]) -> Result<(Artefact, Inspection), ComponentError> {
        let digest = Digest::of(bytes);
        let inner = self.inner.clone();
        if let Some(found) = blocking(move || Ok(inner.find(&digest))).await? {
            return Ok(found);
        }
        // Who waits for another's compilation takes memory too.
        let place = compiler.admit(tenant, need, bytes)?;
        let asked = (tenant.clone(), digest);
        let flight = self.flights().entry(asked.clone()).or_default().clone();
        let answer = flight.get_or_init(|| self.compile(compiler, &place, digest, bytes)).await.clone();
        let mut flights = self.flights();
        if flights.get(&asked).is_some_and(|current| Arc::ptr_eq(current, &flight)) {
            flights.remove(&asked);
        }
        answer
    }

    async fn compile(&self, compiler: &Compiler, place: &Place<'_>, digest: Digest, bytes: &[u8]) -> Result<Found, ComponentError> {
        let (part, file) = self.inner.part("cwasm")?;
        let out = file.try_clone().map_err(|e| ComponentError::machine("cannot write an artefact", e))?;
        let inspection = compiler.compile(place, bytes, out).await?;
        let inner = self.inner.clone();
        blocking(move || inner.keep(digest, part, file, inspection)).await
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<(TenantId, Digest), Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Artefact {
    /// The artefact's file, after its seal was found to fit what this very descriptor reads.
    pub fn open(&self) -> Result<(File, Inspection), ComponentError> {
        let damaged = |detail: String| ComponentError::Damaged { what: format!("the artefact {}", self.path.display()), detail };
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let key = Key::read(dir).map_err(|e| damaged(format!("its key cannot be read: {e}")))?;
        if !self.path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(self.digest.to_hex().as_bytes())) {
            return Err(damaged("it is another component's".to_owned()));
        }
        open_sealed(&self.path, &key).map_err(|e| damaged(e.to_string()))
    }
}

impl Inner {
    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}-{}.cwasm", digest.to_hex(), self.engine))
    }

    fn find(&self, digest: &Digest) -> Option<Found> {
        let path = self.path(digest);
        let stamp = FileStamp::of(&fs::metadata(&path).ok()?);
        if let Some((known, found)) = self.known().get(digest)
            && *known == stamp
        {
            return Some(found.clone());
        }
        match open_sealed(&path, &self.key) {
            Ok((file, inspection)) => {
                let stamp = FileStamp::of(&file.metadata().ok()?);
                let found = (Artefact { digest: *digest, path }, inspection);
                self.remember(*digest, stamp, &found);
                Some(found)
            }
            Err(error) => {
                tracing::warn!(artefact = %path.display(), %error, "an artefact is not what was compiled; it will be compiled again");
                None
            }
        }
    }

    /// Seals a compiled part and gives it its name.
    fn keep(&self, digest: Digest, part: Part, artefact: File, inspection: Inspection) -> Result<Found, ComponentError> {
        let failed = |e: std::io::Error| ComponentError::machine("cannot keep an artefact", e);
        let path = self.path(&digest);
        let said = serde_json::to_vec(&inspection).map_err(|e| failed(e.into()))?;
        artefact.sync_all().map_err(failed)?;
        let mac = self.key.mac(&path, &said, &artefact).map_err(failed)?.finalize().into_bytes();
        let (seal_part, mut seal) = self.part("seal")?;
        seal.write_all(&mac).and_then(|()| seal.write_all(&said)).and_then(|()| seal.sync_all()).map_err(failed)?;
        let stamp = FileStamp::of(&artefact.metadata().map_err(failed)?);
        part.rename(&path).map_err(failed)?;
        seal_part.rename(&path.with_extension("seal")).map_err(failed)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        let found = (Artefact { digest, path }, inspection);
        self.remember(digest, stamp, &found);
        Ok(found)
    }

    fn remember(&self, digest: Digest, stamp: FileStamp, found: &Found) {
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(digest, (stamp, found.clone()));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, (FileStamp, Found)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part(&self, extension: &str) -> Result<(Part, File), ComponentError> {
        Part::make(&self.dir, extension).map_err(|e| ComponentError::machine(format!("cannot write to the artefact cache {}", self.dir.display()), e))
    }
}

/// Which file a path named, and that it was not written since.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl FileStamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { inode: metadata.ino(), size: metadata.size(), modified: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}

/// A file without its name yet; it goes away unless it is renamed.
struct Part {
    path: PathBuf,
    kept: bool,
}

impl Part {
    fn make(dir: &Path, extension: &str) -> std::io::Result<(Self, File)> {
        let path = dir.join(format!("{}.{extension}.{PART}", uuid::Uuid::now_v7().simple()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((Self { path, kept: false }, file))
    }

    fn rename(mut self, to: &Path) -> std::io::Result<()> {
        fs::rename(&self.path, to)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn remove_old_parts(dir: &Path) {
    let old = |entry: &fs::DirEntry| {
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        entry.path().extension().is_some_and(|e| e == PART) && age.is_some_and(|age| age > PART_KEPT)
    };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten().filter(old) {
        let _ = fs::remove_file(entry.path());
    }
}

struct Key([u8; 32]);

impl Key {
    fn read(dir: &Path) -> std::io::Result<Self> {
        let bytes = fs::read(dir.join(KEY))?;
        bytes.try_into().map(Self).map_err(|_| std::io::Error::other(format!("{KEY} does not have 32 bytes")))
    }

    /// Of two processes that make it at once, the first one's stays.
    fn read_or_make(dir: &Path) -> std::io::Result<Self> {
        match Self::read(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            answer => return answer,
        }
        let mut random = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let (part, mut file) = Part::make(dir, "key")?;
        file.write_all(&random)?;
        file.sync_all()?;
        match fs::hard_link(&part.path, dir.join(KEY)) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        Self::read(dir)
    }

    /// Over the artefact's name (so that no artefact passes for another), its inspection and all its bytes.
    fn mac(&self, path: &Path, inspection: &[u8], artefact: &File) -> std::io::Result<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).map_err(std::io::Error::other)?;
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        for part in [name, inspection] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        let mut buffer = vec![0; 256 << 10];
        let mut at = 0;
        loop {
            match std::os::unix::fs::FileExt::read_at(artefact, &mut buffer, at)? {
                0 => return Ok(mac),
                n => {
                    mac.update(&buffer[..n]);
                    at += n as u64;
                }
            }
        }
    }
}

/// The artefact at `path` where its seal fits; the seal is checked against what the returned descriptor reads.
fn open_sealed(path: &Path, key: &Key) -> std::io::Result<(File, Inspection)> {
    let artefact = File::open(path)?;
    let mut sealed = Vec::new();
    File::open(path.with_extension("seal"))?.take(SEAL_MAX).read_to_end(&mut sealed)?;
    let (mac, said) = sealed.split_at_checked(32).ok_or_else(|| std::io::Error::other("its seal is too short"))?;
    key.mac(path, said, &artefact)?.verify_slice(mac).map_err(|_| std::io::Error::other("its seal does not fit"))?;
    Ok((artefact, serde_json::from_slice(said)?))
}

/// Everything that an artefact must fit: wasmtime's version and features, code settings, the host's instructions.
fn engine_hash(settings: &EngineSettings) -> Result<String, ComponentError> {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let cannot = |e: wasmtime::Error| ComponentError::machine("cannot start an engine", format!("{e:#}"));
    let engine = Engine::new(&engine_config(settings)).map_err(cannot)?;
    let mut sha = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut sha);
    // What the compile child checked by.
    sha.write(serde_json::to_string(settings).map_err(|e| ComponentError::machine("cannot name the engine", e))?.as_bytes());
    sha.write(&INSPECTION_FORMAT.to_le_bytes());
    Ok(Digest(sha.0.finalize().into()).to_hex()[..16].to_owned())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, ComponentError> + Send + 'static) -> Result<T, ComponentError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| ComponentError::machine("the artefact cache failed", e))?
}
