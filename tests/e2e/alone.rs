//! A node alone, from one file of the reference, in front of real servers: who gets in, where, and as whom the
//! servers saw the client.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use mailswitch_tests::{
    ca::Ca,
    client::Login,
    dovecot::{Announce, Dovecot, Plaintext},
    place::Place,
    postfix::Postfix,
    process::Process,
    when::eventually,
};
use serde_json::json;

const ALICE: &str = "alice@example.org";
const SOON: Duration = Duration::from_secs(20);

/// A running node, and where its listeners are.
struct Node {
    process: Process,
    imaps: SocketAddr,
    imap: SocketAddr,
    submission: SocketAddr,
}

fn program(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).context("the build's directory")?;
    Ok(target.join(name))
}

/// Starts a node with IMAP (implicit, STARTTLS) and submission (STARTTLS) listeners. `destinations`: TOML; the
/// default is `legacy`. `moved`: identifier and destination, line by line.
fn start(place: &Place, ca: &Ca, destinations: &str, moved: &str) -> Result<Node> {
    let directory = place.folder("node")?;
    let address = place.address(2);
    let certificate = ca.issue(&directory, "node.test", address)?;
    let (imaps, imap, submission) = (place.port(address)?, place.port(address)?, place.port(address)?);
    std::fs::write(directory.join("moved.tsv"), moved)?;
    let config = format!(
        r#"
[server]
hostname = "proxy.example.org"
shutdown_grace = "2s"
log_level = "debug"
[tls.certificate.public]
cert = "{cert}"
key = "{key}"
default = true
[routing]
default_destination = "legacy"
[mapping]
source = "file"
normalize = "lowercase"
[mapping.file]
path = "{moved}"
[listener]
imaps = {{ protocol = "imap", bind = ["{imaps}"], tls = "implicit" }}
imap = {{ protocol = "imap", bind = ["{imap}"], tls = "starttls" }}
submission = {{ protocol = "submission", bind = ["{submission}"], tls = "starttls" }}
{destinations}
"#,
        cert = certificate.cert.display(),
        key = certificate.key.display(),
        moved = directory.join("moved.tsv").display(),
    );
    std::fs::write(directory.join("node.toml"), config)?;
    let mut command = Command::new(program("mailswitch-data-plane")?);
    command.arg(directory.join("node.toml")).env_remove("RUST_LOG");
    let mut process = Process::start("node", command, &directory.join("node.log"))?;
    let ready = || std::net::TcpStream::connect(submission).is_ok();
    process.wait_ready(SOON, ready)?;
    Ok(Node {
        process,
        imaps,
        imap,
        submission,
    })
}

fn destination(
    name: &str,
    dovecot: &Dovecot,
    postfix: Option<&Postfix>,
    forwarding: &str,
    tls: &str,
) -> String {
    let port = |plain: SocketAddr, implicit: SocketAddr| match tls {
        "implicit" => implicit.port(),
        _ => plain.port(),
    };
    let submission = postfix.map_or_else(
        // A leg that nobody answers: the listener's protocol has to be there.
        || "{ port = 9, tls = \"plain\" }".to_owned(),
        |postfix| {
            format!(
                "{{ port = {}, tls = \"{tls}\" }}",
                port(postfix.submission, postfix.submissions)
            )
        },
    );
    format!(
        "[destination.{name}]\nhost = \"{}\"\ntls_server_name = \"{name}.test\"\nforwarding = \"{forwarding}\"\n\
         tls_pinned_cert_sha256 = \"{}\"\nallow_plaintext_auth = true\n[destination.{name}.protocol]\n\
         imap = {{ port = {}, tls = \"{tls}\" }}\nsubmission = {submission}\n",
        dovecot.imap.ip(),
        dovecot.certificate.fingerprint,
        port(dovecot.imap, dovecot.imaps),
    )
}

#[test]
fn an_imap_client_gets_to_the_server_of_its_account_over_every_kind_of_leg() -> Result<()> {
    for (forwarding, announce) in [
        ("none", Announce::None),
        ("xclient", Announce::Id),
        ("proxy", Announce::Proxy),
    ] {
        for tls in ["implicit", "starttls", "plain"] {
            let place = Place::new()?;
            let ca = Ca::new(place.path())?;
            let legacy = Dovecot::start(&place, &ca, "legacy", announce, Plaintext::Allowed, &[ALICE])?;
            let node = start(
                &place,
                &ca,
                &destination("legacy", &legacy, None, forwarding, tls),
                "",
            )?;
            let client = place.address(77);
            for (leg, server) in [("implicit", node.imaps), ("starttls", node.imap)] {
                let before = legacy.sessions_of(ALICE).len();
                Login::imap(server, ALICE)
                    .tls(leg, ca.pem())
                    .from(client)
                    .succeed()
                    .with_context(|| format!("{forwarding} {tls} {leg}:\n{}", node.process.output()))?;
                let session = eventually("the login is in Dovecot's log", SOON, || {
                    legacy.sessions_of(ALICE).into_iter().nth(before)
                })?;
                let seen = if forwarding == "none" {
                    place.server()
                } else {
                    client
                };
                let is_ours = forwarding == "none" && session.rip != client;
                assert!(
                    is_ours || session.rip == seen,
                    "{forwarding} {tls} {leg}: {session:?}"
                );
                if forwarding != "none" {
                    assert_eq!(session.lip, server.ip(), "{forwarding} {tls} {leg}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_mapped_account_goes_to_its_destination_and_everybody_else_to_the_default() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let users = [ALICE, "bob@example.org"];
    let legacy = Dovecot::start(&place, &ca, "legacy", Announce::Id, Plaintext::Allowed, &users)?;
    let new = Dovecot::start(&place, &ca, "new", Announce::Proxy, Plaintext::Refused, &users)?;
    let destinations = destination("legacy", &legacy, None, "xclient", "starttls")
        + &destination("new", &new, None, "proxy", "implicit");
    let node = start(&place, &ca, &destinations, "Alice@example.org new\n")?;
    for user in ["ALICE@Example.org", "bob@example.org"] {
        Login::imap(node.imaps, user)
            .tls("implicit", ca.pem())
            .succeed()?;
    }
    eventually("alice is on new", SOON, || new.sessions_of(ALICE).pop())?;
    eventually("bob is on legacy", SOON, || {
        legacy.sessions_of("bob@example.org").pop()
    })?;
    assert!(legacy.sessions_of(ALICE).is_empty());
    assert!(new.sessions_of("bob@example.org").is_empty());
    Ok(())
}

#[test]
fn a_wrong_password_is_refused_in_the_servers_words_and_a_dead_server_is_not_a_wrong_password() -> Result<()>
{
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let legacy = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Allowed,
        &[ALICE],
    )?;
    let dead = "[destination.new]\nhost = \"127.0.0.1\"\nforwarding = \"none\"\nallow_plaintext_auth = true\n\
                [destination.new.protocol]\nimap = { port = 9, tls = \"plain\" }\nsubmission = { port = 9, tls = \"plain\" }\n";
    let destinations = destination("legacy", &legacy, None, "none", "implicit") + dead;
    let node = start(&place, &ca, &destinations, "bob@example.org new\n")?;
    let wrong = Login::imap(node.imaps, ALICE)
        .tls("implicit", ca.pem())
        .with("password", "wrong")
        .run()?;
    assert!(
        !wrong.ok && wrong.error.contains("AUTHENTICATIONFAILED"),
        "{wrong:?}"
    );
    let unreachable = Login::imap(node.imaps, "bob@example.org")
        .tls("implicit", ca.pem())
        .run()?;
    assert!(
        !unreachable.ok && unreachable.error.contains("UNAVAILABLE"),
        "{unreachable:?}"
    );
    let log = node.process.output();
    assert!(log.contains("backend unavailable"), "{log}");
    assert!(
        !log.contains("secret") && !log.contains("wrong") && !log.contains(ALICE),
        "{log}"
    );
    Ok(())
}

#[test]
fn submission_is_signed_in_and_its_mail_accepted_with_the_clients_address() -> Result<()> {
    for (forwarding, announce) in [("xclient", Announce::Id), ("proxy", Announce::Proxy)] {
        let place = Place::new()?;
        let ca = Ca::new(place.path())?;
        let dovecot = Dovecot::start(&place, &ca, "legacy", announce, Plaintext::Allowed, &[ALICE])?;
        let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Allowed, "example.org")?;
        let mut toml = destination("legacy", &dovecot, Some(&postfix), forwarding, "starttls");
        toml = toml.replace(
            &format!(
                "tls_pinned_cert_sha256 = \"{}\"\n",
                dovecot.certificate.fingerprint
            ),
            "",
        ) + "";
        toml = toml.replace("allow_plaintext_auth = true", "tls_allow_invalid_certs = true");
        let node = start(&place, &ca, &toml, "")?;
        let client = place.address(78);
        Login::submission(node.submission, ALICE)
            .tls("starttls", ca.pem())
            .from(client)
            .sending("<alone-1@example.org>")
            .succeed()
            .with_context(|| format!("{forwarding}:\n{}", node.process.output()))?;
        let accepted = eventually("Postfix took it", SOON, || postfix.accepted().pop())?;
        assert_eq!(
            (accepted.client, accepted.user.as_str()),
            (client, ALICE),
            "{forwarding}"
        );
        eventually("it is in the mailbox", SOON, || {
            let ids = dovecot.message_ids(ALICE).ok()?;
            ids.iter().any(|id| id.contains("alone-1")).then_some(())
        })?;
    }
    Ok(())
}

#[test]
fn a_stop_lets_the_signed_in_go_on_for_the_grace_and_then_ends_them_and_itself() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let legacy = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Allowed,
        &[ALICE],
    )?;
    let mut node = start(
        &place,
        &ca,
        &destination("legacy", &legacy, None, "none", "implicit"),
        "",
    )?;
    let _alice = Login::imap(node.imaps, ALICE).tls("implicit", ca.pem()).stay()?;
    let status = node.process.stop(SOON)?;
    assert!(status.success(), "{status}");
    let ended = eventually("Dovecot saw her session end", SOON, || {
        legacy
            .sessions_of(ALICE)
            .pop()
            .filter(|session| session.ended.is_some())
    })?;
    assert!(ended.ended > Some(ended.began));
    assert!(
        node.process.output().contains("the grace is over"),
        "{}",
        node.process.output()
    );
    Ok(())
}

#[test]
fn an_inbound_proxy_header_of_a_trusted_peer_is_believed() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let legacy = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::Proxy,
        Plaintext::Allowed,
        &[ALICE],
    )?;
    let address = place.address(2);
    let behind = place.port(address)?;
    let listener = format!(
        "[listener.behind]\nprotocol = \"imap\"\nbind = [\"{behind}\"]\ntls = \"starttls\"\n\
         proxy_protocol = \"required\"\nproxy_trusted = [\"127.0.0.0/8\"]\npreauth_timeout = \"2s\"\n"
    );
    let destinations = destination("legacy", &legacy, None, "proxy", "implicit") + &listener;
    let node = start(&place, &ca, &destinations, "")?;
    let header = json!(["127.200.1.9", 4000, "127.200.1.1", 143]);
    Login::imap(behind, ALICE)
        .tls("starttls", ca.pem())
        .with("proxy_header", header)
        .succeed()
        .with_context(|| node.process.output())?;
    let session = eventually("the login is in Dovecot's log", SOON, || {
        legacy.sessions_of(ALICE).pop()
    })?;
    assert_eq!(session.rip.to_string(), "127.200.1.9");
    assert_eq!(session.lip.to_string(), "127.200.1.1");
    let none = Login::imap(behind, ALICE).tls("starttls", ca.pem()).run()?;
    assert!(!none.ok, "{none:?}");
    Ok(())
}

#[test]
fn a_node_without_descriptors_sheds_connections_and_serves_again_when_there_are_some() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let legacy = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Allowed,
        &[ALICE],
    )?;
    let node = start(
        &place,
        &ca,
        &destination("legacy", &legacy, None, "none", "plain"),
        "",
    )?;
    let limit = |descriptors: &str| -> Result<()> {
        let status = Command::new("prlimit")
            .args([
                "--pid",
                &node.process.pid().to_string(),
                &format!("--nofile={descriptors}"),
            ])
            .status()?;
        anyhow::ensure!(status.success(), "prlimit: {status}");
        Ok(())
    };
    limit("64:1000")?;
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(std::net::TcpStream::connect(node.imap)?);
    }
    eventually("it says that it pauses", SOON, || {
        node.process
            .output()
            .contains("cannot accept: pausing")
            .then_some(())
    })?;
    drop(open);
    eventually("it serves again", SOON, || {
        Login::imap(node.imaps, ALICE)
            .tls("implicit", ca.pem())
            .succeed()
            .ok()
    })?;
    Ok(())
}

#[test]
fn the_program_ends_with_the_code_that_says_why() -> Result<()> {
    let place = Place::new()?;
    let program = program("mailswitch-data-plane")?;
    let run = |arguments: &[&str]| {
        Command::new(&program)
            .args(arguments)
            .env_remove("PROXY_CONFIG")
            .output()
    };

    let usage = run(&[])?;
    assert_eq!(usage.status.code(), Some(2), "{usage:?}");
    assert!(
        String::from_utf8_lossy(&usage.stderr).contains("CONFIG.toml"),
        "{usage:?}"
    );

    let wrong = place.path().join("wrong.toml");
    std::fs::write(
        &wrong,
        "[mapping]\nsource = \"paper\"\n[routing]\ndefault_destination = \"nowhere\"\n",
    )?;
    for arguments in [vec!["--check", "wrong.toml"], vec!["wrong.toml"]] {
        let mut arguments = arguments;
        let path = wrong.display().to_string();
        if let Some(last) = arguments.last_mut() {
            *last = &path;
        }
        let output = run(&arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("mapping.source") && said.contains("default_destination"),
            "all at once: {said}"
        );
    }

    // A socket that somebody else has is fatal, and named.
    let ca = Ca::new(place.path())?;
    let taken = place.port(place.address(2))?;
    let _somebody = std::net::TcpListener::bind(taken)?;
    let directory = place.folder("busy")?;
    let certificate = ca.issue(&directory, "busy.test", taken.ip())?;
    std::fs::write(directory.join("moved.tsv"), "")?;
    let config = format!(
        "[tls.certificate.a]\ncert = \"{}\"\nkey = \"{}\"\n[routing]\ndefault_destination = \"legacy\"\n\
         [mapping]\nsource = \"file\"\n[mapping.file]\npath = \"{}\"\n\
         [destination.legacy]\nhost = \"127.0.0.1\"\nforwarding = \"none\"\nallow_plaintext_auth = true\n\
         [destination.legacy.protocol]\nimap = {{ port = 9, tls = \"plain\" }}\n\
         [listener.imaps]\nprotocol = \"imap\"\nbind = [\"{taken}\"]\ntls = \"implicit\"\n",
        certificate.cert.display(),
        certificate.key.display(),
        directory.join("moved.tsv").display(),
    );
    let file = directory.join("node.toml");
    std::fs::write(&file, config)?;
    let file = file.display().to_string();
    let check = run(&["--check", &file, "--offline"])?;
    assert_eq!(check.status.code(), Some(0), "{check:?}");
    let busy = run(&[&file])?;
    let said = String::from_utf8_lossy(&busy.stderr).into_owned();
    assert_eq!(busy.status.code(), Some(1), "{said}");
    assert!(
        said.contains("listener.imaps") && said.contains(&taken.to_string()),
        "{said}"
    );
    assert!(said.contains("in use"), "the system's reason: {said}");
    Ok(())
}
