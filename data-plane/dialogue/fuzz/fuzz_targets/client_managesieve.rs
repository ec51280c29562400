#![no_main]
//! Whatever a ManageSieve client sends, in whatever pieces, on every kind of leg.

use libfuzzer_sys::fuzz_target;
use mailswitch_dialogue::Protocol;

#[path = "driver.rs"]
mod driver;

fuzz_target!(|data: &[u8]| driver::client(Protocol::ManageSieve, data));
