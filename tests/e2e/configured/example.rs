//! The worked examples of the reference, with real paths, addresses and ports in the place of their own.

mod club;
mod cluster;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use anyhow::{Context, bail};
use mailswitch_tests::{
    ca::{Ca, Issued},
    client::Login,
    dovecot::{Announce, Plaintext},
    http::curl::Curl,
    postfix::Postfix,
    when::eventually,
};

use super::*;

const SHOP: &str = include_str!("../../../data-plane/config/tests/examples/shop.toml");
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// The text with a piece replaced, which has to be there.
fn swap(text: &mut String, old: &str, new: &str) -> Result<()> {
    anyhow::ensure!(text.contains(old), "{old:?} does not stand in the example");
    *text = text.replace(old, new);
    Ok(())
}

/// A port that is free on every address of both families.
fn free_everywhere(from: &mut u16) -> Result<u16> {
    for _ in 0..5000 {
        *from += 1;
        let both = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *from)).is_ok()
            && TcpListener::bind((Ipv6Addr::UNSPECIFIED, *from)).is_ok();
        if both {
            return Ok(*from);
        }
    }
    bail!("no port is free")
}

/// A Dovecot with its Postfix, which show one certificate.
fn servers(
    place: &Place,
    ca: &Ca,
    name: &str,
    announce: Announce,
    users: &[&str],
) -> Result<(Dovecot, Postfix)> {
    let dovecot = Dovecot::start(place, ca, name, announce, Plaintext::Allowed, users)?;
    let postfix = Postfix::start(place, ca, &dovecot, Plaintext::Allowed, "example.org")?;
    let Issued { cert, key, .. } = &dovecot.certificate;
    std::fs::copy(cert, postfix.directory.join("cert.pem"))?;
    std::fs::copy(key, postfix.directory.join("key.pem"))?;
    let reload = Command::new("/usr/sbin/postfix")
        .arg("-c")
        .arg(&postfix.directory)
        .arg("reload")
        .output()?;
    anyhow::ensure!(reload.status.success(), "{reload:?}");
    Ok((dovecot, postfix))
}

/// The lines of a destination's `[destination.NAME.protocol]`, with other ports. The first piece of each pair stands in
/// the example.
fn ports(text: &mut String, section: &str, legs: &[(&str, u16)]) -> Result<()> {
    let start = text.find(section).context("the section")?;
    let end = text[start..].find("\n\n").map_or(text.len(), |end| start + end);
    let mut table = text[start..end].to_owned();
    for (leg, port) in legs {
        let line = table
            .lines()
            .find(|line| line.split(' ').next() == Some(leg))
            .context("the leg")?
            .to_owned();
        let (head, rest) = line.split_once("port = ").context("a port")?;
        let rest = rest.trim_start_matches(|one: char| one.is_ascii_digit());
        table = table.replace(&line, &format!("{head}port = {port}{rest}"));
    }
    text.replace_range(start..end, &table);
    Ok(())
}

/// Certificate, token and management API are here now; gives where that is.
fn at_home(text: &mut String, place: &Place, ca: &Ca, hostname: &str) -> Result<SocketAddr> {
    let address = place.address(2);
    let public = ca.issue(&place.folder("public")?, hostname, address)?;
    for (theirs, ours) in [("chain", &public.cert), ("key", &public.key)] {
        swap(
            text,
            &format!("/etc/mailswitch/{theirs}.pem"),
            &ours.display().to_string(),
        )?;
    }
    std::fs::write(place.path().join("admin.token"), TOKEN)?;
    swap(text, "/etc/mailswitch", &place.path().display().to_string())?;
    let admin = place.port(address)?;
    swap(text, "127.0.0.1:9443", &admin.to_string())?;
    Ok(admin)
}

/// The wildcards of each port, as in the example, on ports that are free. Gives where clients go, by the port that stands there.
fn listeners(text: &mut String, place: &Place, ports: &[u16]) -> Result<BTreeMap<u16, SocketAddr>> {
    let mut next = 20_000 + u16::try_from(std::process::id() % 10_000)?;
    let mut at = BTreeMap::new();
    for port in ports {
        let free = free_everywhere(&mut next)?;
        swap(
            text,
            &format!("\"0.0.0.0:{port}\""),
            &format!("\"0.0.0.0:{free}\""),
        )?;
        *text = text.replace(&format!("\"[::]:{port}\""), &format!("\"[::]:{free}\""));
        at.insert(*port, SocketAddr::new(place.address(2), free));
    }
    Ok(at)
}

/// Asks the node's management API; gives the body of a good answer.
fn api(admin: SocketAddr, ca: &Ca, method: &str, target: &str) -> Result<String> {
    let authorization = format!("Authorization: Bearer {TOKEN}");
    let curl = Curl::tls(admin, ca.pem()).with(&["-H", &authorization, "-X", method]);
    let got = curl.get(target)?;
    anyhow::ensure!(got.status == 200, "{method} {target}: {got:?}");
    Ok(got.body)
}

#[test]
fn the_example_of_a_shop_starts_and_routes_every_protocol_it_has() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let bob = "bob@example.org";
    let users = [ALICE, bob];
    let (dovecot, postfix) = servers(&place, &ca, "dovecot", Announce::Id, &users)?;
    let (fresh, fresh_postfix) = servers(&place, &ca, "fresh", Announce::Proxy, &users)?;
    let moved = place.path().join("moved.tsv");
    std::fs::write(&moved, "")?;

    let mut text = SHOP.to_owned();
    at_home(&mut text, &place, &ca, "mail.shop.example")?;
    for (name, server) in [("dovecot", &dovecot), ("fresh", &fresh)] {
        let host = format!("host = \"{name}.lan.example\"");
        let here = format!(
            "host = \"{}\"\ntls_server_name = \"{name}.test\"",
            server.imap.ip()
        );
        swap(&mut text, &host, &here)?;
    }
    let pin = text
        .split("tls_pinned_cert_sha256 = \"")
        .nth(1)
        .context("a pin")?;
    let pin = pin.split('"').next().context("its end")?.to_owned();
    swap(&mut text, &pin, &dovecot.certificate.fingerprint)?;
    ports(
        &mut text,
        "[destination.dovecot.protocol]",
        &[
            ("imap", dovecot.imap.port()),
            ("pop3", dovecot.pop3.port()),
            ("submission", postfix.submission.port()),
            ("managesieve", dovecot.sieve.port()),
        ],
    )?;
    ports(
        &mut text,
        "[destination.fresh.protocol]",
        &[
            ("imap", fresh.imaps.port()),
            ("pop3", fresh.pop3s.port()),
            ("submission", fresh_postfix.submission.port()),
            ("managesieve", fresh.sieve.port()),
            ("smtp", fresh_postfix.smtp.port()),
        ],
    )?;
    let at = listeners(&mut text, &place, &[993, 143, 995, 110, 587, 465, 4190, 25])?;
    let path = place.path().join("shop.toml");
    std::fs::write(&path, text)?;
    let run = || -> Result<Process> {
        let mut command = command()?;
        command.arg(&path).env("SSL_CERT_FILE", ca.pem());
        start(&place, command, at[&993])
    };

    // Everybody starts on the old server.
    let mut node = run()?;
    let client = place.address(77);
    let get_in = |user: &str| -> Result<()> {
        for (login, tls) in [
            (Login::imap(at[&993], user), "implicit"),
            (Login::imap(at[&143], user), "starttls"),
            (Login::pop3(at[&995], user), "implicit"),
            (Login::pop3(at[&110], user), "starttls"),
            (Login::sieve(at[&4190], user), "starttls"),
            (Login::submission(at[&465], user), "implicit"),
            (
                Login::submission(at[&587], user).sending(&format!("<shop-{user}>")),
                "starttls",
            ),
        ] {
            let login = login.tls(tls, ca.pem()).from(client);
            login
                .succeed()
                .with_context(|| format!("{login:?}\n{}", node_log(&place)))?;
        }
        Ok(())
    };
    for user in users {
        get_in(user)?;
    }
    for user in users {
        let seen = eventually("the old server saw them all", SOON, || {
            let seen = dovecot.sessions_of(user);
            (seen.len() == 5).then_some(seen)
        })?;
        assert!(seen.iter().all(|session| session.rip == client), "{seen:?}");
    }
    assert_eq!((dovecot.sessions().len(), fresh.sessions().len()), (10, 0));

    // Mail from outside goes to the new server already, with the client's address.
    let mut sender = mailswitch_tests::raw::Raw::connect_from(client, at[&25])?;
    sender.play(
        mailswitch_tests::raw::Role::Client(ca.pem()),
        &format!(
            "S: 220 fresh.test …\nC: HELO mx.example.net\nS: 250 fresh.test\nC: MAIL FROM:<x@example.net>\nS: 250 …\n\
             C: RCPT TO:<{ALICE}>\nS: 250 …\nC: DATA\nS: 354 …\nC: Subject: x\nC: \nC: y\nC: .\nS: 250 …\nC: QUIT\nS: 221 …"
        ),
    )?;
    eventually("the new server saw who sent it", SOON, || {
        (fresh_postfix.relayed_from() == [client]).then_some(())
    })
    .with_context(|| fresh_postfix.log())?;
    drop(sender);

    // One account is moved. The file is read at the start.
    std::fs::write(&moved, format!("{bob}\tfresh\n"))?;
    node.stop(SOON)?;
    let _node = run()?;
    for user in users {
        get_in(user)?;
    }
    eventually("bob is on the new server", SOON, || {
        let seen = fresh.sessions_of(bob);
        (seen.len() == 5 && seen.iter().all(|session| session.rip == client)).then_some(())
    })?;
    eventually("alice is where she was", SOON, || {
        (dovecot.sessions_of(ALICE).len() == 10).then_some(())
    })?;
    assert_eq!((dovecot.sessions_of(bob).len(), fresh.sessions().len()), (5, 5));
    eventually("his mail is accepted on his side", SOON, || {
        (postfix.accepted().len() == 3 && fresh_postfix.accepted().len() == 1).then_some(())
    })?;
    Ok(())
}

fn node_log(place: &Place) -> String {
    std::fs::read_to_string(place.path().join("node.log")).unwrap_or_default()
}
