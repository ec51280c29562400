//! Toward a submission client: greeting, EHLO, STARTTLS, AUTH, and every command that has to wait for it
//! (behaviour §6.4). Ends with a login or with a closed connection.

use super::Words;
use super::syntax::{self, Command};
use super::xclient;
use crate::attributes::{Helo, Hops};
use crate::client::{Access, Attempt, ClientLeg, ClientOutcome, Login, Method, PeerTrust, Why};
use crate::command::{ClientCommand, Kind};
use crate::dialogue::{Dialogue, Step};
use crate::input::{Input, TlsEstablished};
use crate::limits::LINE_LIMIT;
use crate::line;
use crate::output::Output;
use crate::sasl::{Exchange, Failure, Progress};

/// The dialogue.
pub(crate) struct ClientSide {
    words: Words,
    access: Access,
    peer: PeerTrust,
    start_tls: StartTls,
    helo: Option<Helo>,
    hops: Option<Hops>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StartTls {
    Offered,
    NotOffered,
}

enum State {
    Greeting,
    Command,
    /// Octets of a refused BDAT that are still to come.
    Chunk(u64),
    Response(Exchange),
    /// Waits for `tls_started`, or has ended.
    Idle,
}

/// `None`: there may be more to do.
type Progressed = Option<Step<ClientOutcome>>;

impl ClientSide {
    pub(crate) fn new(words: Words, access: Access, leg: ClientLeg, peer: PeerTrust) -> Self {
        let start_tls = match leg {
            ClientLeg::StartTls => StartTls::Offered,
            ClientLeg::Encrypted(_) | ClientLeg::Plain => StartTls::NotOffered,
        };
        Self {
            words,
            access,
            peer,
            start_tls,
            helo: None,
            hops: None,
            state: State::Greeting,
        }
    }

    fn advance(&mut self, input: &mut Input, output: &mut Output) -> Progressed {
        match std::mem::replace(&mut self.state, State::Command) {
            State::Greeting => {
                self.greet(output);
                None
            }
            State::Command => self.command(input, output),
            State::Chunk(left) => self.skip(left, input),
            State::Response(exchange) => self.response(exchange, input, output),
            State::Idle => {
                self.state = State::Idle;
                Some(Step::NeedInput)
            }
        }
    }

    fn greet(&self, output: &mut Output) {
        let Words { hostname, banner, .. } = &self.words;
        output.line(&[b"220 ", hostname.as_bytes(), b" ESMTP ", banner.as_bytes()]);
    }

    fn command(&mut self, input: &mut Input, output: &mut Output) -> Progressed {
        let line = match line::find(input, LINE_LIMIT) {
            Ok(Some(line)) => line,
            Ok(None) => return Some(Step::NeedInput),
            Err(line::TooLong) => return self.too_long(output),
        };
        let progressed = match syntax::parse(&input.unread()[..line.text]) {
            Command::StartTls if self.start_tls == StartTls::Offered => {
                output.put(b"220 2.0.0 Ready to start TLS\r\n");
                self.state = State::Idle;
                return Some(Step::StartTls(input.discard()));
            }
            Command::Auth { mechanism, initial } => {
                let progress = Exchange::start(&self.access, mechanism, initial);
                self.authenticate(progress, output)
            }
            Command::Ehlo(argument) => {
                let helo = Helo::new(argument);
                self.ehlo(&helo, output);
                self.helo = Some(helo);
                None
            }
            Command::Helo(argument) => {
                output.line(&[b"250 ", self.words.hostname.as_bytes()]);
                self.helo = Some(Helo::new(argument));
                None
            }
            Command::Xclient(attributes) if self.peer == PeerTrust::Proxy => {
                let ttl = xclient::ttl(attributes);
                self.xclient(ttl, output)
            }
            Command::Chunk(octets) => {
                output.put(b"530 5.7.0 Authentication required\r\n");
                self.state = State::Chunk(octets);
                None
            }
            other => self.reply(&other, output),
        };
        input.consume(line.whole);
        progressed
    }

    /// The commands that have one reply and no effect.
    fn reply(&mut self, command: &Command<'_>, output: &mut Output) -> Progressed {
        match command {
            Command::Noop | Command::Rset => output.put(b"250 2.0.0 OK\r\n"),
            Command::Transaction => output.put(b"530 5.7.0 Authentication required\r\n"),
            Command::StartTls => output.put(b"503 5.5.1 STARTTLS is not available\r\n"),
            Command::Quit => {
                output.put(b"221 2.0.0 Bye\r\n");
                return self.close(Why::Quit);
            }
            Command::Unknown => output.put(b"500 5.5.2 Command not recognized\r\n"),
            Command::BadArgument => return self.fail(b"501 5.5.4 Bad argument\r\n", output),
            Command::Unparsable => return self.fail(b"500 5.5.2 Not a command\r\n", output),
            _ => output.put(b"503 5.5.1 Command not available here\r\n"),
        }
        None
    }

    fn ehlo(&self, helo: &Helo, output: &mut Output) {
        // What is not printable is not repeated: the argument may be anything.
        let shown: Vec<u8> = helo
            .as_bytes()
            .iter()
            .map(|byte| if byte.is_ascii_graphic() { *byte } else { b'?' })
            .collect();
        let hostname = &self.words.hostname;
        let mut lines = vec![[hostname.as_bytes(), b" at your service, [", &shown, b"]"].concat()];
        lines.extend(self.words.ehlo.iter().map(|keyword| keyword.clone().into_bytes()));
        if self.start_tls == StartTls::Offered {
            lines.push(b"STARTTLS".to_vec());
        }
        if self.peer == PeerTrust::Proxy {
            lines.push(b"XCLIENT TTL".to_vec());
        }
        let offered: Vec<&str> = self
            .access
            .offered()
            .iter()
            .map(|mechanism| mechanism.as_str())
            .collect();
        if !offered.is_empty() {
            lines.push(format!("AUTH {}", offered.join(" ")).into_bytes());
        }
        let last = lines.len() - 1;
        for (index, line) in lines.iter().enumerate() {
            output.line(&[if index == last { b"250 " } else { b"250-" }, line]);
        }
    }

    /// A proxy of ours tells how many hops are left; what else it tells is not taken.
    fn xclient(&mut self, ttl: Result<Option<Hops>, xclient::BadTtl>, output: &mut Output) -> Progressed {
        match ttl {
            Ok(ttl) => {
                self.hops = ttl.or(self.hops);
                self.helo = None;
                self.greet(output);
                None
            }
            Err(xclient::BadTtl) => self.fail(b"501 5.5.4 Bad TTL\r\n", output),
        }
    }

    fn skip(&mut self, left: u64, input: &mut Input) -> Progressed {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        input.consume(here);
        match left - here as u64 {
            0 => None,
            left => {
                self.state = State::Chunk(left);
                Some(Step::NeedInput)
            }
        }
    }

    fn response(&mut self, exchange: Exchange, input: &mut Input, output: &mut Output) -> Progressed {
        match line::find(input, LINE_LIMIT) {
            Ok(Some(line)) => {
                let progress = exchange.respond(&self.access, &input.unread()[..line.text]);
                input.consume(line.whole);
                self.authenticate(progress, output)
            }
            Ok(None) => {
                self.state = State::Response(exchange);
                Some(Step::NeedInput)
            }
            Err(line::TooLong) => self.too_long(output),
        }
    }

    fn authenticate(&mut self, progress: Progress, output: &mut Output) -> Progressed {
        match progress {
            Progress::Prompt(prompt, exchange) => {
                output.line(&[b"334 ", prompt.encoded().as_bytes()]);
                self.state = State::Response(exchange);
                None
            }
            Progress::Done(mechanism, credential, routing) => {
                self.state = State::Idle;
                Some(Step::Done(ClientOutcome::Login(Box::new(Login {
                    credential,
                    routing,
                    method: Method::Sasl(mechanism),
                    command: ClientCommand(Kind::Submission),
                    helo: self.helo.take(),
                    hops: self.hops,
                }))))
            }
            Progress::Failed(failure) if failure.counts() => self.fail(words_for(failure), output),
            Progress::Failed(failure) => {
                output.put(words_for(failure));
                None
            }
        }
    }

    fn fail(&mut self, reply: &[u8], output: &mut Output) -> Progressed {
        output.put(reply);
        match self.access.failed() {
            Attempt::MayGoOn => None,
            Attempt::Last => {
                output.put(b"421 4.7.0 Too many errors, closing connection\r\n");
                self.close(Why::TooManyFailures)
            }
        }
    }

    /// There is no telling where the next command starts.
    fn too_long(&mut self, output: &mut Output) -> Progressed {
        output.put(b"500 5.5.6 Line too long\r\n421 4.7.0 Line too long, closing connection\r\n");
        self.close(Why::TooLong)
    }

    fn close(&mut self, why: Why) -> Progressed {
        self.state = State::Idle;
        Some(Step::Done(ClientOutcome::Closed(why)))
    }
}

impl Dialogue for ClientSide {
    type Done = ClientOutcome;

    fn step(&mut self, input: &mut Input, output: &mut Output) -> Step<ClientOutcome> {
        loop {
            if output.is_enough() {
                return Step::Flush;
            }
            if let Some(step) = self.advance(input, output) {
                return step;
            }
        }
    }

    /// Everything said in clear is forgotten (RFC 3207 §4.2).
    fn tls_started(&mut self, tls: TlsEstablished) {
        self.access.encrypted(&tls);
        self.start_tls = StartTls::NotOffered;
        self.helo = None;
        self.hops = None;
        self.state = State::Command;
    }
}

/// Behaviour §2, the submission row.
const fn words_for(failure: Failure) -> &'static [u8] {
    match failure {
        Failure::Aborted => b"501 5.7.0 Authentication cancelled\r\n",
        Failure::BadBase64 => b"501 5.5.2 Invalid base64\r\n",
        Failure::Malformed => b"535 5.7.8 Malformed credentials\r\n",
        Failure::Unsupported => b"504 5.5.4 Unsupported mechanism\r\n",
        Failure::NotPrivate => b"538 5.7.11 Encryption required for authentication\r\n",
    }
}
