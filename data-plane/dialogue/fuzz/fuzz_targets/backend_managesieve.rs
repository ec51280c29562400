#![no_main]
//! Whatever a ManageSieve backend sends, in whatever pieces: handshake, then replay.

use libfuzzer_sys::fuzz_target;
use mailswitch_dialogue::Protocol;

#[path = "driver.rs"]
mod driver;

fuzz_target!(|data: &[u8]| driver::backend(Protocol::ManageSieve, data));
