#![no_main]
//! Whatever a route's pattern is: a matcher or an error, never a panic, and a bounded time for any path. What the check of
//! a file accepts, the node can match with.

use libfuzzer_sys::fuzz_target;
use mailswitch_config::FleetFile;
use mailswitch_config::pattern::compile;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (pattern, path) = text.split_once('\0').unwrap_or((text, text));
    if let Ok(matcher) = compile(pattern) {
        let _ = matcher.is_match(path.as_bytes());
    }
    if pattern.contains("'''") || pattern.contains('\r') {
        return;
    }
    let file = format!(
        "[routing]\ndefault_destination = \"a\"\n[destination.a]\nhost = \"a\"\n\
         protocol.http = {{ port = 443, tls = \"implicit\" }}\n[[http.route]]\nmatch = '''{pattern}'''\n"
    );
    if let Ok(checked) = FleetFile::parse(&file, "fleet.toml", &[]) {
        for route in &checked.config.config.http.routes {
            assert!(compile(&route.pattern).is_ok(), "{pattern:?}");
        }
    }
});
