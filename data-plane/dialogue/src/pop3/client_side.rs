//! What a POP3 client is told before login: greeting, CAPA, STLS, UTF8, USER and PASS, AUTH (behaviour §6.2), over
//! `syntax`.

use zeroize::Zeroizing;

use super::syntax::{self, Command};
use super::{Utf8, Words};
use crate::attributes::Helo;
use crate::client::pre_login::{Grammar, Heard, Standing, StartTls};
use crate::client::{Gate, PeerTrust, Why};
use crate::command::{ClientCommand, Kind};
use crate::input::Input;
use crate::limits::LINE_LIMIT;
use crate::output::Output;
use crate::sasl::{Exchange, Failure, Progress, Prompt};
use crate::{line, xclient};

/// The words of one connection, and what it has said so far.
pub(crate) struct ClientSide {
    words: Words,
    /// Waits for its PASS.
    user: Option<Zeroizing<Vec<u8>>>,
    utf8: Utf8,
}

impl ClientSide {
    pub(crate) fn new(words: Words) -> Self {
        Self {
            words,
            user: None,
            utf8: Utf8::NotAsked,
        }
    }

    fn execute(&mut self, command: &Command<'_>, standing: &mut Standing, output: &mut Output) -> Heard<()> {
        match *command {
            Command::Capa => self.capabilities(standing, output),
            Command::Noop => output.put(b"+OK\r\n"),
            Command::Utf8 => {
                self.utf8 = Utf8::Asked;
                output.put(b"+OK UTF8 enabled\r\n");
            }
            Command::Stls if standing.start_tls == StartTls::Offered => {
                output.put(b"+OK Begin TLS negotiation\r\n");
                return Heard::StartTls;
            }
            Command::Stls => output.put(b"-ERR STLS is not available\r\n"),
            Command::User(name) => return self.user(name, standing, output),
            Command::Pass(password) => return self.password(password, standing, output),
            Command::Mechanisms => mechanisms(standing, output),
            Command::Auth { mechanism, initial } => {
                self.user = None;
                return Heard::Sasl((), Exchange::start(&standing.access, mechanism, initial));
            }
            Command::Xclient(attributes) if standing.peer == PeerTrust::Proxy => {
                return proxied(attributes, standing, output);
            }
            Command::Quit => {
                output.put(b"+OK Bye\r\n");
                return Heard::Quit;
            }
            Command::BadArgument => return fail(b"-ERR Too many arguments\r\n", output),
            Command::Unparsable => return fail(b"-ERR Not a command\r\n", output),
            Command::Other | Command::Xclient(_) => {
                output.put(b"-ERR Command not known or not permitted before login\r\n");
            }
        }
        Heard::More
    }

    /// In the order of configuration §3.7.
    fn capabilities(&self, standing: &Standing, output: &mut Output) {
        output.put(b"+OK Capability list follows\r\n");
        if standing.access.gate() == Gate::Open {
            output.put(b"USER\r\n");
        }
        let offered = standing.access.offered_names();
        if !offered.is_empty() {
            output.line(&[b"SASL ", offered.as_bytes()]);
        }
        if standing.start_tls == StartTls::Offered {
            output.put(b"STLS\r\n");
        }
        output.put(b"TOP\r\nRESP-CODES\r\nPIPELINING\r\nEXPIRE NEVER\r\nUIDL\r\nUTF8\r\n");
        if standing.peer == PeerTrust::Proxy {
            output.put(b"XCLIENT\r\n");
        }
        output.line(&[b"IMPLEMENTATION ", self.words.implementation.as_bytes()]);
        output.put(b".\r\n");
    }

    /// The name is kept until PASS; whether it exists is not for us to say.
    fn user(&mut self, name: &[u8], standing: &Standing, output: &mut Output) -> Heard<()> {
        self.user = None;
        if standing.access.gate() == Gate::Shut {
            return Heard::Sasl((), Progress::Failed(Failure::NotPrivate));
        }
        if name.is_empty() {
            return fail(b"-ERR USER needs a name\r\n", output);
        }
        self.user = Some(Zeroizing::new(name.to_vec()));
        output.put(b"+OK Send PASS\r\n");
        Heard::More
    }

    fn password(&mut self, password: &[u8], standing: &Standing, output: &mut Output) -> Heard<()> {
        match self.user.take() {
            Some(user) => Heard::Sasl((), Progress::password(&standing.access, &user, password)),
            None if standing.access.gate() == Gate::Shut => {
                Heard::Sasl((), Progress::Failed(Failure::NotPrivate))
            }
            None => {
                output.put(b"-ERR Send USER first\r\n");
                Heard::More
            }
        }
    }
}

impl Grammar for ClientSide {
    type Command = ();

    /// Without a stamp, since we could not check an APOP. The code is Dovecot's way to save a proxy the CAPA.
    fn greet(&mut self, standing: &Standing, output: &mut Output) {
        let code: &[u8] = match standing.peer {
            PeerTrust::Proxy => b"[XCLIENT] ",
            PeerTrust::Client => b"",
        };
        output.line(&[b"+OK ", code, self.words.banner.as_bytes()]);
    }

    fn hear(&mut self, standing: &mut Standing, input: &mut Input, output: &mut Output) -> Heard<()> {
        let line = match line::find(input, LINE_LIMIT) {
            Ok(Some(line)) => line,
            Ok(None) => return Heard::Incomplete,
            Err(line::TooLong) => return Heard::TooLong,
        };
        let heard = self.execute(&syntax::parse(&input.unread()[..line.text]), standing, output);
        input.consume(line.whole);
        heard
    }

    fn prompt(&self, prompt: Prompt, output: &mut Output) {
        output.line(&[b"+ ", prompt.encoded().as_bytes()]);
    }

    fn refuse(&self, (): &(), failure: Failure, output: &mut Output) {
        output.put(match failure {
            Failure::Aborted => b"-ERR Authentication cancelled\r\n",
            Failure::BadBase64 => b"-ERR Invalid base64\r\n",
            Failure::Malformed => b"-ERR Malformed credentials\r\n",
            Failure::Unsupported => b"-ERR Unsupported mechanism\r\n",
            Failure::NotPrivate => b"-ERR Authentication requires TLS\r\n",
        });
    }

    fn last_words(&self, why: Why, output: &mut Output) {
        match why {
            Why::TooLong => output.put(b"-ERR Line too long\r\n"),
            // The reply to the last failure was the last word: there is no goodbye.
            Why::TooManyFailures | Why::Quit => {}
        }
    }

    fn upgraded(&mut self, _: &Standing, _: &mut Output) {
        self.user = None;
        self.utf8 = Utf8::NotAsked;
    }

    fn login(&mut self, (): ()) -> (ClientCommand, Option<Helo>) {
        (ClientCommand(Kind::Pop3(self.utf8)), None)
    }
}

/// One a line (RFC 1734's lost custom, which clients still use).
fn mechanisms(standing: &Standing, output: &mut Output) {
    output.put(b"+OK\r\n");
    for mechanism in standing.access.offered() {
        output.line(&[mechanism.as_str().as_bytes()]);
    }
    output.put(b".\r\n");
}

/// A proxy of ours tells how many hops are left; what else it tells is not taken.
fn proxied(attributes: &[u8], standing: &mut Standing, output: &mut Output) -> Heard<()> {
    match xclient::ttl(attributes) {
        Ok(ttl) => {
            standing.hops = ttl.or(standing.hops);
            output.put(b"+OK Updated\r\n");
            Heard::More
        }
        Err(xclient::BadTtl) => fail(b"-ERR Bad TTL\r\n", output),
    }
}

fn fail(reply: &[u8], output: &mut Output) -> Heard<()> {
    output.put(reply);
    Heard::Failed
}
