//! What of a login goes on to a backend, and to which: tokens, logins that name nobody, the client's own name
//! (behaviour §2, §3, §6.4).

use std::fmt::Write as _;

use anyhow::{Context, Result};
use mailswitch_tests::{ca::Ca, place::Place, scripted::Scripted, when::eventually};

use super::{
    lone::{DEAD, Lone, SOON, Setup, base64, plain},
    scripts::{CAPABLE, destination, user},
};

#[test]
fn a_token_is_sent_on_as_it_came_and_its_refusal_is_finished_and_relayed() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    let bearer = base64("n,a=u0@x.example,\x01host=x\x01auth=Bearer opaque\x01\x01");
    let xoauth2 = base64("user=u1@x.example\x01auth=Bearer opaque\x01\x01");
    let scripts = [
        format!(
            "{CAPABLE}C: a AUTHENTICATE OAUTHBEARER {bearer}\nS: + {}\nC: AQ==\nS: a NO [AUTHENTICATIONFAILED] expired\nEND",
            base64("{\"status\":\"invalid_token\"}")
        ),
        format!("{CAPABLE}C: a AUTHENTICATE XOAUTH2 {xoauth2}\nS: + eyJ9\nC: \nS: a NO expired\nEND"),
    ];
    let clients = [
        format!(
            "C: a AUTHENTICATE OAUTHBEARER {bearer}\nS: a NO [AUTHENTICATIONFAILED] expired\nS: * BYE…\nEND"
        ),
        format!("C: a AUTHENTICATE XOAUTH2\nS: + \nC: {xoauth2}\nS: a NO expired\nS: * BYE…\nEND"),
    ];
    let (mut tables, mut moved, mut backends) = (DEAD.to_owned(), String::new(), Vec::new());
    for (number, script) in scripts.into_iter().enumerate() {
        let backend = Scripted::start(&place, &issued, move |_| script.clone())?;
        tables += &destination(number, &backend, &issued, "imap", "plain", "");
        writeln!(moved, "{} d{number}", user(number))?;
        backends.push(backend);
    }
    let setup = Setup {
        tables: &tables,
        moved: &moved,
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    for (client, backend) in clients.iter().zip(&backends) {
        node.play("imap", "implicit", &format!("S: * OK …\n{client}"))?;
        let over = eventually("the backend's side is over", SOON, || backend.played().pop())?;
        assert_eq!(over.fault, None);
    }
    assert!(!node.process.output().contains("opaque"));
    Ok(())
}

#[test]
fn a_login_that_names_nobody_goes_to_the_default_and_a_token_that_names_somebody_to_theirs() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    let claims = base64("{\"email\":\"u1@x.example\"}");
    let jwt = format!("h.{}.s", claims.trim_end_matches('='));
    let footer = base64("u1@x.example");
    let sw1 = format!("sw1.body.{}", footer.trim_end_matches('='));
    // Whose backend, and the frame.
    let frames = [
        (0, base64("n,,\x01auth=Bearer opaque\x01\x01")),
        (1, base64(format!("n,,\x01auth=Bearer {jwt}\x01\x01"))),
        (1, base64(format!("n,,\x01auth=bearer {sw1}\x01\x01"))),
        (1, base64("n,a=u1@x.example,\x01auth=Bearer opaque\x01\x01")),
        (0, base64("n,,\x01auth=Bearer sw1.body\x01\x01")),
    ];
    let (mut tables, mut backends) = (String::new(), Vec::new());
    for number in 0..2 {
        let backend = Scripted::start(&place, &issued, move |_| {
            format!("{CAPABLE}C: a AUTHENTICATE OAUTHBEARER …\nS: a OK of d{number}\nEND")
        })?;
        tables += &destination(number, &backend, &issued, "imap", "plain", "");
        backends.push(backend);
    }
    let setup = Setup {
        tables: &tables.replace("destination.d0", "destination.legacy"),
        moved: "u1@x.example d1\n",
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    for (number, frame) in frames {
        let dialogue = format!("S: * OK …\nC: a AUTHENTICATE OAUTHBEARER {frame}\nS: a OK of d{number}");
        node.play("imap", "implicit", &dialogue)?;
    }
    Ok(())
}

#[test]
fn the_backend_is_greeted_with_the_clients_name_where_that_can_be_said() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    let names = [
        "me.example",
        "proxy.example.org",
        "proxy.example.org",
        "proxy.example.org",
    ];
    let backend = Scripted::start(&place, &issued, move |number| {
        format!(
            "S: 220 x\nC: EHLO {}\nS: 250 x\nC: AUTH PLAIN …\nS: 235 in\nEND",
            names[number]
        )
    })?;
    let tables = destination(0, &backend, &issued, "submission", "plain", "");
    let setup = Setup {
        tables: &tables.replace("destination.d0", "destination.legacy"),
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    let long = format!("HELO {}", "x".repeat(256));
    // What was said before TLS is forgotten.
    for (tls, said) in [
        ("implicit", "C: HELO me.example\nS: 250 …"),
        ("implicit", "C: HELO me example\nS: 250 …"),
        ("implicit", &format!("C: {long}\nS: 250 …")),
        (
            "starttls",
            "C: HELO me.example\nS: 250 …\nC: STARTTLS\nS: 220 …\nTLS",
        ),
    ] {
        let dialogue = format!(
            "S: 220 …\n{said}\nC: AUTH PLAIN {}\nS: 235 in",
            plain("ann@x.example", "pw")
        );
        node.play("submission", tls, &dialogue)?;
    }
    eventually("all are over", SOON, || {
        (backend.played().len() == 4).then_some(())
    })?;
    for played in backend.played() {
        assert_eq!(played.fault, None);
    }
    Ok(())
}

#[test]
fn a_frame_goes_on_as_the_client_meant_it_whatever_its_form() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    let both = base64("bob@x.example\0ann@x.example\0pw");
    let password = base64(b"\0ann@x.example\0\xe4\xff\x01 ");
    let quoted = base64("\0ann@x.example\0p\"w\\");
    let token = base64(format!(
        "user=ann@x.example\x01auth=Bearer {}\x01\x01",
        "t".repeat(20_000)
    ));
    let short = |frame: &str| format!("{CAPABLE}C: a AUTHENTICATE PLAIN {frame}\nS: a OK in\nEND");
    // What the client says, and what the backend hears.
    let cases = [
        (
            format!("C: a AUTHENTICATE PLAIN {}", both.trim_end_matches('=')),
            short(&both),
        ),
        (
            format!("C: a AUTHENTICATE PLAIN\nS: + \nC: {password}"),
            short(&password),
        ),
        (
            "C: a LOGIN ann@x.example \"p\\\"w\\\\\"".to_owned(),
            short(&quoted),
        ),
        (
            "C: a LOGIN {13+}\nC: ann@x.example {4+}\nC: p\"w\\".to_owned(),
            short(&quoted),
        ),
        // Longer than a command line may be: it waits to be asked for.
        (
            format!("C: a AUTHENTICATE XOAUTH2 {token}"),
            format!("{CAPABLE}C: a AUTHENTICATE XOAUTH2\nS: + \nC: {token}\nS: a OK in\nEND"),
        ),
    ];
    let scripts: Vec<String> = cases.iter().map(|(_, script)| script.clone()).collect();
    let backend = Scripted::start(&place, &issued, move |number| scripts[number].clone())?;
    let tables = destination(0, &backend, &issued, "imap", "plain", "");
    let setup = Setup {
        tables: &tables.replace("destination.d0", "destination.legacy"),
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    for (number, (said, _)) in cases.iter().enumerate() {
        let played = node.play("imap", "implicit", &format!("S: * OK …\n{said}\nS: a OK in"));
        eventually("it is over", SOON, || {
            (played.is_err() || backend.accepted() > number).then_some(())
        })?;
        played.with_context(|| format!("{number}: {:?}", backend.played()))?;
    }
    eventually("all are over", SOON, || {
        (backend.played().len() == cases.len()).then_some(())
    })?;
    for played in backend.played() {
        assert_eq!(played.fault, None);
    }
    Ok(())
}

#[test]
fn a_client_that_says_nothing_more_still_reads_what_the_backend_says_last() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let issued = ca.issue(&place.folder("backend")?, "scripted.test", place.server())?;
    // END: the backend sees the client's end, and then speaks.
    let backend = Scripted::start(&place, &issued, |_| {
        format!("{CAPABLE}C: a AUTHENTICATE PLAIN …\nS: a OK in\nC: b FETCH\nEND\nS: * late\nS: b OK done")
    })?;
    let tables = destination(0, &backend, &issued, "imap", "plain", "");
    let setup = Setup {
        tables: &tables.replace("destination.d0", "destination.legacy"),
        ..Setup::default()
    };
    let node = Lone::start(&place, &ca, setup)?;
    for tls in ["implicit", "starttls"] {
        let upgrade = if tls == "starttls" {
            "C: t STARTTLS\nS: t OK…\nTLS\n"
        } else {
            ""
        };
        let login = format!("S: * OK …\n{upgrade}C: a LOGIN ann@x.example pw\nS: a OK in\nC: b FETCH");
        let mut raw = node.play("imap", tls, &login)?;
        raw.finish()?;
        raw.play(node.client(), "S: * late\nS: b OK done\nEND")?;
    }
    Ok(())
}
