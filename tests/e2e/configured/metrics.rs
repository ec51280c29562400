//! What the source of the mappings does, as Prometheus reads it.

use mailswitch_tests::{
    client::Login,
    dovecot::{Announce, Plaintext},
    http::curl::Curl,
    redis::Redis,
    when::eventually,
};

use super::*;

const BOB: &str = "bob@example.org";
const CYD: &str = "cyd@example.org";

#[test]
fn hits_misses_stale_answers_and_failures_of_a_source_are_on_the_page_of_metrics() -> Result<()> {
    let place = Place::new()?;
    let ca = mailswitch_tests::ca::Ca::new(place.path())?;
    let users = [ALICE, BOB, CYD];
    let start_dovecot = |name| Dovecot::start(&place, &ca, name, Announce::None, Plaintext::Allowed, &users);
    let (legacy, new) = (start_dovecot("legacy")?, start_dovecot("new")?);
    let mut redis = Redis::start(&place, None)?;
    redis.ask(&["SET", &format!("route:{ALICE}"), "new"])?;
    let address = place.address(2);
    ca.issue(place.path(), "node.test", address)?;
    let (imap, metrics) = (place.port(address)?, place.port(address)?);
    // What says where somebody is never counts for the next login; that somebody is unknown does.
    let text = format!(
        "{}[routing]\ndefault_destination = \"legacy\"\n[metrics]\nbind = \"{metrics}\"\n\
         [mapping]\nsource = \"redis\"\nnormalize = \"lowercase\"\npositive_ttl = \"0s\"\nlookup_timeout = \"1s\"\n\
         [mapping.redis]\nurl = \"{}\"\n\
         [listener.imap]\nprotocol = \"imap\"\nbind = [\"{imap}\"]\ntls = \"implicit\"\n{}{}",
        certificate_table(place.path()),
        redis.url(),
        imap_of("legacy", &legacy, "plain", "allow_plaintext_auth = true\n"),
        imap_of("new", &new, "plain", "allow_plaintext_auth = true\n"),
    );
    let path = place.path().join("node.toml");
    std::fs::write(&path, text)?;
    let mut node = command()?;
    node.arg(&path);
    let _node = start(&place, node, imap)?;

    let page = || -> Result<String> {
        let got = Curl::plain(metrics).get("/metrics")?;
        anyhow::ensure!(got.status == 200, "{got:?}");
        Ok(got.body)
    };
    // The value of the only sample of this name that has this label.
    let value = |page: &str, name: &str, label: &str| {
        let sample = page
            .lines()
            .find(|line| line.starts_with(name) && line.contains(label))?;
        sample.rsplit(' ').next()?.parse::<f64>().ok()
    };
    let lookups = |page: &str| {
        ["hit", "miss", "stale", "failed"].map(|outcome| {
            let label = format!("mail_outcome=\"{outcome}\"");
            value(page, "mail_mapping_lookups_total", &label)
        })
    };
    let sign_in = |user| Login::imap(imap, user).tls("implicit", ca.pem()).succeed();
    for user in [ALICE, ALICE, BOB, BOB] {
        sign_in(user)?;
    }
    let now = page()?;
    assert_eq!(lookups(&now), [Some(1.0), Some(3.0), None, None], "{now}");
    assert_eq!(value(&now, "mail_mapping_cache_entries", ""), Some(2.0), "{now}");

    redis.process.kill_dash_nine()?;
    for user in [ALICE, CYD] {
        sign_in(user)?;
    }
    let now = page()?;
    assert_eq!(
        lookups(&now),
        [Some(1.0), Some(3.0), Some(1.0), Some(1.0)],
        "{now}"
    );
    // As it was counted: who was known stayed where she was.
    eventually("they are in the logs", SOON, || {
        (new.sessions_of(ALICE).len() == 3 && legacy.sessions_of(CYD).len() == 1).then_some(())
    })?;
    Ok(())
}
