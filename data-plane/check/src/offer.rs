//! What a backend offers, read from what it said: capabilities, mechanisms. The dialogues have checked that the replies
//! are whole; here words are only picked out, and what is not understood is nothing.

use std::collections::BTreeSet;

use mailswitch_config::Protocol;

/// The words of one leg, upper case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// SASL mechanisms.
    pub(crate) sasl: BTreeSet<String>,
    /// Capabilities, without the mechanisms. Of ManageSieve also the Sieve extensions.
    pub(crate) capabilities: BTreeSet<String>,
}

impl Offer {
    /// Of everything that was heard since the connection, or since TLS stands.
    pub(crate) fn of(protocol: Protocol, heard: &[u8]) -> Self {
        let text = String::from_utf8_lossy(heard).to_ascii_uppercase();
        let lines = text.lines().map(str::trim_end);
        match protocol {
            Protocol::Imap => imap(lines),
            Protocol::Pop3 => pop3(lines),
            Protocol::ManageSieve => managesieve(lines),
            Protocol::Submission | Protocol::Smtp | Protocol::Lmtp => smtp(lines),
            Protocol::Http => Self::default(),
        }
    }

    pub(crate) fn has(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }
}

/// The last list counts: `* CAPABILITY …`, or `[CAPABILITY …]` in a status.
fn imap<'a>(lines: impl Iterator<Item = &'a str>) -> Offer {
    let listed = lines.filter_map(|line| {
        line.strip_prefix("* CAPABILITY ").or_else(|| {
            let (_, list) = line.split_once("[CAPABILITY ")?;
            list.split(']').next()
        })
    });
    let mut offer = Offer::default();
    for word in listed.last().unwrap_or_default().split_ascii_whitespace() {
        match word.strip_prefix("AUTH=") {
            Some(mechanism) => offer.sasl.insert(mechanism.to_owned()),
            None => offer.capabilities.insert(word.to_owned()),
        };
    }
    offer
}

/// The reply to CAPA: a capability a line. The greeting of a Dovecot that trusts us has `[XCLIENT]`.
fn pop3<'a>(lines: impl Iterator<Item = &'a str>) -> Offer {
    let mut offer = Offer::default();
    for line in lines {
        if let Some(text) = line.strip_prefix("+OK") {
            let codes = text.split(['[', ']']).skip(1).step_by(2);
            offer.capabilities.extend(
                codes
                    .flat_map(str::split_ascii_whitespace)
                    .filter(|word| *word == "XCLIENT")
                    .map(str::to_owned),
            );
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("SASL") => offer.sasl.extend(words.map(str::to_owned)),
            Some(".") | None => {}
            Some(word) => {
                offer.capabilities.insert(word.to_owned());
            }
        }
    }
    offer
}

/// `"NAME" "value"`.
fn managesieve<'a>(lines: impl Iterator<Item = &'a str>) -> Offer {
    let mut offer = Offer::default();
    for line in lines.filter(|line| line.starts_with('"')) {
        let mut quoted = line.split('"').skip(1).step_by(2);
        let (name, value) = (
            quoted.next().unwrap_or_default(),
            quoted.next().unwrap_or_default(),
        );
        let values = value.split_ascii_whitespace().map(str::to_owned);
        match name {
            "SASL" => offer.sasl.extend(values),
            "SIEVE" => offer.capabilities.extend(values),
            name => {
                offer.capabilities.insert(name.to_owned());
            }
        }
    }
    offer
}

/// The keywords of the last reply to EHLO. `AUTH=` is how it was written before it was a standard.
fn smtp<'a>(lines: impl Iterator<Item = &'a str>) -> Offer {
    let mut offer = Offer::default();
    let mut reply = Offer::default();
    let mut first = true;
    for line in lines {
        let Some((code, rest)) = line.split_at_checked(3) else {
            continue;
        };
        let (more, text) = rest.split_at_checked(1).unwrap_or((" ", ""));
        if code == "250" && !first {
            let mut words = text.split([' ', '=']);
            match words.next() {
                Some("AUTH") => reply
                    .sasl
                    .extend(words.filter(|word| !word.is_empty()).map(str::to_owned)),
                Some(word) if !word.is_empty() => {
                    reply.capabilities.insert(word.to_owned());
                }
                _ => {}
            }
        }
        first = more != "-";
        if first {
            let whole = std::mem::take(&mut reply);
            // Other replies have one line, and no keywords.
            if whole != Offer::default() {
                offer = whole;
            }
        }
    }
    offer
}

/// The lines of one SMTP reply, when it is whole.
pub(crate) fn whole_reply(heard: &[u8]) -> Option<Vec<String>> {
    let text = String::from_utf8_lossy(heard);
    if !text.ends_with('\n') {
        return None;
    }
    let lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
    let last = lines.last()?;
    (last.as_bytes().get(3) != Some(&b'-')).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn the_last_list_of_an_imap_server_counts() {
        let heard = b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] hi\r\n* CAPABILITY IMAP4rev1 ID AUTH=PLAIN auth=login\r\nC1 OK done\r\n";
        let offer = Offer::of(Protocol::Imap, heard);
        assert_eq!(words(&offer.sasl), ["LOGIN", "PLAIN"]);
        assert_eq!(words(&offer.capabilities), ["ID", "IMAP4REV1"]);
        let greeting = Offer::of(
            Protocol::Imap,
            b"* OK [CAPABILITY IMAP4rev2 AUTH=PLAIN] ready\r\n",
        );
        assert_eq!(words(&greeting.capabilities), ["IMAP4REV2"]);
    }

    #[test]
    fn the_last_reply_to_ehlo_counts_and_its_first_line_is_a_name() {
        let heard = b"220 a.test ESMTP\r\n250-a.test\r\n250-XCLIENT NAME ADDR\r\n250 SIZE 1\r\n220 a.test ESMTP\r\n250-a.test\r\n250-SIZE 1000\r\n250-AUTH PLAIN LOGIN\r\n250-AUTH=PLAIN LOGIN\r\n250 8BITMIME\r\n";
        let offer = Offer::of(Protocol::Submission, heard);
        assert_eq!(words(&offer.sasl), ["LOGIN", "PLAIN"]);
        assert_eq!(words(&offer.capabilities), ["8BITMIME", "SIZE"]);
    }

    #[test]
    fn pop3_and_managesieve_are_read() {
        let pop3 = Offer::of(
            Protocol::Pop3,
            b"+OK [XCLIENT] Dovecot ready.\r\n+OK\r\nCAPA\r\nUIDL\r\nSASL PLAIN LOGIN\r\n.\r\n",
        );
        assert_eq!(words(&pop3.sasl), ["LOGIN", "PLAIN"]);
        assert_eq!(words(&pop3.capabilities), ["CAPA", "UIDL", "XCLIENT"]);
        let sieve = Offer::of(
            Protocol::ManageSieve,
            b"\"IMPLEMENTATION\" \"x\"\r\n\"SIEVE\" \"fileinto body\"\r\n\"SASL\" \"PLAIN\"\r\n\"XCLIENT\"\r\nOK \"ready\"\r\n",
        );
        assert_eq!(words(&sieve.sasl), ["PLAIN"]);
        assert!(sieve.has("XCLIENT") && sieve.has("FILEINTO") && sieve.has("BODY"));
    }

    #[test]
    fn a_reply_is_whole_at_its_last_line() {
        assert_eq!(whole_reply(b"250-a\r\n250-b\r\n"), None);
        assert_eq!(whole_reply(b"250-a\r\n250 b"), None);
        assert_eq!(whole_reply(b"250-a\r\n250 b\r\n").unwrap().len(), 2);
    }

    const TALKING: [Protocol; 4] = [
        Protocol::Imap,
        Protocol::Pop3,
        Protocol::ManageSieve,
        Protocol::Submission,
    ];

    proptest::proptest! {
        #[test]
        fn whatever_is_heard_nothing_panics(heard: Vec<u8>) {
            for protocol in TALKING {
                let _ = Offer::of(protocol, &heard);
            }
            let _ = whole_reply(&heard);
        }

        #[test]
        fn nor_does_what_looks_like_capabilities(
            heard in "(\\* (CAPABILITY|OK \\[CAPABILITY)|250[- ]|\\+OK|\"|SASL|AUTH=|[A-Z =\\]ä\"]|\r\n){0,60}"
        ) {
            for protocol in TALKING {
                let _ = Offer::of(protocol, heard.as_bytes());
            }
            let _ = whole_reply(heard.as_bytes());
        }
    }
}
