//! ManageSieve over raw sockets: what a client reads before its login (behaviour §1, §2, §6.3, §7.1); what a backend is sent
//! is in `backend`.

mod backend;

use anyhow::Result;
use mailswitch_tests::place::Place;

use super::{
    lone::{DEAD, SOON, Setup, base64, lone, only, plain},
    scripts::GREETED,
};

const UNAVAILABLE: &str = "S: NO (TRYLATER) \"backend unavailable\"\nS: BYE (TRYLATER) …\nEND";

fn block(sasl: &str, more: &str) -> String {
    format!(
        "S: \"IMPLEMENTATION\" \"Mailswitch ManageSieve\"\nS: \"VERSION\" \"1.0\"\nS: \"SASL\" \"{sasl}\"\n\
         S: \"SIEVE\" \"body comparator-elbonia … virustest\"\n{more}S: OK \"Mailswitch ManageSieve ready.\"\n"
    )
}

const MECHANISMS: &str = "PLAIN LOGIN OAUTHBEARER XOAUTH2";

#[test]
fn the_capabilities_list_no_mechanism_while_the_gate_is_shut_and_are_said_again_behind_tls() -> Result<()> {
    let place = Place::new()?;
    let node = lone(&place, only(&["managesieve"]))?;
    let open = block(MECHANISMS, "");
    let shut = block("", "S: \"STARTTLS\"\n");
    for (tls, dialogue) in [
        (
            "implicit",
            format!("{open}C: capability\n{open}C: STARTTLS\nS: NO…"),
        ),
        (
            "starttls",
            format!("{shut}C: CAPABILITY\n{shut}C: STARTTLS\nS: OK…\nTLS\n{open}C: STARTTLS\nS: NO…"),
        ),
        ("plain", block("", "") + "C: STARTTLS\nS: NO…"),
    ] {
        node.play("managesieve", tls, &dialogue)?;
    }
    Ok(())
}

#[test]
fn what_the_file_says_is_sent_as_it_stands_there_and_only_its_mechanisms_are_taken() -> Result<()> {
    let place = Place::new()?;
    let tables = format!(
        "[capabilities.managesieve]\nimplementation = \"Our \\\"own\\\"\"\nsieve = \"fileinto reject\"\n\
         sasl = [\"XOAUTH2\"]\nallow_plain_auth_without_tls = true\n{DEAD}"
    );
    let setup = Setup {
        tables: &tables,
        ..only(&["managesieve"])
    };
    let node = lone(&place, setup)?;
    node.play(
        "managesieve",
        "plain",
        "S: \"IMPLEMENTATION\" \"Our \\\"own\\\"\"\nS: \"VERSION\" \"1.0\"\nS: \"SASL\" \"XOAUTH2\"\n\
         S: \"SIEVE\" \"fileinto reject\"\nS: OK \"Our \\\"own\\\" ready.\"\n\
         C: AUTHENTICATE \"PLAIN\"\nS: NO…\nC: AUTHENTICATE \"xoauth2\"\nS: \"\"\nC: \"*\"\nS: NO…",
    )?;
    Ok(())
}

#[test]
fn every_command_before_login_has_its_reply() -> Result<()> {
    let place = Place::new()?;
    let node = lone(&place, only(&["managesieve"]))?;
    let dialogue = format!(
        "{GREETED}C: NOOP
        S: OK…
        C: noop \"a tag\"
        S: OK (TAG {{5}}
        S: a tag) …
        C: NOOP {{3+}}
        C: tag
        S: OK (TAG {{3}}
        S: tag) …
        C: NOOP tag
        S: NO…
        C: PUTSCRIPT \"a\" {{8+}}
        C: LOGOUT
        C: 
        C: NOOP
        S: NO…
        S: OK…
        C: LISTSCRIPTS
        S: NO…
        C: AUTHENTICATE
        S: NO…
        C: XCLIENT TTL=1
        S: NO…
        C: \x16\x03
        S: NO…
        C: LOGOUT
        S: OK…
        END"
    );
    node.play("managesieve", "implicit", &dialogue)?;
    Ok(())
}

#[test]
fn a_sasl_exchange_that_comes_to_nothing_is_refused_and_the_connection_goes_on() -> Result<()> {
    let place = Place::new()?;
    let node = lone(&place, only(&["managesieve"]))?;
    let user = base64("ann@x.example");
    let dialogue = format!(
        "{GREETED}C: AUTHENTICATE \"PLAIN\"
        S: \"\"
        C: \"*\"
        S: NO…
        C: AUTHENTICATE \"plain\" \"!!!!\"
        S: NO…
        C: AUTHENTICATE \"PLAIN\" \"\"
        S: NO…
        C: AUTHENTICATE \"LOGIN\"
        S: {{12}}
        S: VXNlcm5hbWU6
        C: {{{}+}}
        C: {user}
        S: {{12}}
        S: UGFzc3dvcmQ6
        C: \"{}\"
        S: NO…
        C: AUTHENTICATE \"OAUTHBEARER\"
        S: \"\"
        C: {}
        S: NO…
        C: AUTHENTICATE {{8}}
        C: CRAM-MD5
        C: NOOP
        S: NO…
        S: OK…",
        user.len(),
        base64("p\0w"),
        base64("n,a=ann@x.example,\x01auth=Bearer \x01\x01"),
    );
    node.play("managesieve", "implicit", &dialogue)?;
    Ok(())
}

#[test]
fn nothing_secret_is_taken_or_asked_for_in_clear_and_that_does_not_count() -> Result<()> {
    let place = Place::new()?;
    let setup = Setup {
        listener: ", max_auth_attempts = 2",
        ..only(&["managesieve"])
    };
    let node = lone(&place, setup)?;
    let frame = plain("ann@x.example", "pw");
    let rest = format!(
        "C: AUTHENTICATE \"PLAIN\" \"{frame}\"
        S: NO (ENCRYPT-NEEDED) …
        C: AUTHENTICATE \"PLAIN\" {{{}+}}
        C: {frame}
        S: NO (ENCRYPT-NEEDED) …
        C: AUTHENTICATE \"LOGIN\"
        S: NO (ENCRYPT-NEEDED) …
        C: AUTHENTICATE \"OAUTHBEARER\"
        S: NO (ENCRYPT-NEEDED) …
        C: NOOP
        S: OK…",
        frame.len()
    );
    node.play(
        "managesieve",
        "starttls",
        &(block("", "S: \"STARTTLS\"\n") + &rest),
    )?;
    node.play("managesieve", "plain", &(block("", "") + &rest))?;
    Ok(())
}

#[test]
fn what_is_pipelined_behind_a_starttls_is_never_interpreted() -> Result<()> {
    let place = Place::new()?;
    let node = lone(&place, only(&["managesieve"]))?;
    let dialogue = block("", "S: \"STARTTLS\"\n")
        + "C: STARTTLS\nC: NOOP \"injected\"\nC: NOOP {9+}\nS: OK…\nTLS\n"
        + &block(MECHANISMS, "")
        + "C: NOOP\nS: OK \"Done\"";
    node.play("managesieve", "starttls", &dialogue)?;
    Ok(())
}

#[test]
fn who_does_not_sign_in_in_time_and_who_waits_at_a_stop_is_told_bye() -> Result<()> {
    let place = Place::new()?;
    let setup = Setup {
        listener: ", preauth_timeout = \"1s\"",
        ..only(&["managesieve"])
    };
    let node = lone(&place, setup)?;
    let mut waiting = vec![
        node.play("managesieve", "implicit", &block(MECHANISMS, ""))?,
        node.play("managesieve", "starttls", &block("", "S: \"STARTTLS\"\n"))?,
        node.play("managesieve", "plain", &block("", ""))?,
        node.play(
            "managesieve",
            "implicit",
            &format!("{GREETED}C: AUTHENTICATE \"PLAIN\"\nS: \"\""),
        )?,
    ];
    for raw in &mut waiting {
        raw.play(node.client(), "S: BYE…\nEND")?;
    }
    let place = Place::new()?;
    let mut node = lone(&place, only(&["managesieve"]))?;
    let mut waiting = node.play("managesieve", "implicit", GREETED)?;
    assert!(node.process.stop(SOON)?.success());
    waiting.play(node.client(), "S: BYE (TRYLATER) …\nEND")
}

#[test]
fn the_last_failure_is_answered_and_the_connection_closed_with_a_bye() -> Result<()> {
    let place = Place::new()?;
    let setup = Setup {
        listener: ", max_auth_attempts = 3",
        ..only(&["managesieve"])
    };
    let node = lone(&place, setup)?;
    let dialogue = format!(
        "{GREETED}C: LISTSCRIPTS\nS: NO…\nC: AUTHENTICATE \"PLAIN\"\nS: \"\"\nC: \"*\"\nS: NO…\n\
         C: AUTHENTICATE \"NTLM\"\nS: NO…\nC: NOOP x\nS: NO…\nC: AUTHENTICATE \"PLAIN\" \"!\"\nS: NO…\nS: BYE…\nEND"
    );
    node.play("managesieve", "implicit", &dialogue)?;
    Ok(())
}

#[test]
fn strings_may_be_as_long_as_the_limit_and_no_longer() -> Result<()> {
    let place = Place::new()?;
    let node = lone(&place, only(&["managesieve"]))?;
    const LIMIT: usize = 64 * 1024;
    let frame = |length: usize| {
        let head = "\0ann@x.example\0";
        base64(format!("{head}{}", "p".repeat(length / 4 * 3 - head.len())))
    };
    let long = frame(LIMIT - 40);
    let mut scripts = vec![
        (
            format!("C: AUTHENTICATE \"PLAIN\" {{{}+}}\nC: {long}", long.len()),
            UNAVAILABLE,
        ),
        (format!("C: AUTHENTICATE \"PLAIN\" \"{long}\""), UNAVAILABLE),
        (
            format!("C: AUTHENTICATE \"PLAIN\"\nS: \"\"\nC: {}", frame(LIMIT)),
            UNAVAILABLE,
        ),
        (
            format!("C: AUTHENTICATE \"PLAIN\"\nS: \"\"\nC: {}", frame(LIMIT + 4)),
            "S: BYE…\nEND",
        ),
    ];
    for announced in ["{65537+}", "{65537}", "{99999999999999999999}"] {
        scripts.push((format!("C: PUTSCRIPT \"a\" {announced}"), "S: BYE…\nEND"));
    }
    for (script, answer) in scripts {
        node.play("managesieve", "implicit", &format!("{GREETED}{script}\n{answer}"))?;
    }
    Ok(())
}

#[test]
fn a_login_that_is_no_identifier_gets_the_temporary_failure() -> Result<()> {
    let place = Place::new()?;
    let node = lone(&place, only(&["managesieve"]))?;
    for login in ["ann b@x.example", "%root", &"l".repeat(1025)] {
        let script = format!(
            "{GREETED}C: AUTHENTICATE \"PLAIN\"\nS: \"\"\nC: {}\n{UNAVAILABLE}",
            plain(login, "pw")
        );
        node.play("managesieve", "implicit", &script)?;
    }
    Ok(())
}
