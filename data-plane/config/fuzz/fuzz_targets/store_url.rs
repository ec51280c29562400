#![no_main]
//! Whatever stands around it in the address of a store: its password is never shown.

use libfuzzer_sys::fuzz_target;
use mailswitch_config::secret::StoreUrl;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if text.contains("hunter") {
        return;
    }
    let mut parts = text.splitn(3, '\0');
    let mut part = || parts.next().unwrap_or_default();
    let (user, before, behind) = (part(), part(), part());
    for url in [
        format!("redis://{user}:{before}hunter2@{behind}"),
        format!("postgres://{user}@{behind}/mail?password={before}hunter2"),
        // No address at all: a password in the wrong place.
        format!("{}hunter2{}", before.replace(':', ""), behind.replace(':', "")),
    ] {
        let url = StoreUrl::new(url);
        let shown = format!("{url} {url:?}");
        assert!(!shown.contains("hunter2"), "{}", url.expose());
    }
});
