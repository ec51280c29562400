//! Example 7c: accounts spread over the members of a cluster, by a table in PostgreSQL.

use mailswitch_tests::{
    http::nginx::{Nginx, Told},
    postgres::Postgres,
};

use super::*;

const CLUSTER: &str = include_str!("../../../../data-plane/config/tests/examples/cluster.toml");
const BOB: &str = "bob@example.org";

#[test]
fn the_example_of_a_cluster_routes_mail_and_web_by_a_table_in_postgresql() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let member = |name: &str| -> Result<_> {
        let dovecot = Dovecot::start(
            &place,
            &ca,
            name,
            Announce::Proxy,
            Plaintext::Refused,
            &[ALICE, BOB],
        )?;
        let (folder, host) = (format!("{name}-web"), format!("{name}.test"));
        let web = Nginx::start_as(&place, &ca, &folder, &host, Told::ProxyHeader)?;
        Ok((dovecot, web))
    };
    let (n1, n2) = (member("n1")?, member("n2")?);
    let mut postgres = Postgres::start(&place)?;
    postgres.sql("postgres", "CREATE ROLE router LOGIN PASSWORD 'hunter2'")?;
    postgres.sql("postgres", "CREATE DATABASE mail OWNER router")?;
    postgres.sql(
        "mail",
        "SET ROLE router; CREATE TABLE placement (login text PRIMARY KEY, node text NOT NULL)",
    )?;

    let mut text = CLUSTER.to_owned();
    let admin = at_home(&mut text, &place, &ca, "mail.cluster.example")?;
    swap(&mut text, "db.lan.example", &postgres.address.to_string())?;
    // Nothing ends a table here but the next one: the last one first.
    for (name, host, (dovecot, web)) in [("n2", "10.8.0.2", &n2), ("n1", "10.8.0.1", &n1)] {
        swap(&mut text, host, &place.server().to_string())?;
        swap(&mut text, &format!("{name}.lan.example"), &format!("{name}.test"))?;
        let legs = [
            ("protocol.imap", dovecot.imaps.port()),
            ("protocol.http", web.https.port()),
        ];
        ports(&mut text, &format!("[destination.{name}]"), &legs)?;
    }
    let at = listeners(&mut text, &place, &[993, 443])?;
    let path = place.path().join("cluster.toml");
    std::fs::write(&path, text)?;
    let mut node = command()?;
    node.arg(&path).env("SSL_CERT_FILE", ca.pem());
    let mut node = start(&place, node, at[&993])?;

    let client = place.address(77);
    let sign_in = |user: &str| {
        let login = Login::imap(at[&993], user).tls("implicit", ca.pem()).from(client);
        login.succeed().with_context(|| node_log(&place))
    };
    let put = |user: &str, to: &str| {
        let target = format!("/mappings?identifier={user}&destination={to}");
        api(admin, &ca, "PUT", &target)
    };
    assert_eq!(put("Alice@Example.ORG", "n2")?, "ok\n");
    let placed = postgres.sql("mail", "SELECT login, node FROM placement")?;
    assert_eq!(placed.trim(), "alice@example.org|n2");
    let curl = Curl::tls(at[&443], ca.pem()).from(client);
    // Alice is on n2, and Bob, of whom the table knows nothing, on n1: for mail and for the web.
    for (user, home, other) in [(ALICE, &n2, &n1), (BOB, &n1, &n2)] {
        sign_in(user)?;
        eventually("their member saw who they are", SOON, || {
            let seen = home.0.sessions_of(user);
            (seen.len() == 1 && seen[0].rip == client).then_some(())
        })?;
        assert!(other.0.sessions_of(user).is_empty());
        let got = curl.clone().user(user).get("/name")?;
        assert!(got.body.starts_with(&home.1.name), "{got:?}");
        let served = eventually("its web saw who they are", SOON, || home.1.served().pop())?;
        assert_eq!((served.user.as_str(), served.peer), (user, client));
        assert!(served.forwarded.contains(&client.to_string()), "{served:?}");
    }
    // Nobody in particular.
    assert!(curl.get("/name")?.body.starts_with(&n1.1.name));

    // Who is known stays while the database is away.
    postgres.kill()?;
    sign_in(ALICE)?;
    let got = curl.clone().user(ALICE).get("/name")?;
    assert!(got.body.starts_with(&n2.1.name), "{got:?}");
    assert!(n1.0.sessions_of(ALICE).is_empty());
    postgres.restart()?;

    // And can be moved when it is back.
    let moved = eventually("the store takes changes again", SOON, || put(BOB, "n2").ok())?;
    assert_eq!(moved, "ok\n");
    sign_in(BOB)?;
    eventually("he is on n2", SOON, || n2.0.sessions_of(BOB).pop())?;
    assert!(curl.user(BOB).get("/name")?.body.starts_with(&n2.1.name));

    // Each login was counted once; behind a PUT the next one reads what stands there.
    let stats: serde_json::Value = serde_json::from_str(&api(admin, &ca, "GET", "/stats")?)?;
    let counted = [&stats["cache_hits"], &stats["cache_misses"]].map(serde_json::Value::as_u64);
    assert_eq!(counted, [Some(5), Some(3)], "{stats}");
    node.stop(SOON)?;
    let log = node_log(&place);
    let figures = log.lines().rfind(|line| line.contains("figures"));
    let figures = figures.context("a line of figures")?;
    for expected in [
        "cache_hits=5",
        "cache_misses=3",
        "hit_rate_pct=62.5",
        "active_connections=0",
    ] {
        assert!(figures.contains(expected), "{expected}: {figures}");
    }
    Ok(())
}
