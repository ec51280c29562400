//! Every call uses something, says something, or waits; a call that waits, made again, does nothing. Whatever the
//! bytes are. The driver of `support` checks the first half after every step.

use mailswitch_dialogue::{Announce, BackendLeg, Dialogue, Output, Protocol, Step};
use proptest::prelude::*;

use crate::support::*;

/// Bytes that get somewhere: words of all protocols, and any others.
pub(crate) fn noise() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        &b"a1 "[..],
        b"a LOGIN ",
        b"a AUTHENTICATE PLAIN",
        b"AUTH LOGIN",
        b"AUTH PLAIN ",
        b"AGEAYg==",
        b"YQ==",
        b"*",
        b"+ ",
        b"{3}",
        b"{3+}",
        b"{0+}",
        b"\"ann\" ",
        b"(",
        b")",
        b"\\",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"EHLO x",
        b"NOOP",
        b"b NOOP",
        b"BDAT 4",
        b"STARTTLS",
        b"c STARTTLS",
        b"ID (\"x\" NIL)",
        b"* OK ",
        b"* CAPABILITY STARTTLS ID SASL-IR",
        b"C1 OK",
        b"P1 OK",
        b"F1 OK",
        b"a1 OK",
        b"a1 NO",
        b"* BYE",
        b"220 x",
        b"250-STARTTLS",
        b"250-XCLIENT ADDR",
        b"250 x",
        b"334 ",
        b"235 ok",
        b"535 no",
        b"USER ann",
        b"PASS  pw ",
        b"AUTH",
        b"CAPA",
        b"STLS",
        b"UTF8",
        b"APOP a b",
        b"+OK [XCLIENT] ",
        b"+OK",
        b"-ERR [SYS/TEMP]",
        b"-ERR",
        b"XCLIENT",
        b".",
        b"AUTHENTICATE \"PLAIN\" ",
        b"AUTHENTICATE \"LOGIN\"",
        b"\"AGEAYg==\"",
        b"\"*\"",
        b"\"\"",
        b"CAPABILITY",
        b"NOOP \"t\"",
        b"PUTSCRIPT \"a\" ",
        b"LOGOUT",
        b"\"STARTTLS\"",
        b"\"XCLIENT\"",
        b"\"SASL\" ",
        b"OK",
        b"NO (TRYLATER) ",
        b"BYE",
    ]);
    let piece = prop_oneof![
        9 => word.prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..8),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn waits_quietly<D: Dialogue + ?Sized>(mut wire: Wire<D, D::Done>) {
    if wire.done.is_some() {
        return;
    }
    let left = wire.input.len();
    let mut output = Output::new();
    assert!(matches!(
        wire.dialogue.step(&mut wire.input, &mut output),
        Step::NeedInput
    ));
    assert!(output.is_empty());
    assert_eq!(wire.input.len(), left);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn toward_the_client(noise in noise(), encrypted: bool) {
        for protocol in PROTOCOLS {
            let leg = if encrypted {
                mailswitch_dialogue::ClientLeg::Encrypted(tls())
            } else {
                mailswitch_dialogue::ClientLeg::StartTls
            };
            let mut wire = Wire::new(client_on(protocol, leg, mailswitch_dialogue::CleartextAuth::Refused));
            wire.receive(&noise);
            waits_quietly(wire);
        }
    }

    #[test]
    fn toward_the_backend(noise in noise()) {
        for protocol in PROTOCOLS {
            for backend_leg in [BackendLeg::StartTls, BackendLeg::Plain] {
                let mut wire = Wire::new(backend(protocol, leg(backend_leg, Announce::Attributes(attributes()))));
                wire.receive(&noise);
                waits_quietly(wire);
            }
            let ready = run(backend(protocol, leg(BackendLeg::Plain, Announce::Nothing)), &[words(protocol).backend]).done.unwrap().unwrap();
            let mut wire = Wire::new(ready.replay(&login(protocol).credential));
            wire.receive(&noise);
            waits_quietly(wire);
        }
    }
}

#[test]
fn a_client_that_only_asks_is_answered_in_bounded_portions() {
    for (protocol, command) in [
        (Protocol::Imap, &b"a CAPABILITY\r\n"[..]),
        (Protocol::Pop3, b"CAPA\r\n"),
        (Protocol::ManageSieve, b"CAPABILITY\r\n"),
        (Protocol::Submission, b"EHLO x\r\n"),
    ] {
        let mut wire = Wire::new(client(protocol));
        let mut largest = 0;
        wire.input.push(&command.repeat(4000));
        loop {
            let step = wire.dialogue.step(&mut wire.input, &mut wire.output);
            largest = largest.max(wire.output.unwritten().len());
            wire.output.written(wire.output.unwritten().len());
            match step {
                Step::Flush => {}
                Step::NeedInput => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(wire.input.is_empty());
        assert!(largest < 16 * 1024, "{largest}");
    }
}
