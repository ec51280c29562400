#![no_main]
//! Durations, address ranges and pins: what is read, written out again, is read as the same.

use libfuzzer_sys::fuzz_target;
use mailswitch_config::table::destination::Pin;
use mailswitch_config::{Cidr, duration};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(read) = duration::parse(text) {
        assert_eq!(duration::parse(&duration::format(read)), Ok(read));
    }
    if let Ok(range) = text.parse::<Cidr>() {
        let written = range.to_string();
        assert_eq!(written.parse::<Cidr>(), Ok(range));
        let (address, _) = written.split_once('/').expect("a prefix");
        assert!(range.contains(address.parse().expect("an address")));
    }
    if let Some(pin) = Pin::parse(text) {
        assert_eq!(Pin::parse(&pin.to_string()), Some(pin));
    }
});
