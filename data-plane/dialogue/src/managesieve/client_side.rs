//! What a ManageSieve client is told before login: the capabilities, NOOP, STARTTLS, AUTHENTICATE (behaviour §6.3), over
//! `syntax`.

use zeroize::Zeroizing;

use super::syntax::{self, Command};
use super::{QUOTED, Words};
use crate::attributes::Helo;
use crate::client::pre_login::{Grammar, Heard, Responded, Standing, StartTls};
use crate::client::{PeerTrust, Why};
use crate::command::{ClientCommand, Kind};
use crate::input::Input;
use crate::limits::LINE_LIMIT;
use crate::output::Output;
use crate::quoted::{self, Text};
use crate::sasl::{Exchange, Failure, Progress, Prompt};
use crate::{whole, xclient};

/// The words of one connection, and what has been read of its next command.
pub(crate) struct ClientSide {
    words: Words,
    reader: whole::Reader,
}

impl ClientSide {
    pub(crate) fn new(words: Words) -> Self {
        Self {
            words,
            reader: whole::Reader::default(),
        }
    }

    /// A line with its literals. `{n}` is taken as `{n+}`, since a client never waits here (RFC 5804 §4): it draws no prompt.
    fn gather(&mut self, input: &mut Input, carries: whole::Carries) -> Gathered {
        match self.reader.read(input, LINE_LIMIT, carries) {
            Ok(Some(gathered)) => Gathered::Whole(gathered),
            Ok(None) => Gathered::Part,
            Err(_) => Gathered::TooLong,
        }
    }

    fn execute(&self, command: Command<'_>, standing: &mut Standing, output: &mut Output) -> Heard<()> {
        match command {
            Command::Capability => self.capabilities(standing, output),
            Command::Noop(None) => output.put(b"OK \"Done\"\r\n"),
            Command::Noop(Some(tag)) => return noop(&tag, output),
            Command::Logout => {
                output.put(b"OK \"Logout\"\r\n");
                return Heard::Quit;
            }
            Command::StartTls if standing.start_tls == StartTls::Offered => {
                output.put(b"OK \"Begin TLS negotiation\"\r\n");
                return Heard::StartTls;
            }
            Command::StartTls => output.put(b"NO \"STARTTLS is not available\"\r\n"),
            Command::Authenticate { mechanism, initial } => {
                let initial = initial.as_ref().map(Text::as_bytes);
                return Heard::Sasl(
                    (),
                    Exchange::start(&standing.access, mechanism.as_bytes(), initial),
                );
            }
            Command::Xclient(attributes) if standing.peer == PeerTrust::Proxy => {
                return proxied(attributes, standing, output);
            }
            Command::Other | Command::Xclient(_) => {
                output.put(b"NO \"Command not known or not permitted before login\"\r\n");
            }
            Command::Faulty => return fail(b"NO \"Syntax error\"\r\n", output),
        }
        Heard::More
    }

    /// The block that opens the connection, answers CAPABILITY, and is said again inside TLS (RFC 5804 §1.7, §2.2).
    fn capabilities(&self, standing: &Standing, output: &mut Output) {
        let Words {
            implementation,
            sieve,
        } = &self.words;
        capability("IMPLEMENTATION", implementation, output);
        capability("VERSION", "1.0", output);
        capability("SASL", &standing.access.offered_names(), output);
        capability("SIEVE", &sieve.join(" "), output);
        if standing.start_tls == StartTls::Offered {
            output.put(b"\"STARTTLS\"\r\n");
        }
        if standing.peer == PeerTrust::Proxy {
            output.put(b"\"XCLIENT\"\r\n");
        }
        output.line(&[b"OK ", &string(format!("{implementation} ready.").as_bytes())]);
    }
}

enum Gathered {
    Whole(Zeroizing<Vec<u8>>),
    /// The rest of it has still to come.
    Part,
    TooLong,
}

impl Grammar for ClientSide {
    type Command = ();

    fn greet(&mut self, standing: &Standing, output: &mut Output) {
        self.capabilities(standing, output);
    }

    fn hear(&mut self, standing: &mut Standing, input: &mut Input, output: &mut Output) -> Heard<()> {
        match self.gather(input, |_| true) {
            Gathered::Whole(gathered) => self.execute(syntax::parse(&gathered), standing, output),
            Gathered::Part => Heard::Incomplete,
            Gathered::TooLong => Heard::TooLong,
        }
    }

    fn respond(&mut self, exchange: Exchange, standing: &Standing, input: &mut Input) -> Responded {
        match self.gather(input, |gathered| gathered.first() == Some(&b'{')) {
            Gathered::Whole(gathered) => Responded::Read(match syntax::response(&gathered) {
                Ok(text) => exchange.respond(&standing.access, text.as_bytes()),
                Err(quoted::Faulty) => Progress::Failed(Failure::Malformed),
            }),
            Gathered::Part => Responded::Incomplete(exchange),
            Gathered::TooLong => Responded::TooLong,
        }
    }

    /// Literals, as they are in the contract; the empty one quoted, for clients that wait for its line end.
    fn prompt(&self, prompt: Prompt, output: &mut Output) {
        match prompt.encoded() {
            "" => output.put(b"\"\"\r\n"),
            encoded => output.line(&[
                format!("{{{}}}\r\n", encoded.len()).as_bytes(),
                encoded.as_bytes(),
            ]),
        }
    }

    fn refuse(&self, (): &(), failure: Failure, output: &mut Output) {
        output.put(match failure {
            Failure::Aborted => b"NO \"Authentication cancelled\"\r\n",
            Failure::BadBase64 => b"NO \"Invalid base64\"\r\n",
            Failure::Malformed => b"NO \"Malformed credentials\"\r\n",
            Failure::Unsupported => b"NO \"Unsupported mechanism\"\r\n",
            Failure::NotPrivate => b"NO (ENCRYPT-NEEDED) \"Encryption required for authentication\"\r\n",
        });
    }

    fn last_words(&self, why: Why, output: &mut Output) {
        output.put(match why {
            Why::TooLong => b"BYE \"Line or literal too long\"\r\n",
            Why::TooManyFailures | Why::Quit => b"BYE \"Too many errors\"\r\n",
        });
    }

    fn upgraded(&mut self, standing: &Standing, output: &mut Output) {
        self.reader = whole::Reader::default();
        self.capabilities(standing, output);
    }

    fn login(&mut self, (): ()) -> (ClientCommand, Option<Helo>) {
        (ClientCommand(Kind::ManageSieve), None)
    }
}

fn capability(name: &str, value: &str, output: &mut Output) {
    output.line(&[b"\"", name.as_bytes(), b"\" ", &string(value.as_bytes())]);
}

/// Quoted while it fits.
fn string(text: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(text.len() + 8);
    if text.len() > QUOTED {
        written.extend(format!("{{{}}}\r\n", text.len()).as_bytes());
        written.extend(text);
    } else {
        quoted::write(text, &mut written);
    }
    written
}

/// The tag comes back as a literal: it may hold anything.
fn noop(tag: &Text<'_>, output: &mut Output) -> Heard<()> {
    let tag = tag.as_bytes();
    if tag.len() > QUOTED {
        return fail(b"NO \"Tag too long\"\r\n", output);
    }
    let head = format!("OK (TAG {{{}}}\r\n", tag.len());
    output.line(&[head.as_bytes(), tag, b") \"Done\""]);
    Heard::More
}

/// A proxy of ours tells how many hops are left; what else it tells is not taken.
fn proxied(attributes: &[u8], standing: &mut Standing, output: &mut Output) -> Heard<()> {
    match xclient::ttl(attributes) {
        Ok(ttl) => {
            standing.hops = ttl.or(standing.hops);
            output.put(b"OK \"Updated\"\r\n");
            Heard::More
        }
        Err(xclient::BadTtl) => fail(b"NO \"Bad TTL\"\r\n", output),
    }
}

fn fail(reply: &[u8], output: &mut Output) -> Heard<()> {
    output.put(reply);
    Heard::Failed
}
