//! The compile child.

pub struct Compiler {}
