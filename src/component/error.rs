//! Why a component was refused, or could not be compiled.

#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// Something we stored cannot be read back.
    #[error("{what} is damaged: {detail}")]
    Damaged { what: String, detail: String },
}

impl ComponentError {
    /// A fault of ours or of the machine, not of who uploaded.
    pub fn is_ours(&self) -> bool {
        true
    }

    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        "component-damaged"
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        None
    }
}
