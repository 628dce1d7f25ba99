//! Rust's std for wasm32-wasip2 refers to these when a thread could be spawned. A recent wasi-libc has stubs
//! that fail; Debian 12's has none, so they stand here. Weak in effect: nothing in the guests spawns a thread.
#![no_std]
use core::ffi::{c_int, c_void};

const EAGAIN: c_int = 6;

#[no_mangle]
pub extern "C" fn pthread_attr_init(_: *mut c_void) -> c_int {
    0
}
#[no_mangle]
pub extern "C" fn pthread_attr_destroy(_: *mut c_void) -> c_int {
    0
}
#[no_mangle]
pub extern "C" fn pthread_attr_setstacksize(_: *mut c_void, _: usize) -> c_int {
    0
}
#[no_mangle]
pub extern "C" fn pthread_create(_: *mut c_void, _: *const c_void, _: *const c_void, _: *mut c_void) -> c_int {
    EAGAIN
}
#[no_mangle]
pub extern "C" fn pthread_join(_: *mut c_void, _: *mut c_void) -> c_int {
    0
}
#[no_mangle]
pub extern "C" fn pthread_detach(_: *mut c_void) -> c_int {
    0
}
