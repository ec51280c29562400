//! TLS to the stores, by an authority of the test's own: with it they are reached, without it they are not.

use std::process::Command;

use mailswitch_sources::OpenError;
use mailswitch_tests::ca::Ca;
use mailswitch_tests::mariadb::MariaDb;
use mailswitch_tests::place::Place;
use mailswitch_tests::redis::Redis;

use crate::rig::{goes_to, login, open};
use crate::servers::{mariadb_at, postgres, postgres_at, redis_at};

fn with_provider() {
    // As `main` does.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A process of its own: which authorities Redis is believed by is the environment's.
#[tokio::test]
async fn mdb_rediss_works_and_its_certificate_is_checked() {
    const URL: &str = "MAILSWITCH_TEST_REDISS";
    if let Ok(url) = std::env::var(URL) {
        with_provider();
        let opened = open(redis_at(&url)).await;
        println!(
            "{}",
            match opened {
                Ok(mappings) => format!("goes to {}", goes_to(&mappings, "ann").await),
                Err(OpenError::Store { source, .. }) => format!("refused: {source}"),
                Err(error) => panic!("{error}"),
            }
        );
        return;
    }
    let place = Place::new().unwrap();
    let ca = Ca::new(&place.folder("ca").unwrap()).unwrap();
    let issued = ca
        .issue(&place.folder("issued").unwrap(), "redis.test", place.server())
        .unwrap();
    let redis = Redis::start(&place, Some(&issued)).unwrap();
    redis.ask(&["-n", "3", "SET", "route:ann", "new"]).unwrap();
    let url = format!("{}/3", redis.url().replace("redis://", "rediss://"))
        .replace(&redis.address.to_string(), &redis.tls.unwrap().to_string());
    let others = Ca::new(&place.folder("other-ca").unwrap()).unwrap();
    for (authority, expected) in [(ca.pem(), "goes to new"), (others.pem(), "refused: ")] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tls::mdb_rediss_works_and_its_certificate_is_checked",
                "--nocapture",
            ])
            .env(URL, &url)
            .env("SSL_CERT_FILE", authority)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            said.contains(expected),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(!said.contains("sesame"));
    }
}

#[tokio::test]
async fn postgresql_is_reached_over_tls_and_its_certificate_is_checked() {
    with_provider();
    let place = Place::new().unwrap();
    let ca = Ca::new(&place.folder("ca").unwrap()).unwrap();
    let server = postgres(&place);
    let folder = place.path().join("postgres");
    let issued = ca
        .issue(&place.folder("issued").unwrap(), "db.test", place.server())
        .unwrap();
    // As its own user's files, which the key has to be.
    for (from, to) in [(&issued.cert, "server.crt"), (&issued.key, "server.key")] {
        let copied = Command::new("install")
            .args(["-o", "postgres", "-m", "600"])
            .arg(from)
            .arg(folder.join("data").join(to))
            .status();
        assert!(copied.unwrap().success());
    }
    std::fs::write(
        folder.join("data/pg_hba.conf"),
        "local all all trust\nhostssl all all 0.0.0.0/0 trust\n",
    )
    .unwrap();
    server.sql("mailswitch", "ALTER SYSTEM SET ssl = on").unwrap();
    server.sql("mailswitch", "SELECT pg_reload_conf()").unwrap();
    server
        .sql("mailswitch", "INSERT INTO placement VALUES ('ann', 'new')")
        .unwrap();
    mailswitch_tests::when::wait_until("TLS is on", std::time::Duration::from_secs(10), || {
        server
            .sql("mailswitch", "SHOW ssl")
            .is_ok_and(|on| on.trim() == "on")
    })
    .unwrap();
    let url = |mode: &str, ca: &Ca| {
        let url = server
            .url()
            .replace("sslmode=disable", &format!("sslmode={mode}"));
        postgres_at(&format!("{url}&sslrootcert={}", ca.pem().display()))
    };
    let mappings = open(url("verify-full", &ca)).await.unwrap();
    assert_eq!(goes_to(&mappings, "ann").await, "new");
    let others = Ca::new(&place.folder("other-ca").unwrap()).unwrap();
    let error = open(url("verify-full", &others)).await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    assert!(open(url("disable", &ca)).await.is_err(), "the server wants TLS");
}

#[tokio::test]
async fn mariadb_is_reached_over_tls_and_its_certificate_is_checked() {
    with_provider();
    let place = Place::new().unwrap();
    let ca = Ca::new(&place.folder("ca").unwrap()).unwrap();
    let issued = ca
        .issue(&place.folder("issued").unwrap(), "db.test", place.server())
        .unwrap();
    let server = MariaDb::start(&place, Some(&issued)).unwrap();
    server
        .sql(
            "USE mail; CREATE TABLE placement (login VARCHAR(99) PRIMARY KEY, node VARCHAR(99));
             INSERT INTO placement VALUES ('ann', 'new'); ALTER USER router@'%' REQUIRE SSL",
        )
        .unwrap();
    let url = |mode: &str, ca: &Ca| {
        let url = server.url();
        mariadb_at(&format!("{url}?ssl-mode={mode}&ssl-ca={}", ca.pem().display()))
    };
    let mappings = open(url("VERIFY_IDENTITY", &ca)).await.unwrap();
    assert_eq!(login(&mappings, "ann").await.destination.unwrap().as_str(), "new");
    let others = Ca::new(&place.folder("other-ca").unwrap()).unwrap();
    let error = open(url("VERIFY_CA", &others)).await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    assert!(open(url("DISABLED", &ca)).await.is_err(), "the server wants TLS");
}
