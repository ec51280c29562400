#![no_main]
//! Our client role wired to our server role: whatever credential a client presents in one protocol, the server behind it
//! reads the same bytes of the same person.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use mailswitch_dialogue::sasl::Frame;
use mailswitch_dialogue::*;

#[path = "driver.rs"]
mod driver;

/// The backend's greeting, its challenge, and a client's login up to its response.
fn words(protocol: Protocol, mechanism: &str) -> (&'static [u8], &'static [u8], String) {
    match protocol {
        Protocol::Imap => (
            b"* OK [CAPABILITY IMAP4rev1] x\r\n",
            b"+ \r\n",
            format!("a1 AUTHENTICATE {mechanism}\r\n"),
        ),
        Protocol::Pop3 => (b"+OK x\r\n", b"+ \r\n", format!("AUTH {mechanism}\r\n")),
        Protocol::ManageSieve => (b"OK\r\n", b"", format!("AUTHENTICATE \"{mechanism}\"\r\n")),
        Protocol::Submission => (
            b"220 x\r\n250 x\r\n",
            b"334 \r\n",
            format!("AUTH {mechanism}\r\n"),
        ),
    }
}

fuzz_target!(|data: &[u8]| {
    let [first, second, frame @ ..] = data else { return };
    let protocol = [
        Protocol::Imap,
        Protocol::Pop3,
        Protocol::ManageSieve,
        Protocol::Submission,
    ][usize::from(first % 4)];
    let mechanism = [Frame::Plain, Frame::OauthBearer, Frame::Xoauth2][usize::from(second % 3)].as_str();
    let (greeting, challenge, command) = words(protocol, mechanism);
    let read = |script: &[u8]| match driver::play(driver::encrypted_client(protocol), script, 0) {
        (Some(ClientOutcome::Login(login)), _, rest) => Some((login, rest)),
        _ => None,
    };
    let encoded = STANDARD.encode(frame);
    let script = [command.as_bytes(), encoded.as_bytes(), b"\r\n"].concat();
    let Some((login, rest)) = read(&script) else {
        return;
    };
    assert!(rest.is_empty());
    let replay = || {
        let config = HandshakeConfig {
            leg: BackendLeg::Plain,
            plaintext: PlaintextAuth::Allowed,
            announce: Announce::Nothing,
            helo: None,
            hostname: None,
        };
        let (end, ..) = driver::play(handshake(&login.command, config), greeting, 0);
        let ready = end.expect("an end").expect("ready");
        ready.replay(&login.credential)
    };
    let (_, mut said, _) = driver::play(replay(), b"", 0);
    if !said
        .windows(encoded.len().max(1))
        .any(|window| window == encoded.as_bytes())
    {
        // It waits to be asked.
        said = driver::play(replay(), challenge, 0).1;
    }
    let (seen, rest) = read(&said).expect("a login");
    assert!(rest.is_empty());
    assert_eq!(seen.credential.expose(), frame);
    assert_eq!(seen.credential.frame(), login.credential.frame());
    assert_eq!(seen.routing, login.routing);
});
