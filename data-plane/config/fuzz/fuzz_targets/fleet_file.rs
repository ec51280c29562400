#![no_main]
//! Whatever a fleet's file holds: resources or findings, never a panic. What is accepted is exported to a file that is
//! accepted, and applying that changes nothing.

use libfuzzer_sys::fuzz_target;
use mailswitch_config::FleetFile;
use mailswitch_config::resource::{diff, to_toml};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(checked) = FleetFile::parse(text, "fleet.toml", &[]) else {
        return;
    };
    let resources = checked.config.resources;
    let exported = to_toml(&resources);
    match FleetFile::parse(&exported, "export.toml", &[]) {
        Ok(again) => {
            assert_eq!(again.config.resources, resources, "{exported}");
            assert!(diff(&again.config.resources, &resources).is_empty());
        }
        Err(findings) => panic!("{findings}\n---\n{exported}"),
    }
});
