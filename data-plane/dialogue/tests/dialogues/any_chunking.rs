//! However the bytes are cut, the same is said and the end is the same.

use mailswitch_dialogue::{Announce, BackendLeg, CleartextAuth, ClientLeg, Dialogue, Protocol};
use proptest::prelude::*;

use super::every_call_progresses::noise;
use crate::support::*;

/// Everything that can be seen of a run.
fn seen<D: Dialogue + ?Sized>(
    dialogue: Box<D>,
    pieces: &[&[u8]],
    show: impl Fn(&D::Done) -> String,
) -> String {
    let run = run(dialogue, pieces);
    format!(
        "{} | {:?} | {}",
        run.said,
        run.done.as_ref().map(show),
        run.rest.escape_ascii()
    )
}

fn client_end(outcome: &mailswitch_dialogue::ClientOutcome) -> String {
    match outcome {
        mailswitch_dialogue::ClientOutcome::Login(login) => {
            format!(
                "{login:?} {} {:?}",
                login.credential.expose().escape_ascii(),
                login.command
            )
        }
        closed @ mailswitch_dialogue::ClientOutcome::Closed(_) => format!("{closed:?}"),
    }
}

fn cut<'a>(whole: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = whole;
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() || sizes.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

fn same_for_any_cut<D: Dialogue + ?Sized>(
    start: impl Fn() -> Box<D>,
    script: &[u8],
    sizes: &[usize],
    show: impl Fn(&D::Done) -> String,
) {
    let whole = seen(start(), &[script], &show);
    assert_eq!(
        seen(start(), &cut(script, sizes), &show),
        whole,
        "cut by {sizes:?}"
    );
    assert_eq!(seen(start(), &cut(script, &[1]), &show), whole, "byte by byte");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn toward_the_client(script in noise(), sizes in prop::collection::vec(1usize..20, 1..5)) {
        for protocol in PROTOCOLS {
            // Not on a STARTTLS leg: what is behind STARTTLS depends on when it comes, and must (see `starttls`).
            same_for_any_cut(|| client(protocol), &script, &sizes, client_end);
            same_for_any_cut(
                || client_on(protocol, ClientLeg::Plain, CleartextAuth::Refused), &script, &sizes, client_end,
            );
        }
    }

    #[test]
    fn toward_the_backend(script in noise(), sizes in prop::collection::vec(1usize..20, 1..5)) {
        for protocol in PROTOCOLS {
            let greeting = words(protocol).backend;
            let script = [greeting, &script].concat();
            same_for_any_cut(
                || backend(protocol, leg(BackendLeg::Plain, Announce::Attributes(attributes()))),
                &script, &sizes, |end| format!("{end:?}"),
            );
            let login = login(protocol);
            let replay = || {
                let ready = run(backend(protocol, leg(BackendLeg::Plain, Announce::Nothing)), &[greeting]).done.unwrap().unwrap();
                ready.replay(&login.credential)
            };
            same_for_any_cut(replay, &script[greeting.len()..], &sizes, |end| format!("{end:?}"));
        }
    }
}

#[test]
fn long_lines_and_literals_too() {
    let password = "p".repeat(40_000);
    for script in [
        format!("a LOGIN ann {password}\r\nb NOOP\r\n"),
        format!("a LOGIN ann {{40000+}}\r\n{password}\r\nb NOOP\r\n"),
        format!("a LOGIN {{40000+}}\r\n{password} {{40000+}}\r\n{password}\r\n"),
    ] {
        for sizes in [&[4096][..], &[1000, 7], &[65536]] {
            let whole = seen(client(Protocol::Imap), &[script.as_bytes()], client_end);
            assert_eq!(
                seen(client(Protocol::Imap), &cut(script.as_bytes(), sizes), client_end),
                whole
            );
        }
    }
}
