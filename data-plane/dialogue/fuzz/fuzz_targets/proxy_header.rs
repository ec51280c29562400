#![no_main]
//! Whatever a connection begins with: an answer that what follows does not change, never a panic, never a header of more than
//! was seen.

use libfuzzer_sys::fuzz_target;
use mailswitch_dialogue::proxy_header::{Beginning, MAX_HEADER, beginning};

fuzz_target!(|data: &[u8]| {
    for start in [
        &b""[..],
        b"PROXY TCP4 ",
        b"PROXY TCP6 ",
        b"\r\n\r\n\0\r\nQUIT\n\x21",
    ] {
        let bytes = [start, data].concat();
        let mut known = None;
        for seen in 1..=bytes.len().min(MAX_HEADER) {
            let now = beginning(&bytes[..seen]);
            if known.is_some() {
                assert_eq!(now, known);
            }
            if let Some(Beginning::Header { length, .. }) = now {
                assert!(length <= seen && length <= MAX_HEADER);
            }
            known = now;
        }
        assert!(known.is_some() || bytes.len() < MAX_HEADER);
    }
});
