//! Entries of `docs/troubleshooting.md` that no other test makes happen; and that the page names tests that there are.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mailswitch_tests::{
    ca::Ca,
    client::Login,
    dovecot::{Announce, Dovecot, Plaintext},
    fleet::program,
    lone::{Lone, Setup, destination},
    place::Place,
    postfix::Postfix,
    process::Process,
    programs::swaks_relay,
    when::{eventually, wait_until},
};

const PAGE: &str = include_str!("../../docs/troubleshooting.md");
const ALICE: &str = "alice@example.org";
const SOON: Duration = Duration::from_secs(30);

struct Scene {
    place: Place,
    ca: Ca,
    legacy: Dovecot,
    new: Dovecot,
}

impl Scene {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        let ca = Ca::new(place.path())?;
        let start = |name| {
            Dovecot::start(
                &place,
                &ca,
                name,
                Announce::None,
                Plaintext::Refused,
                &[ALICE, "alice"],
            )
        };
        let (legacy, new) = (start("legacy")?, start("new")?);
        Ok(Self {
            place,
            ca,
            legacy,
            new,
        })
    }

    /// With an implicit-TLS IMAP listener.
    fn node(&self, moved: &str) -> Result<Lone> {
        let tables = [&self.legacy, &self.new]
            .map(|dovecot| destination(dovecot, None, "implicit", "forwarding = \"none\"\n"));
        let setup = Setup {
            listeners: &[("imap", "implicit")],
            tables: &tables.concat(),
            moved,
            ..Setup::default()
        };
        Lone::start(&self.place, &self.ca, setup)
    }

    fn sign_in(&self, node: &Lone, login: &str) -> Result<Login> {
        Ok(Login::imap(node.at("imap", "implicit")?, login).tls("implicit", self.ca.pem()))
    }
}

fn check(file: &Path, ca: &Ca) -> Result<String> {
    let Output { stdout, stderr, .. } = Command::new(program("mailswitch-data-plane")?)
        .arg("--check")
        .arg(file)
        .env("SSL_CERT_FILE", ca.pem())
        .output()?;
    Ok(String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

/// Adds to main.cf, or changes it; Postfix takes it up.
fn reconfigure(postfix: &Postfix, change: impl Fn(&str) -> String) -> Result<()> {
    let path = postfix.directory.join("main.cf");
    let before = std::fs::read_to_string(&path)?;
    let after = change(&before);
    ensure!(before != after, "main.cf has no such line");
    std::fs::write(&path, after)?;
    let reload = Command::new("/usr/sbin/postfix")
        .arg("-c")
        .arg(&postfix.directory)
        .arg("reload")
        .status()?;
    ensure!(reload.success(), "postfix reload: {reload}");
    Ok(())
}

#[test]
fn an_account_with_one_of_two_login_forms_mapped_is_in_two_places_and_check_says_so() -> Result<()> {
    let scene = Scene::new()?;
    let node = scene.node("alice@example.org new\n")?;
    for login in [ALICE, "alice"] {
        scene.sign_in(&node, login)?.succeed()?;
    }
    eventually("the mapped form is served there", SOON, || {
        scene.new.sessions_of(ALICE).pop()
    })?;
    eventually("the other one is not", SOON, || {
        scene.legacy.sessions_of("alice").pop()
    })?;
    let said = check(&node.config, &scene.ca)?;
    assert!(
        said.contains("would go to two places, by the form of the login"),
        "{said}"
    );
    assert!(said.contains("map both forms"), "{said}");
    Ok(())
}

#[test]
fn a_master_login_with_a_separator_that_is_not_listed_goes_to_the_default() -> Result<()> {
    let scene = Scene::new()?;
    let node = scene.node("alice@example.org new\n")?;
    // Neither server has such a master user: which one refuses says where the login went.
    for (login, home) in [
        ("alice@example.org%root", &scene.new),
        ("alice@example.org*root", &scene.legacy),
    ] {
        let refused = scene.sign_in(&node, login)?.run()?;
        assert!(!refused.ok, "{refused:?}");
        eventually("it was refused here", SOON, || {
            home.log().contains(login).then_some(())
        })
        .with_context(|| format!("{login}:\n{}", home.log()))?;
    }
    assert!(!scene.legacy.log().contains("%root") && !scene.new.log().contains("*root"));
    Ok(())
}

#[test]
fn mail_for_an_account_that_only_the_source_has_is_refused_by_a_target_that_does_not_relay() -> Result<()> {
    let scene = Scene::new()?;
    let postfix = Postfix::start(
        &scene.place,
        &scene.ca,
        &scene.new,
        Plaintext::Refused,
        "example.org",
    )?;
    let tables = destination(&scene.new, Some(&postfix), "implicit", "forwarding = \"none\"\n")
        .replace("destination.new", "destination.legacy");
    let setup = Setup {
        listeners: &[("smtp", "plain")],
        routing: "smtp_passthrough_destination = \"legacy\"\n",
        tables: &tables,
        ..Setup::default()
    };
    let node = Lone::start(&scene.place, &scene.ca, setup)?;
    let smtp = node.at("smtp", "plain")?;
    let send = |to: &str| {
        let id = format!("<{}@elsewhere.test>", to.len());
        swaks_relay(smtp, "ESMTP", "plain", scene.place.address(141), to, &id)?.succeed()
    };
    send("bob@example.org")?;
    // It knows who is its own, and nothing of the others.
    reconfigure(&postfix, |main| {
        main.replace("static:all", "inline:{alice@example.org=all}")
    })?;
    send(ALICE)?;
    wait_until("the one it does not have is refused", SOON, || {
        send("bob@example.org").is_err_and(|refused| format!("{refused:#}").contains("550"))
    })
}

#[test]
fn a_server_that_wants_a_full_name_in_ehlo_is_found_by_check() -> Result<()> {
    let scene = Scene::new()?;
    let postfix = Postfix::start(
        &scene.place,
        &scene.ca,
        &scene.legacy,
        Plaintext::Refused,
        "example.org",
    )?;
    let setup = Setup {
        listeners: &[("smtp", "plain")],
        routing: "smtp_passthrough_destination = \"legacy\"\n",
        tables: &destination(
            &scene.legacy,
            Some(&postfix),
            "implicit",
            "forwarding = \"none\"\n",
        ),
        ..Setup::default()
    };
    let node = Lone::start(&scene.place, &scene.ca, setup)?;
    reconfigure(&postfix, |main| {
        format!("{main}\nsmtpd_delay_reject = no\nsmtpd_helo_restrictions = reject_non_fqdn_helo_hostname\n")
    })?;
    let bare = node.config.with_file_name("bare.toml");
    let text = std::fs::read_to_string(&node.config)?;
    std::fs::write(&bare, text.replace("\"proxy.example.org\"", "\"proxy\""))?;
    wait_until("check says it", SOON, || {
        check(&bare, &scene.ca).is_ok_and(|said| {
            said.contains("✗ answers EHLO proxy with") && said.contains("set server.hostname to a full name")
        })
    })
    .with_context(|| check(&bare, &scene.ca).unwrap_or_default())?;
    let full = check(&node.config, &scene.ca)?;
    assert!(!full.contains("set server.hostname to a full name"), "{full}");
    Ok(())
}

#[test]
fn clients_are_shown_a_self_signed_certificate_where_none_matches_and_that_is_said() -> Result<()> {
    let scene = Scene::new()?;
    let node = scene.node("")?;
    let text = std::fs::read_to_string(&node.config)?;
    // Two, so that none is the only one; for names that nobody asks for.
    let (_, certificate) = text
        .split_once("[tls.certificate.public]\n")
        .context("a certificate")?;
    let (certificate, _) = certificate.split_once("default = true\n").context("its end")?;
    let named =
        |name: &str| format!("[tls.certificate.{name}]\n{certificate}subjects = [\"{name}.example.net\"]\n");
    let before = format!("[tls.certificate.public]\n{certificate}default = true\n");
    let listener = node.at("imap", "implicit")?;
    let elsewhere = scene.place.port(scene.place.address(3))?;
    let text = text
        .replace(&before, &(named("a") + &named("b")))
        .replace(&listener.to_string(), &elsewhere.to_string());
    let config = node.config.with_file_name("unnamed.toml");
    std::fs::write(&config, text)?;
    let log = config.with_extension("log");
    let mut command = Command::new(program("mailswitch-data-plane")?);
    command
        .arg(&config)
        .env_remove("RUST_LOG")
        .env("SSL_CERT_FILE", scene.ca.pem());
    let mut unnamed = Process::start("unnamed", command, &log)?;
    unnamed.wait_ready(SOON, || unnamed_said(&log, "ready"))?;
    assert!(unnamed_said(&log, "are shown a self-signed one for localhost"));
    let wary = Login::imap(elsewhere, ALICE)
        .tls("implicit", scene.ca.pem())
        .run()?;
    assert!(
        !wary.ok && wary.error.to_lowercase().contains("certificate"),
        "{wary:?}"
    );
    let said = check(&config, &scene.ca)?;
    assert!(said.contains("no certificate covers server.hostname"), "{said}");
    Ok(())
}

fn unnamed_said(log: &Path, word: &str) -> bool {
    std::fs::read_to_string(log).is_ok_and(|log| log.contains(word))
}

#[test]
fn every_test_that_the_page_names_is_there_and_every_rule_has_one() -> Result<()> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tests.parent().context("the workspace")?;
    let rules = std::fs::read_to_string(root.join("data-plane/config/tests/rules.rs"))?;
    let mut named = 0;
    for word in PAGE.split('`').skip(1).step_by(2) {
        if let Some((file, test)) = word.split_once("::").filter(|(_, test)| test.contains('_')) {
            let source =
                std::fs::read_to_string(tests.join(format!("e2e/{file}.rs"))).context(word.to_owned())?;
            ensure!(
                source.contains(&format!("fn {test}()")),
                "there is no test {word}"
            );
            named += 1;
        }
        if word.starts_with("ctl/tests/") {
            ensure!(root.join(word).exists(), "there is no {word}");
        }
    }
    for row in PAGE.lines().filter_map(|line| line.split("| V").nth(1)) {
        let number: String = row.chars().take_while(char::is_ascii_digit).collect();
        let has_test = rules.lines().any(|line| {
            line.starts_with("fn ")
                && line
                    .split(['_', ' ', '('])
                    .any(|word| word == format!("v{number}"))
        });
        ensure!(has_test, "no test of rules.rs is named after V{number}");
    }
    ensure!(named > 20, "{named}");
    Ok(())
}
