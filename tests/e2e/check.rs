//! `check`: what a configuration meets at real servers, told before anybody depends on it, by both programs alike.

mod stores;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mailswitch_tests::{
    ca::Ca,
    dovecot::{Announce, Dovecot, Plaintext},
    fleet::program,
    lone::destination,
    place::Place,
    postfix::Postfix,
    when::wait_until,
};

const SOON: Duration = Duration::from_secs(30);

/// Two mail systems, and a file of a node in front of them.
struct Scene {
    place: Place,
    ca: Ca,
    legacy: (Dovecot, Postfix),
    new: (Dovecot, Postfix),
}

impl Scene {
    fn new(legacy: Announce, new: Announce) -> Result<Self> {
        let place = Place::new()?;
        let ca = Ca::new(place.path())?;
        let start = |name, announce| -> Result<_> {
            let users = ["alice@example.org"];
            let dovecot = Dovecot::start(&place, &ca, name, announce, Plaintext::Refused, &users)?;
            let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Refused, "example.org")?;
            Ok((dovecot, postfix))
        };
        let (legacy, new) = (start("legacy", legacy)?, start("new", new)?);
        Ok(Self {
            place,
            ca,
            legacy,
            new,
        })
    }

    /// With these tables of the destinations, and lines of mappings.
    fn file(&self, destinations: &[String], more: &str, moved: &str) -> Result<PathBuf> {
        let directory = self.place.path().join("proxy");
        std::fs::create_dir_all(&directory)?;
        let certificate = self
            .ca
            .issue(&directory, "proxy.example.org", self.place.address(2))?;
        std::fs::write(directory.join("moved.tsv"), moved)?;
        let bind = self.place.port(self.place.address(2))?;
        let text = format!(
            "[server]\nhostname = \"proxy.example.org\"\n\
             [tls.certificate.public]\ncert = \"{}\"\nkey = \"{}\"\ndefault = true\n\
             [routing]\ndefault_destination = \"legacy\"\nsmtp_passthrough_destination = \"new\"\n\
             [mapping]\nsource = \"file\"\nnormalize = \"lowercase\"\n[mapping.file]\npath = \"{}\"\n\
             [listener.imaps]\nprotocol = \"imap\"\nbind = [\"{bind}\"]\ntls = \"implicit\"\n{more}{}",
            certificate.cert.display(),
            certificate.key.display(),
            directory.join("moved.tsv").display(),
            destinations.concat(),
        );
        let file = directory.join("node.toml");
        std::fs::write(&file, text)?;
        Ok(file)
    }

    fn check(&self, file: &Path) -> Result<Output> {
        Ok(Command::new(program("mailswitch-data-plane")?)
            .arg("--check")
            .arg(file)
            .env("SSL_CERT_FILE", self.ca.pem())
            .output()?)
    }

    fn ctl(&self, file: &Path) -> Result<Output> {
        Ok(Command::new(program("mailswitchctl")?)
            .args(["check", "--output", "json", "--file"])
            .arg(file)
            .env("SSL_CERT_FILE", self.ca.pem())
            .output()?)
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Without what differs from run to run: ports, addresses, digests, times, places.
fn normal(scene: &Scene, text: &str) -> String {
    let text = text.replace(&scene.place.path().display().to_string(), "…");
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let text = text.replace(&format!("220 {} ", machine.trim()), "220 MACHINE ");
    let words = text.split_inclusive([' ', '\n', ',', '"']).map(|word| {
        let bare = word.trim_end_matches([' ', '\n', ',', '"', ':']);
        let (_, end) = word.split_at(bare.len());
        let host = bare.split(':').next().unwrap_or_default();
        let normal = match bare {
            _ if bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) => "SHA",
            "127.0.0.1" => bare,
            _ if host.parse::<std::net::Ipv4Addr>().is_ok() => "ADDRESS",
            _ if word.ends_with(' ') && bare.contains('.') && bare.parse::<f64>().is_ok() => "0.1",
            other => other,
        };
        format!("{normal}{end}")
    });
    words.collect()
}

#[track_caller]
fn says(text: &str, line: &str) {
    assert!(text.contains(line), "{line}\nis not in\n{text}");
}

/// Where the file's first listener is.
fn listener(file: &Path) -> Result<SocketAddr> {
    let text = std::fs::read_to_string(file)?;
    let (_, bind) = text.split_once("bind = [\"").context("a listener")?;
    Ok(bind.split('"').next().unwrap_or_default().parse()?)
}

const NONE: &str = "forwarding = \"none\"\n";
const PROXY: &str = "forwarding = \"proxy\"\n";
const XCLIENT: &str = "forwarding = \"xclient\"\n";

#[test]
fn two_systems_that_are_set_up_right_pass_line_by_line_and_nothing_is_bound() -> Result<()> {
    let scene = Scene::new(Announce::Id, Announce::Proxy)?;
    let legacy = destination(&scene.legacy.0, Some(&scene.legacy.1), "starttls", XCLIENT)
        .replace("tls = \"plain\"", "tls = \"plain\", forwarding = \"none\"");
    let new = destination(&scene.new.0, Some(&scene.new.1), "implicit", PROXY);
    let tables = "[capabilities.imap]\nsasl = [\"PLAIN\", \"LOGIN\"]\nadvertise = [\"IMAP4rev1\", \"SASL-IR\", \"ID\"]\n\
        [capabilities.pop3]\nsasl = [\"PLAIN\"]\n[listener.pop3s]\nprotocol = \"pop3\"\nbind = [\"127.0.0.1:0\"]\ntls = \"implicit\"\n";
    let file = scene.file(&[legacy, new], tables, "alice@example.org new\nalice new\n")?;
    // Our own listener's port is taken by somebody else: who bound it would fail.
    let _somebody = std::net::TcpListener::bind(listener(&file)?)?;
    let output = scene.check(&file)?;
    let said = normal(&scene, &text(&output));
    assert_eq!(output.status.code(), Some(0), "{said}{output:?}");
    assert_eq!(said, include_str!("check/right.txt"), "{said}");

    let output = scene.ctl(&file)?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let probes = &json["files"][0]["probes"]["groups"];
    assert_eq!(probes[0]["about"], "our certificates");
    assert_eq!(probes[0]["findings"][0]["status"], "ok");
    // No login was tried, by either.
    for server in [&scene.legacy.0, &scene.new.0] {
        assert_eq!(server.sessions().len(), 0, "{}", server.log());
        assert!(!server.log().contains("auth failed"), "{}", server.log());
    }
    Ok(())
}

#[test]
fn a_server_that_does_not_trust_us_is_told_from_one_that_does_with_the_address_to_enter() -> Result<()> {
    let scene = Scene::new(Announce::None, Announce::Proxy)?;
    let legacy = |forwarding| destination(&scene.legacy.0, Some(&scene.legacy.1), "starttls", forwarding);
    let new = |forwarding| destination(&scene.new.0, Some(&scene.new.1), "implicit", forwarding);
    // The new one expects a header, and gets none.
    let output = scene.check(&scene.file(&[legacy(XCLIENT), new(NONE)], "", "")?)?;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for line in [
        "✗ takes ID and does not believe it: 127.0.0.1 is not trusted",
        "add our address 127.0.0.1 to login_trusted_networks (Dovecot)",
        "✗ does not take XCLIENT from 127.0.0.1",
        "add our address 127.0.0.1 to smtpd_authorized_xclient_hosts (Postfix)",
        "✗ answers only with a PROXY header, and none is sent",
        "write destination.new.protocol.imap.forwarding = \"proxy\"",
        "write destination.new.protocol.submission.forwarding = \"proxy\"",
    ] {
        says(&said, line);
    }
    // The reverse: a header to those who expect none.
    let output = scene.ctl(&scene.file(&[legacy(PROXY), new(PROXY)], "", "")?)?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output);
    for line in [
        "answers only without a PROXY header: it does not trust 127.0.0.1",
        "destination.legacy.protocol.imap.forwarding = \\\"xclient\\\"",
        "answers only with a PROXY header, as it should",
    ] {
        says(&said, line);
    }
    Ok(())
}

#[test]
fn what_is_wrong_with_a_leg_names_its_stage_and_the_key_that_changes_it() -> Result<()> {
    let scene = Scene::new(Announce::Id, Announce::None)?;
    let pin = format!("{NONE}tls_pinned_cert_sha256 = \"{}\"\n", "ab".repeat(32));
    let port = |address: SocketAddr| format!("port = {},", address.port());
    // A wrong pin; a port that speaks TLS at once; one that nobody has.
    let (dovecot, postfix) = &scene.legacy;
    let nobody = scene.place.port(dovecot.imap.ip())?;
    let legacy = destination(dovecot, Some(postfix), "starttls", &pin)
        .replace(&port(dovecot.pop3), &port(dovecot.pop3s))
        .replace(&port(postfix.submission), &port(nobody));
    // Another name than the certificate's; a port that greets in clear.
    let (dovecot, postfix) = &scene.new;
    let new = destination(dovecot, Some(postfix), "implicit", NONE)
        .replace("new.test", "mail.example.org")
        .replace(&port(dovecot.pop3s), &port(dovecot.pop3));
    let file = scene.file(&[legacy, new], "", "")?;
    // A name that nobody has; our own listener; a source address that is not ours.
    let ours = listener(&file)?;
    let odd = format!(
        "[destination.lost]\nhost = \"no-such-host.invalid\"\n[destination.lost.protocol]\n\
         imap = {{ port = 993, tls = \"implicit\" }}\n\
         [destination.loop]\nhost = \"{}\"\ntls_server_name = \"x.test\"\nsource_ips = [\"192.0.2.200\"]\n\
         [destination.loop.protocol]\nimap = {{ port = {}, tls = \"implicit\" }}\n\
         pop3 = {{ port = {}, tls = \"implicit\" }}\n",
        ours.ip(),
        ours.port(),
        nobody.port(),
    );
    std::fs::write(&file, std::fs::read_to_string(&file)? + &odd)?;
    let output = scene.check(&file)?;
    let said = normal(&scene, &text(&output));
    assert_eq!(output.status.code(), Some(1), "{said}{output:?}");
    for line in [
        "✗ presents another certificate than the pinned one: SHA-256 SHA, for legacy.test, ADDRESS",
        "if that is the right server: destination.legacy.tls_pinned_cert_sha256 = \"SHA\"",
        "✗ speaks TLS from the first byte, and is to be starttls",
        "destination.legacy.protocol.pop3.tls = \"implicit\"",
        "✗ nobody listens at ADDRESS",
        "correct destination.legacy.protocol.submission.port",
        "✗ its certificate is for new.test, ADDRESS, not for mail.example.org",
        "destination.new.tls_server_name = \"new.test\"",
        "✗ the TLS handshake failed",
        "destination.new.protocol.pop3.tls = \"starttls\" or \"plain\"",
        "✗ no-such-host.invalid cannot be resolved",
        "correct destination.lost.host",
        "a loop",
        "✗ ADDRESS is no address of this machine",
    ] {
        says(&said, line);
    }
    // The pin that would be right is printed as it is to be written.
    let actual = &scene.legacy.0.certificate.fingerprint;
    says(&text(&output), &format!("tls_pinned_cert_sha256 = \"{actual}\""));
    Ok(())
}

#[test]
fn a_server_without_starttls_and_one_without_plain_are_named() -> Result<()> {
    let scene = Scene::new(Announce::Id, Announce::Id)?;
    let edit = |dovecot: &Dovecot, from: &str, to: &str| -> Result<()> {
        let config = dovecot.directory.join("dovecot.conf");
        let text = std::fs::read_to_string(&config)?;
        assert!(text.contains(from), "{from}");
        std::fs::write(&config, text.replace(from, to))?;
        dovecot.doveadm(&["reload"]).map(|_| ())
    };
    edit(&scene.legacy.0, "\nssl = yes\n", "\nssl = no\n")?;
    edit(
        &scene.new.0,
        "auth_mechanisms = plain login",
        "auth_mechanisms = login",
    )?;
    let legacy = destination(&scene.legacy.0, None, "starttls", NONE);
    let new = destination(&scene.new.0, Some(&scene.new.1), "starttls", NONE);
    let file = scene.file(&[legacy, new], "", "")?;
    wait_until("the servers have taken it up, and both are named", SOON, || {
        let said = scene.check(&file).map(|output| text(&output)).unwrap_or_default();
        said.contains("✗ does not offer STARTTLS")
            && said.contains("write destination.legacy.protocol.imap.tls = \"implicit\" or \"plain\"")
            && said.contains("✗ imap: PLAIN is not taken by new")
    })
}
