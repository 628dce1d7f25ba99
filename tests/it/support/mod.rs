//! What several concerns' tests share.

pub mod cage;
pub mod wat;
