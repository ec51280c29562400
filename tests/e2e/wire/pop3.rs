//! POP3 over raw sockets: what a client reads before its login (behaviour §1, §2, §6.2, §7.1); what a backend is sent is in
//! `backend`.

mod backend;

use anyhow::Result;
use mailswitch_tests::place::Place;

use super::lone::{DEAD, SOON, Setup, base64, lone, only, plain};

const UNAVAILABLE: &str = "S: -ERR [SYS/TEMP] backend unavailable, wait and try again\nEND";
const FIXED: &str = "S: TOP\nS: RESP-CODES\nS: PIPELINING\nS: EXPIRE NEVER\nS: UIDL\nS: UTF8\nS: IMPLEMENTATION Mailswitch\nS: .\n";
const OPEN: &str = "S: USER\nS: SASL PLAIN LOGIN OAUTHBEARER XOAUTH2\n";

#[test]
fn capa_lists_no_login_while_the_gate_is_shut_and_all_of_it_behind_tls() -> Result<()> {
    let place = Place::new()?;
    let node = lone(&place, only(&["pop3"]))?;
    let greeting = "S: +OK Mailswitch POP3 at your service.\nC: CAPA\nS: +OK…\n";
    for (tls, dialogue) in [
        ("implicit", format!("{greeting}{OPEN}{FIXED}C: STLS\nS: -ERR…")),
        (
            "starttls",
            format!(
                "{greeting}S: STLS\n{FIXED}C: AUTH\nS: +OK\nS: .\nC: STLS\nS: +OK…\nTLS\n\
                 C: CAPA\nS: +OK…\n{OPEN}{FIXED}C: AUTH\nS: +OK\nS: PLAIN\nS: LOGIN\nS: OAUTHBEARER\nS: XOAUTH2\nS: ."
            ),
        ),
        ("plain", format!("{greeting}{FIXED}C: STLS\nS: -ERR…")),
    ] {
        node.play("pop3", tls, &dialogue)?;
    }
    Ok(())
}

#[test]
fn what_the_file_says_is_sent_as_it_stands_there_and_only_its_mechanisms_are_taken() -> Result<()> {
    let place = Place::new()?;
    let tables = format!(
        "[capabilities.pop3]\nbanner = \"Hello\"\nsasl = [\"LOGIN\"]\nallow_plain_auth_without_tls = true\n{DEAD}"
    );
    let setup = Setup {
        tables: &tables,
        ..only(&["pop3"])
    };
    let node = lone(&place, setup)?;
    let dialogue = format!(
        "S: +OK Hello\nC: CAPA\nS: +OK…\nS: USER\nS: SASL LOGIN\n{FIXED}C: AUTH PLAIN\nS: -ERR…\n\
         C: AUTH login\nS: + VXNlcm5hbWU6\nC: *\nS: -ERR…\n\
         C: USER ann@x.example\nS: +OK…\nC: PASS pw\n{UNAVAILABLE}"
    );
    node.play("pop3", "plain", &dialogue)?;
    Ok(())
}

#[test]
fn every_command_before_login_has_its_reply() -> Result<()> {
    let place = Place::new()?;
    let node = lone(&place, only(&["pop3"]))?;
    let dialogue = "S: +OK …
        C: noop
        S: +OK
        C: UTF8
        S: +OK…
        C: UTF8 x
        S: -ERR…
        C: APOP ann 0123456789abcdef
        S: -ERR…
        C: STAT
        S: -ERR…
        C: XCLIENT TTL=1
        S: -ERR…
        C: USER
        S: -ERR…
        C: PASS pw
        S: -ERR…
        C: USER ann
        S: +OK…
        C: PASS
        S: -ERR…
        C: PASS pw
        S: -ERR…
        C: \x16\x03
        S: -ERR…
        C: QUIT
        S: +OK…
        END";
    node.play("pop3", "implicit", dialogue)?;
    Ok(())
}

#[test]
fn a_sasl_exchange_that_comes_to_nothing_is_refused_and_the_connection_goes_on() -> Result<()> {
    let place = Place::new()?;
    let node = lone(&place, only(&["pop3"]))?;
    let token = base64("n,a=ann@x.example,\x01auth=Bearer \x01\x01");
    let dialogue = format!(
        "S: +OK …
        C: AUTH PLAIN
        S: + 
        C: *
        S: -ERR…
        C: AUTH plain
        S: + 
        C: !!!!
        S: -ERR…
        C: AUTH PLAIN =
        S: -ERR…
        C: AUTH LOGIN
        S: + VXNlcm5hbWU6
        C: {}
        S: + UGFzc3dvcmQ6
        C: {}
        S: -ERR…
        C: AUTH OAUTHBEARER
        S: + 
        C: {token}
        S: -ERR…
        C: AUTH CRAM-MD5
        C: NOOP
        S: -ERR…
        S: +OK",
        base64("ann@x.example"),
        base64("p\0w"),
    );
    node.play("pop3", "implicit", &dialogue)?;
    Ok(())
}

#[test]
fn nothing_secret_is_taken_or_asked_for_in_clear_and_that_does_not_count() -> Result<()> {
    let place = Place::new()?;
    let setup = Setup {
        listener: ", max_auth_attempts = 2",
        ..only(&["pop3"])
    };
    let node = lone(&place, setup)?;
    let dialogue = format!(
        "S: +OK …
        C: USER ann
        S: -ERR …requires TLS
        C: PASS pw
        S: -ERR …requires TLS
        C: AUTH PLAIN {}
        S: -ERR …requires TLS
        C: AUTH LOGIN
        S: -ERR …requires TLS
        C: AUTH OAUTHBEARER
        S: -ERR …requires TLS
        C: NOOP
        S: +OK",
        plain("ann@x.example", "pw")
    );
    for tls in ["starttls", "plain"] {
        node.play("pop3", tls, &dialogue)?;
    }
    Ok(())
}

#[test]
fn what_is_pipelined_behind_stls_is_never_interpreted() -> Result<()> {
    let place = Place::new()?;
    let node = lone(&place, only(&["pop3"]))?;
    node.play(
        "pop3",
        "starttls",
        "S: +OK …\nC: STLS\nC: STAT\nS: +OK…\nTLS\nC: NOOP\nS: +OK",
    )?;
    Ok(())
}

#[test]
fn a_client_that_does_not_sign_in_in_time_is_closed_without_a_word() -> Result<()> {
    let place = Place::new()?;
    let setup = Setup {
        listener: ", preauth_timeout = \"1s\"",
        ..only(&["pop3"])
    };
    let node = lone(&place, setup)?;
    let mut waiting = Vec::new();
    for tls in ["implicit", "starttls", "plain"] {
        waiting.push(node.play("pop3", tls, "S: +OK …")?);
    }
    waiting.push(node.play("pop3", "implicit", "S: +OK …\nC: AUTH LOGIN\nS: + VXNlcm5hbWU6")?);
    for mut raw in waiting {
        raw.play(node.client(), "END")?;
    }
    Ok(())
}

#[test]
fn the_last_failure_is_answered_and_the_connection_closed() -> Result<()> {
    let place = Place::new()?;
    let setup = Setup {
        listener: ", max_auth_attempts = 3",
        ..only(&["pop3"])
    };
    let node = lone(&place, setup)?;
    node.play(
        "pop3",
        "implicit",
        "S: +OK …\nC: STAT\nS: -ERR…\nC: AUTH PLAIN\nS: + \nC: *\nS: -ERR…\nC: AUTH NTLM\nS: -ERR…\n\
         C: USER ann\nS: +OK…\nC: PASS\nS: -ERR…\nC: AUTH PLAIN !\nS: -ERR…\nEND",
    )?;
    Ok(())
}

#[test]
fn lines_and_responses_may_be_as_long_as_the_limit_and_no_longer() -> Result<()> {
    let place = Place::new()?;
    let node = lone(&place, only(&["pop3"]))?;
    const LIMIT: usize = 64 * 1024;
    let user = "S: +OK …\nC: USER ann@x.example\nS: +OK…\nC: PASS ";
    let password = |length: usize| "p".repeat(length - "PASS ".len());
    let frame = |length: usize| {
        let head = "\0ann@x.example\0";
        base64(format!("{head}{}", "p".repeat(length / 4 * 3 - head.len())))
    };
    for (dialogue, answer) in [
        (format!("{user}{}", password(LIMIT)), UNAVAILABLE),
        (format!("{user}{}", password(LIMIT + 1)), "S: -ERR…\nEND"),
        (
            format!("S: +OK …\nC: AUTH PLAIN\nS: + \nC: {}", frame(LIMIT)),
            UNAVAILABLE,
        ),
        (
            format!("S: +OK …\nC: AUTH PLAIN\nS: + \nC: {}", frame(LIMIT + 4)),
            "S: -ERR…\nEND",
        ),
    ] {
        node.play("pop3", "implicit", &format!("{dialogue}\n{answer}"))?;
    }
    Ok(())
}

#[test]
fn a_login_that_is_no_identifier_gets_the_temporary_failure() -> Result<()> {
    let place = Place::new()?;
    let node = lone(&place, only(&["pop3"]))?;
    for login in ["ann b@x.example", "%root", &"l".repeat(1025)] {
        node.play(
            "pop3",
            "implicit",
            &format!("S: +OK …\nC: USER {login}\nS: +OK…\nC: PASS pw\n{UNAVAILABLE}"),
        )?;
    }
    Ok(())
}

#[test]
fn a_stop_is_said_with_a_code_for_later() -> Result<()> {
    let place = Place::new()?;
    let mut node = lone(&place, only(&["pop3"]))?;
    let mut waiting = node.play("pop3", "plain", "S: +OK …")?;
    assert!(node.process.stop(SOON)?.success());
    waiting.play(node.client(), "S: -ERR [SYS/TEMP]…\nEND")
}
