//! Toward an IMAP client: greeting, the commands that are answered before login, STARTTLS, AUTHENTICATE and LOGIN
//! (behaviour §6.1). Ends with a login or with a closed connection.

use super::syntax::{Argument, Command, Next, Syntax, Verb};
use super::{Tag, Words};
use crate::attributes::Hops;
use crate::client::{Access, Attempt, ClientLeg, ClientOutcome, Gate, Login, Method, PeerTrust, Why};
use crate::command::{ClientCommand, Kind};
use crate::dialogue::{Dialogue, Step};
use crate::input::{Input, TlsEstablished};
use crate::limits::LINE_LIMIT;
use crate::line::{self, Literal, Sync};
use crate::output::Output;
use crate::sasl::{Credential, Exchange, Failure, Progress, Routing};

/// The dialogue.
pub(crate) struct ClientSide {
    words: Words,
    access: Access,
    peer: PeerTrust,
    start_tls: StartTls,
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
    /// Octets of a literal that are still to come.
    Literal(Command, usize),
    /// The rest of the line behind a literal.
    Resume(Command),
    Response(Tag, Exchange),
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
            hops: None,
            state: State::Greeting,
        }
    }

    fn advance(&mut self, input: &mut Input, output: &mut Output) -> Progressed {
        match std::mem::replace(&mut self.state, State::Command) {
            State::Greeting => {
                output.line(&[
                    b"* OK [CAPABILITY ",
                    &self.capabilities(),
                    b"] ",
                    self.words.banner.as_bytes(),
                ]);
                None
            }
            State::Command => self.begin(input, output),
            State::Literal(command, left) => self.literal(command, left, input),
            State::Resume(command) => self.resume(command, input, output),
            State::Response(tag, exchange) => self.response(tag, exchange, input, output),
            State::Idle => {
                self.state = State::Idle;
                Some(Step::NeedInput)
            }
        }
    }

    fn begin(&mut self, input: &mut Input, output: &mut Output) -> Progressed {
        match line::find(input, LINE_LIMIT) {
            Ok(Some(line)) => {
                let (command, next) = Command::begin(&input.unread()[..line.text]);
                input.consume(line.whole);
                self.follow(command, next, input, output)
            }
            Ok(None) => Some(Step::NeedInput),
            Err(line::TooLong) => self.too_long(output),
        }
    }

    fn resume(&mut self, mut command: Command, input: &mut Input, output: &mut Output) -> Progressed {
        match line::find(input, command.room()) {
            Ok(Some(line)) => {
                let next = command.resume(&input.unread()[..line.text]);
                input.consume(line.whole);
                self.follow(command, next, input, output)
            }
            Ok(None) => {
                self.state = State::Resume(command);
                Some(Step::NeedInput)
            }
            Err(line::TooLong) => self.too_long(output),
        }
    }

    fn follow(&mut self, command: Command, next: Next, input: &mut Input, output: &mut Output) -> Progressed {
        match next {
            Next::Complete => self.execute(command, input, output),
            Next::Literal(Literal {
                size,
                sync: Sync::Flows,
                ..
            }) if size > command.room() => self.too_long(output),
            Next::Literal(Literal {
                size,
                sync: Sync::Flows,
                ..
            }) => {
                self.state = State::Literal(command, size);
                None
            }
            Next::Literal(Literal {
                size,
                sync: Sync::Waits,
                ..
            }) => self.invite(command, size, input, output),
        }
    }

    /// The client waits before it sends a literal: it is asked for it only when it is wanted.
    fn invite(
        &mut self,
        command: Command,
        size: usize,
        input: &mut Input,
        output: &mut Output,
    ) -> Progressed {
        let secret = matches!(command.verb, Verb::Login | Verb::Authenticate);
        if !command.reads_arguments() || (secret && self.access.gate() == Gate::Shut) {
            return self.execute(command, input, output);
        }
        if size > command.room() {
            return self.fail(command.tag.as_ref(), b"BAD [TOOBIG] Literal too long", output);
        }
        output.put(format!("+ Ready for {size} bytes.\r\n").as_bytes());
        self.state = State::Literal(command, size);
        None
    }

    fn literal(&mut self, mut command: Command, left: usize, input: &mut Input) -> Progressed {
        let here = left.min(input.len());
        command.literal(&input.unread()[..here]);
        input.consume(here);
        if left == here {
            self.state = State::Resume(command);
            None
        } else {
            self.state = State::Literal(command, left - here);
            Some(Step::NeedInput)
        }
    }

    fn execute(&mut self, command: Command, input: &mut Input, output: &mut Output) -> Progressed {
        let (Some(tag), Syntax::Good) = (command.tag.clone(), command.syntax) else {
            return self.fail(command.tag.as_ref(), b"BAD Syntax error", output);
        };
        match command.verb {
            Verb::Login => self.login(tag, &command, output),
            Verb::Authenticate => self.authenticate(tag, &command, output),
            Verb::Id => {
                if self.peer == PeerTrust::Proxy {
                    self.hops = hops(&command.arguments).or(self.hops);
                }
                output.put(b"* ID NIL\r\n");
                say(output, Some(&tag), b"OK ID completed");
                None
            }
            Verb::Other => {
                say(
                    output,
                    Some(&tag),
                    b"BAD Command not known or not permitted before login",
                );
                None
            }
            _ if !command.arguments.is_empty() => self.fail(Some(&tag), b"BAD Too many arguments", output),
            Verb::Capability => {
                output.line(&[b"* CAPABILITY ", &self.capabilities()]);
                say(output, Some(&tag), b"OK CAPABILITY completed");
                None
            }
            Verb::Noop => {
                say(output, Some(&tag), b"OK NOOP completed");
                None
            }
            Verb::Logout => {
                output.put(b"* BYE Logging out\r\n");
                say(output, Some(&tag), b"OK LOGOUT completed");
                self.close(Why::Quit)
            }
            Verb::StartTls if self.start_tls == StartTls::Offered => {
                say(output, Some(&tag), b"OK Begin TLS negotiation now");
                self.state = State::Idle;
                Some(Step::StartTls(input.discard()))
            }
            Verb::StartTls => {
                say(output, Some(&tag), b"BAD STARTTLS is not available");
                None
            }
        }
    }

    fn capabilities(&self) -> Vec<u8> {
        let mut words: Vec<String> = self.words.advertise.to_vec();
        words.extend(
            self.access
                .offered()
                .iter()
                .map(|mechanism| format!("AUTH={}", mechanism.as_str())),
        );
        if self.access.gate() == Gate::Shut {
            words.push("LOGINDISABLED".to_owned());
        }
        if self.start_tls == StartTls::Offered {
            words.push("STARTTLS".to_owned());
        }
        words.join(" ").into_bytes()
    }

    fn login(&mut self, tag: Tag, command: &Command, output: &mut Output) -> Progressed {
        if self.access.gate() == Gate::Shut {
            return self.refuse(&tag, Failure::NotPrivate, output);
        }
        match command.texts().as_deref() {
            Some([user, password]) => match Credential::password(user, password) {
                Ok((credential, routing)) => self.done(tag, Method::Command, credential, routing),
                Err(_) => self.refuse(&tag, Failure::Malformed, output),
            },
            Some([] | [_]) => self.fail(Some(&tag), b"NO LOGIN needs a name and a password", output),
            Some(_) | None => self.fail(Some(&tag), b"BAD LOGIN takes a name and a password", output),
        }
    }

    fn authenticate(&mut self, tag: Tag, command: &Command, output: &mut Output) -> Progressed {
        // Blanks inside base64 are ignored, so what they part is put together again.
        let Some((name, rest)) = command.texts().and_then(|texts| {
            texts
                .split_first()
                .map(|(name, rest)| (name.to_vec(), crate::secret::concat(rest)))
        }) else {
            return self.fail(Some(&tag), b"BAD AUTHENTICATE needs a mechanism", output);
        };
        let initial = (command.arguments.len() > 1).then_some(&**rest);
        let progress = Exchange::start(&self.access, &name, initial);
        self.proceed(tag, progress, output)
    }

    fn response(
        &mut self,
        tag: Tag,
        exchange: Exchange,
        input: &mut Input,
        output: &mut Output,
    ) -> Progressed {
        match line::find(input, LINE_LIMIT) {
            Ok(Some(line)) => {
                let progress = exchange.respond(&self.access, &input.unread()[..line.text]);
                input.consume(line.whole);
                self.proceed(tag, progress, output)
            }
            Ok(None) => {
                self.state = State::Response(tag, exchange);
                Some(Step::NeedInput)
            }
            Err(line::TooLong) => self.too_long(output),
        }
    }

    fn proceed(&mut self, tag: Tag, progress: Progress, output: &mut Output) -> Progressed {
        match progress {
            Progress::Prompt(prompt, exchange) => {
                output.line(&[b"+ ", prompt.encoded().as_bytes()]);
                self.state = State::Response(tag, exchange);
                None
            }
            Progress::Done(mechanism, credential, routing) => {
                self.done(tag, Method::Sasl(mechanism), credential, routing)
            }
            Progress::Failed(failure) => self.refuse(&tag, failure, output),
        }
    }

    fn done(&mut self, tag: Tag, method: Method, credential: Credential, routing: Routing) -> Progressed {
        self.state = State::Idle;
        Some(Step::Done(ClientOutcome::Login(Box::new(Login {
            credential,
            routing,
            method,
            command: ClientCommand(Kind::Imap(tag)),
            helo: None,
            hops: self.hops,
        }))))
    }

    fn refuse(&mut self, tag: &Tag, failure: Failure, output: &mut Output) -> Progressed {
        if failure.counts() {
            return self.fail(Some(tag), words_for(failure), output);
        }
        say(output, Some(tag), words_for(failure));
        None
    }

    fn fail(&mut self, tag: Option<&Tag>, reply: &[u8], output: &mut Output) -> Progressed {
        say(output, tag, reply);
        match self.access.failed() {
            Attempt::MayGoOn => None,
            Attempt::Last => {
                output.put(b"* BYE Too many errors\r\n");
                self.close(Why::TooManyFailures)
            }
        }
    }

    /// There is no telling where the next command starts.
    fn too_long(&mut self, output: &mut Output) -> Progressed {
        output.put(b"* BYE Line or literal too long\r\n");
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

    /// Everything said in clear is forgotten.
    fn tls_started(&mut self, tls: TlsEstablished) {
        self.access.encrypted(&tls);
        self.start_tls = StartTls::NotOffered;
        self.hops = None;
        self.state = State::Command;
    }
}

/// One tagged line; untagged when the command had no tag.
fn say(output: &mut Output, tag: Option<&Tag>, words: &[u8]) {
    output.line(&[tag.map_or(b"*", Tag::as_bytes), b" ", words]);
}

/// Behaviour §2, the IMAP row.
const fn words_for(failure: Failure) -> &'static [u8] {
    match failure {
        Failure::Aborted => b"BAD Authentication cancelled",
        Failure::BadBase64 => b"BAD Invalid base64",
        Failure::Malformed => b"NO Malformed credentials",
        Failure::Unsupported => b"NO Unsupported mechanism",
        Failure::NotPrivate => b"NO [PRIVACYREQUIRED] Encryption required for authentication",
    }
}

/// `"x-proxy-ttl" "N"` among the fields of an ID.
fn hops(arguments: &[Argument]) -> Option<Hops> {
    arguments.windows(2).find_map(|pair| match pair {
        [Argument::Text(name), Argument::Text(value)] if name.eq_ignore_ascii_case(b"x-proxy-ttl") => {
            Hops::parse(value)
        }
        _ => None,
    })
}
