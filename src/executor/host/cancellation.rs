//! `bellcage:job/cancellation`: whether the attempt should stop. Who asks is given some time to do so.

use wasmtime::component::HasData;

use super::bindings::cancellation::Host;
use crate::executor::signal::Signal;

pub(in crate::executor) struct Cancellation<'a>(pub &'a Signal);

impl HasData for Cancellation<'static> {
    type Data<'a> = Cancellation<'a>;
}

impl Host for Cancellation<'_> {
    fn is_cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.0.asked_whether_cancelled())
    }
}
