//! What several concerns' tests share.

pub mod cage;
pub mod command;
pub mod wat;
pub mod web;
