//! The kernel programs: one thin program per hook, which turns the hook's arguments into an op, and
//! a shared path from there: op -> place -> cost -> charge -> verdict (+ event).
//!
//! They decide alone. Nothing here waits for user space, and nothing here knows a policy beyond the
//! numbers in the maps. Every decision errs towards stopping an op, never towards an operation that
//! is not counted.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![allow(unsafe_op_in_unsafe_fn, reason = "everything here is at the kernel's boundary")]

mod allow;
mod arrive;
mod decide;
mod destroyed;
mod fresh;
mod hold;
mod hooks;
mod inflight;
mod kernel;
mod maps;
mod pattern;
mod place;
mod report;
mod vain;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects a program that could get here: there is no call to it in the object.
    loop {}
}

/// LSM programs and several helpers are only for programs under a GPL-compatible licence; the
/// kernel reads it here.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
