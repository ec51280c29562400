//! What the tests say in each protocol, so that a property is written once for all of them.

use mailswitch_dialogue::Protocol;

/// Lines of one protocol.
pub struct Words {
    /// A login as `ann@x.example` with `pa55word`; IMAP's has the tag `a1`.
    pub login: &'static [u8],
    /// A backend on a plain leg, up to where it waits for the credential.
    pub backend: &'static [u8],
    /// The same, that lists STARTTLS.
    pub offers_tls: &'static [u8],
    /// It agrees to STARTTLS.
    pub agrees_to_tls: &'static [u8],
    /// It says yes, with a tag `a1` where there are tags.
    pub accepted: &'static [u8],
    /// It says that the credential is wrong.
    pub refused: &'static [u8],
    /// It asks for another response.
    pub challenge: &'static [u8],
    /// A client's command that starts TLS.
    pub start_tls: &'static [u8],
    /// A client's command that is answered with one line.
    pub noop: &'static [u8],
    /// A client is asked for a response; how that line begins.
    pub prompt: &'static str,
    /// A client in clear is refused so.
    pub not_private: &'static str,
    /// What advertises mechanisms, as it shows when the gate is open.
    pub advertises: &'static str,
}

pub fn words(protocol: Protocol) -> Words {
    match protocol {
        Protocol::Imap => Words {
            login: b"a1 LOGIN ann@x.example pa55word\r\n",
            backend: b"* OK [CAPABILITY SASL-IR] hi\r\n",
            offers_tls: b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n",
            agrees_to_tls: b"P1 OK go\r\n",
            accepted: b"a1 OK in\r\n",
            refused: b"a1 NO [AUTHENTICATIONFAILED] no\r\n",
            challenge: b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n",
            start_tls: b"a STARTTLS\r\n",
            noop: b"d NOOP\r\n",
            prompt: "+ ",
            not_private: "a NO [PRIVACYREQUIRED] ",
            advertises: "AUTH=PLAIN",
        },
        Protocol::Pop3 => Words {
            login: b"USER ann@x.example\r\nPASS pa55word\r\n",
            backend: b"+OK hi\r\n",
            offers_tls: b"+OK hi\r\n+OK\r\nTOP\r\nSTLS\r\n.\r\n",
            agrees_to_tls: b"+OK go\r\n",
            accepted: b"+OK in\r\n",
            refused: b"-ERR [AUTH] no\r\n",
            challenge: b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n",
            start_tls: b"STLS\r\n",
            noop: b"NOOP\r\n",
            prompt: "+ ",
            not_private: "-ERR Authentication requires TLS",
            advertises: "SASL PLAIN",
        },
        Protocol::ManageSieve => Words {
            login: b"AUTHENTICATE \"PLAIN\" \"AGFubkB4LmV4YW1wbGUAcGE1NXdvcmQ=\"\r\n",
            backend: b"\"IMPLEMENTATION\" \"x\"\r\nOK\r\n",
            offers_tls: b"\"STARTTLS\"\r\nOK\r\n",
            agrees_to_tls: b"OK\r\n",
            accepted: b"OK \"in\"\r\n",
            refused: b"NO \"no\"\r\n",
            challenge: b"\"eyJzdGF0dXMiOiI0MDEifQ==\"\r\n",
            start_tls: b"STARTTLS\r\n",
            noop: b"NOOP\r\n",
            prompt: "\"\"\r\n",
            not_private: "NO (ENCRYPT-NEEDED) ",
            advertises: "\"SASL\" \"PLAIN",
        },
        Protocol::Submission => Words {
            login: b"AUTH PLAIN AGFubkB4LmV4YW1wbGUAcGE1NXdvcmQ=\r\n",
            backend: b"220 hi\r\n250 hi\r\n",
            offers_tls: b"220 hi\r\n250-x\r\n250 STARTTLS\r\n",
            agrees_to_tls: b"220 go\r\n",
            accepted: b"235 ok\r\n",
            refused: b"535 5.7.8 no\r\n",
            challenge: b"334 eyJzdGF0dXMiOiI0MDEifQ==\r\n",
            start_tls: b"STARTTLS\r\n",
            noop: b"NOOP\r\n",
            prompt: "334 ",
            not_private: "538 5.7.11 ",
            advertises: "AUTH PLAIN",
        },
    }
}

/// A client's login by SASL, with or without its initial response.
pub fn authenticate(protocol: Protocol, tag: &str, mechanism: &str, initial: Option<&str>) -> String {
    if protocol == Protocol::ManageSieve {
        let initial = initial.map(string).unwrap_or_default();
        return format!("AUTHENTICATE \"{mechanism}\" {initial}\r\n");
    }
    let initial = initial.map(|text| format!(" {text}")).unwrap_or_default();
    match protocol {
        Protocol::Imap => format!("{tag} AUTHENTICATE {mechanism}{initial}\r\n"),
        _ => format!("AUTH {mechanism}{initial}\r\n"),
    }
}

/// Of ManageSieve: quoted while it may be.
fn string(text: &str) -> String {
    if text.len() > 1024 {
        format!("{{{}+}}\r\n{text}", text.len())
    } else {
        format!("\"{text}\"")
    }
}

/// A client's response to a prompt.
pub fn response(protocol: Protocol, encoded: &str) -> String {
    match protocol {
        Protocol::ManageSieve => format!("{}\r\n", string(encoded)),
        _ => format!("{encoded}\r\n"),
    }
}
