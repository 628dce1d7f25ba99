//! Artefacts by digest.

use std::path::Path;

use super::compile::Compiler;
use super::{Artefact, ComponentError, EngineSettings, Inspection};
use crate::job::Digest;

pub struct Cache {}

impl Cache {
    /// The cache in `dir`, which is made (for this user alone) where it is missing.
    pub fn open(_dir: &Path, _settings: &EngineSettings) -> Result<Self, ComponentError> {
        unimplemented!()
    }

    /// The artefact of `digest`, authenticated, where it is there.
    pub fn find(&self, _digest: &Digest) -> Result<Option<(Artefact, Inspection)>, ComponentError> {
        unimplemented!()
    }

    /// The artefact of `bytes`, compiled if need be.
    pub async fn ensure(&self, _compiler: &Compiler, _bytes: &[u8]) -> Result<(Artefact, Inspection), ComponentError> {
        unimplemented!()
    }
}
