//! What a submission client is told before login: greeting, EHLO, and every command that has to wait for AUTH
//! (behaviour §6.4), over `syntax`.

use super::Words;
use super::syntax::{self, Command};
use crate::attributes::Helo;
use crate::client::pre_login::{Grammar, Heard, Standing, StartTls};
use crate::client::{PeerTrust, Why};
use crate::command::{ClientCommand, Kind};
use crate::input::Input;
use crate::limits::LINE_LIMIT;
use crate::output::Output;
use crate::sasl::{Exchange, Failure, Prompt};
use crate::{line, xclient};

/// The words of one connection, and what it has said of itself.
pub(crate) struct ClientSide {
    words: Words,
    helo: Option<Helo>,
    /// Octets of a refused BDAT that are still to come.
    chunk: u64,
}

impl ClientSide {
    pub(crate) fn new(words: Words) -> Self {
        Self {
            words,
            helo: None,
            chunk: 0,
        }
    }

    fn say_greeting(&self, output: &mut Output) {
        let Words { hostname, banner, .. } = &self.words;
        output.line(&[b"220 ", hostname.as_bytes(), b" ESMTP ", banner.as_bytes()]);
    }

    fn execute(&mut self, command: &Command<'_>, standing: &mut Standing, output: &mut Output) -> Heard<()> {
        match *command {
            Command::StartTls if standing.start_tls == StartTls::Offered => {
                output.put(b"220 2.0.0 Ready to start TLS\r\n");
                return Heard::StartTls;
            }
            Command::Auth { mechanism, initial } => {
                return Heard::Sasl((), Exchange::start(&standing.access, mechanism, initial));
            }
            Command::Ehlo(argument) => {
                let helo = Helo::new(argument);
                self.ehlo(&helo, standing, output);
                self.helo = Some(helo);
            }
            Command::Helo(argument) => {
                output.line(&[b"250 ", self.words.hostname.as_bytes()]);
                self.helo = Some(Helo::new(argument));
            }
            Command::Xclient(attributes) if standing.peer == PeerTrust::Proxy => {
                return self.xclient(attributes, standing, output);
            }
            Command::Chunk(octets) => {
                output.put(b"530 5.7.0 Authentication required\r\n");
                self.chunk = octets;
            }
            Command::Noop | Command::Rset => output.put(b"250 2.0.0 OK\r\n"),
            Command::Transaction => output.put(b"530 5.7.0 Authentication required\r\n"),
            Command::StartTls => output.put(b"503 5.5.1 STARTTLS is not available\r\n"),
            Command::Quit => {
                output.put(b"221 2.0.0 Bye\r\n");
                return Heard::Quit;
            }
            Command::Unknown => output.put(b"500 5.5.2 Command not recognized\r\n"),
            Command::BadArgument => return fail(b"501 5.5.4 Bad argument\r\n", output),
            Command::Unparsable => return fail(b"500 5.5.2 Not a command\r\n", output),
            Command::Misplaced | Command::Xclient(_) => {
                output.put(b"503 5.5.1 Command not available here\r\n");
            }
        }
        Heard::More
    }

    fn ehlo(&self, helo: &Helo, standing: &Standing, output: &mut Output) {
        // What is not printable is not repeated: the argument may be anything.
        let shown: Vec<u8> = helo
            .as_bytes()
            .iter()
            .map(|byte| if byte.is_ascii_graphic() { *byte } else { b'?' })
            .collect();
        let hostname = &self.words.hostname;
        let mut lines = vec![[hostname.as_bytes(), b" at your service, [", &shown, b"]"].concat()];
        lines.extend(self.words.ehlo.iter().map(|keyword| keyword.clone().into_bytes()));
        if standing.start_tls == StartTls::Offered {
            lines.push(b"STARTTLS".to_vec());
        }
        if standing.peer == PeerTrust::Proxy {
            lines.push(b"XCLIENT TTL".to_vec());
        }
        let offered = standing.access.offered_names();
        if !offered.is_empty() {
            lines.push(format!("AUTH {offered}").into_bytes());
        }
        let last = lines.len() - 1;
        for (index, line) in lines.iter().enumerate() {
            output.line(&[if index == last { b"250 " } else { b"250-" }, line]);
        }
    }

    /// A proxy of ours tells how many hops are left; what else it tells is not taken.
    fn xclient(&mut self, attributes: &[u8], standing: &mut Standing, output: &mut Output) -> Heard<()> {
        match xclient::ttl(attributes) {
            Ok(ttl) => {
                standing.hops = ttl.or(standing.hops);
                self.helo = None;
                self.say_greeting(output);
                Heard::More
            }
            Err(xclient::BadTtl) => fail(b"501 5.5.4 Bad TTL\r\n", output),
        }
    }

    fn skip(&mut self, input: &mut Input) -> Heard<()> {
        let here = usize::try_from(self.chunk).unwrap_or(usize::MAX).min(input.len());
        input.consume(here);
        self.chunk -= here as u64;
        match self.chunk {
            0 => Heard::More,
            _ => Heard::Incomplete,
        }
    }
}

impl Grammar for ClientSide {
    type Command = ();

    fn greet(&mut self, _: &Standing, output: &mut Output) {
        self.say_greeting(output);
    }

    fn hear(&mut self, standing: &mut Standing, input: &mut Input, output: &mut Output) -> Heard<()> {
        if self.chunk > 0 {
            return self.skip(input);
        }
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
        output.line(&[b"334 ", prompt.encoded().as_bytes()]);
    }

    fn refuse(&self, (): &(), failure: Failure, output: &mut Output) {
        output.put(match failure {
            Failure::Aborted => b"501 5.7.0 Authentication cancelled\r\n",
            Failure::BadBase64 => b"501 5.5.2 Invalid base64\r\n",
            Failure::Malformed => b"535 5.7.8 Malformed credentials\r\n",
            Failure::Unsupported => b"504 5.5.4 Unsupported mechanism\r\n",
            Failure::NotPrivate => b"538 5.7.11 Encryption required for authentication\r\n",
        });
    }

    fn last_words(&self, why: Why, output: &mut Output) {
        output.put(match why {
            Why::TooLong => b"500 5.5.6 Line too long\r\n421 4.7.0 Line too long, closing connection\r\n",
            Why::TooManyFailures | Why::Quit => b"421 4.7.0 Too many errors, closing connection\r\n",
        });
    }

    /// RFC 3207 §4.2.
    fn upgraded(&mut self, _: &Standing, _: &mut Output) {
        self.helo = None;
    }

    fn login(&mut self, (): ()) -> (ClientCommand, Option<Helo>) {
        (ClientCommand(Kind::Submission), self.helo.take())
    }
}

fn fail(reply: &[u8], output: &mut Output) -> Heard<()> {
    output.put(reply);
    Heard::Failed
}
