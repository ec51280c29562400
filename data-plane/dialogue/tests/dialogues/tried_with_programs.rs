//! `docs/clients.md` says what mail programs make of our replies: it was found with these very words.

use mailswitch_dialogue::{ClientCommand, Farewell, HeldReply, Protocol, farewell};

const SCRIPT: &str = include_str!("../../../../tests/clients/replies.py");

#[test]
fn the_replies_that_mail_programs_were_tried_with_are_ours() {
    for protocol in [
        Protocol::Imap,
        Protocol::Pop3,
        Protocol::ManageSieve,
        Protocol::Submission,
    ] {
        let command = ClientCommand::probe(protocol);
        let replies = [
            command.temporary_failure(),
            command.held(HeldReply::Bye),
            command.held(HeldReply::No),
            command.authentication_failed(),
            command.after_refusal().to_vec(),
            farewell(protocol, Farewell::Busy).to_vec(),
        ];
        for line in String::from_utf8(replies.concat()).unwrap().lines() {
            let line = line.strip_prefix("A1 ").unwrap_or(line);
            assert!(
                SCRIPT.contains(line),
                "tests/clients/replies.py tries no {line:?}: correct it, run it again, and correct docs/clients.md"
            );
        }
    }
}
