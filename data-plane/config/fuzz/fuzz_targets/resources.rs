#![no_main]
//! Whatever the feed brings as the body of a resource: it is used or rejected by its name, never a panic, and the others
//! stand.

use libfuzzer_sys::fuzz_target;
use mailswitch_config::fleet::Files;
use mailswitch_config::{FleetConfig, Resource, ResourceKey};

const KINDS: [(&str, &str, &str); 8] = [
    ("destination", "b", ""),
    ("destination", "a", "here"),
    ("routing", "", ""),
    ("mapping", "", ""),
    ("http", "", ""),
    ("capabilities", "imap", ""),
    ("oauth", "", ""),
    ("cutover", "", ""),
];

fuzz_target!(|data: &[u8]| {
    let [which, body @ ..] = data else { return };
    let Ok(body) = std::str::from_utf8(body) else {
        return;
    };
    let resource = |(kind, name, site): (&str, &str, &str), body: &str| Resource {
        key: ResourceKey {
            kind: kind.to_owned(),
            name: name.to_owned(),
            site: site.to_owned(),
        },
        body: body.to_owned(),
    };
    let good = resource(
        ("destination", "a", ""),
        r#"{"host":"a.example.org","protocol":{"imap":{"port":993,"tls":"implicit"}}}"#,
    );
    let other = resource(KINDS[usize::from(*which) % KINDS.len()], body);
    let both = [good, other];
    let assembly = FleetConfig::from_resources(&both, &"here".into(), Files::Elsewhere);
    for rejected in &assembly.rejected {
        assert_eq!(rejected.key, both[1].key);
        assert!(rejected.findings.has_errors());
    }
    let only_at_the_site = both[1].key.site == "here" && !assembly.rejected.is_empty();
    assert!(only_at_the_site || assembly.config.destination("a").is_some());
});
