//! The shape of every dialogue with a client before its login: greeting, commands, STARTTLS, a SASL exchange, failures
//! that are counted. Ends with a login or with a closed connection.
//!
//! A protocol gives its `Grammar`: how its commands are read and what is replied. It does not count, does not close, does
//! not hold the exchange, and cannot go on in clear behind a STARTTLS that it has agreed to.

use crate::attributes::{Helo, Hops};
use crate::client::{Access, Attempt, ClientLeg, ClientOutcome, Login, PeerTrust, Why};
use crate::command::ClientCommand;
use crate::dialogue::{Dialogue, Step};
use crate::input::{Input, TlsEstablished};
use crate::limits::LINE_LIMIT;
use crate::line;
use crate::output::Output;
use crate::sasl::{Exchange, Failure, Progress, Prompt};

/// How it stands with a client, whatever it speaks.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) access: Access,
    pub(crate) peer: PeerTrust,
    pub(crate) start_tls: StartTls,
    /// What a proxy of ours has said of hops.
    pub(crate) hops: Option<Hops>,
}

/// Whether STARTTLS is on offer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartTls {
    Offered,
    NotOffered,
}

/// What a protocol says and understands before login.
pub(crate) trait Grammar {
    /// What the answer to a login needs to know of its command: IMAP's tag.
    type Command;

    /// The first words.
    fn greet(&mut self, standing: &Standing, output: &mut Output);

    /// Reads the next command, or a part of it, and replies.
    fn hear(
        &mut self,
        standing: &mut Standing,
        input: &mut Input,
        output: &mut Output,
    ) -> Heard<Self::Command>;

    /// Reads the response to a prompt: a line, unless the protocol has another form.
    fn respond(&mut self, exchange: Exchange, standing: &Standing, input: &mut Input) -> Responded {
        match line::find(input, LINE_LIMIT) {
            Ok(Some(line)) => {
                let progress = exchange.respond(&standing.access, &input.unread()[..line.text]);
                input.consume(line.whole);
                Responded::Read(progress)
            }
            Ok(None) => Responded::Incomplete(exchange),
            Err(line::TooLong) => Responded::TooLong,
        }
    }

    /// Asks for the next response.
    fn prompt(&self, prompt: Prompt, output: &mut Output);

    /// Why no login came of a command (behaviour §2).
    fn refuse(&self, command: &Self::Command, failure: Failure, output: &mut Output);

    /// What is said before the connection is closed for that reason. Not called when the client quits.
    fn last_words(&self, why: Why, output: &mut Output);

    /// TLS stands: forgets what was said in clear, and says what the protocol has the server say now.
    fn upgraded(&mut self, standing: &Standing, output: &mut Output);

    /// The command that waits for the backend's answer, and the EHLO argument.
    fn login(&mut self, command: Self::Command) -> (ClientCommand, Option<Helo>);
}

/// What came of reading.
pub(crate) enum Heard<Command> {
    /// A command that is answered, or a part of one: there may be more to do.
    More,
    /// Nothing: the rest of it has still to come.
    Incomplete,
    /// Answered with an error that counts.
    Failed,
    /// An exchange has begun, or all of a credential is there.
    Sasl(Command, Progress),
    /// Agreed to: TLS starts.
    StartTls,
    /// The client said goodbye, and was answered.
    Quit,
    /// There is no telling where the next command starts.
    TooLong,
}

/// What came of reading a response.
pub(crate) enum Responded {
    Read(Progress),
    /// The rest of it has still to come.
    Incomplete(Exchange),
    TooLong,
}

/// The dialogue.
pub(crate) struct PreLogin<G: Grammar> {
    grammar: G,
    standing: Standing,
    phase: Phase<G::Command>,
}

enum Phase<Command> {
    Greeting,
    Command,
    Response(Command, Exchange),
    /// TLS stands, and nothing was said in it.
    Upgraded,
    /// Waits for `tls_started`, or has ended.
    Idle,
}

/// `None`: there may be more to do.
type Progressed = Option<Step<ClientOutcome>>;

impl<G: Grammar> PreLogin<G> {
    pub(crate) fn new(grammar: G, access: Access, leg: &ClientLeg, peer: PeerTrust) -> Self {
        let start_tls = match leg {
            ClientLeg::StartTls => StartTls::Offered,
            ClientLeg::Encrypted(_) | ClientLeg::Plain => StartTls::NotOffered,
        };
        let standing = Standing {
            access,
            peer,
            start_tls,
            hops: None,
        };
        Self {
            grammar,
            standing,
            phase: Phase::Greeting,
        }
    }

    fn advance(&mut self, input: &mut Input, output: &mut Output) -> Progressed {
        match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Greeting => {
                self.grammar.greet(&self.standing, output);
                None
            }
            Phase::Upgraded => {
                self.grammar.upgraded(&self.standing, output);
                None
            }
            Phase::Command => {
                let heard = self.grammar.hear(&mut self.standing, input, output);
                self.follow(heard, input, output)
            }
            Phase::Response(command, exchange) => {
                match self.grammar.respond(exchange, &self.standing, input) {
                    Responded::Read(progress) => self.proceed(command, progress, output),
                    Responded::Incomplete(exchange) => {
                        self.phase = Phase::Response(command, exchange);
                        Some(Step::NeedInput)
                    }
                    Responded::TooLong => self.close(Why::TooLong, output),
                }
            }
            Phase::Idle => {
                self.phase = Phase::Idle;
                Some(Step::NeedInput)
            }
        }
    }

    fn follow(&mut self, heard: Heard<G::Command>, input: &mut Input, output: &mut Output) -> Progressed {
        match heard {
            Heard::More => None,
            Heard::Incomplete => Some(Step::NeedInput),
            Heard::Failed => self.failed(output),
            Heard::Sasl(command, progress) => self.proceed(command, progress, output),
            Heard::StartTls => {
                self.phase = Phase::Idle;
                Some(Step::StartTls(input.discard()))
            }
            Heard::Quit => self.close(Why::Quit, output),
            Heard::TooLong => self.close(Why::TooLong, output),
        }
    }

    fn proceed(&mut self, command: G::Command, progress: Progress, output: &mut Output) -> Progressed {
        match progress {
            Progress::Prompt(prompt, exchange) => {
                self.grammar.prompt(prompt, output);
                self.phase = Phase::Response(command, exchange);
                None
            }
            Progress::Done(method, credential, routing) => {
                let (command, helo) = self.grammar.login(command);
                self.phase = Phase::Idle;
                Some(Step::Done(ClientOutcome::Login(Box::new(Login {
                    credential,
                    routing,
                    method,
                    command,
                    helo,
                    hops: self.standing.hops,
                }))))
            }
            Progress::Failed(failure) => {
                self.grammar.refuse(&command, failure, output);
                if failure.counts() {
                    self.failed(output)
                } else {
                    None
                }
            }
        }
    }

    fn failed(&mut self, output: &mut Output) -> Progressed {
        match self.standing.access.failed() {
            Attempt::MayGoOn => None,
            Attempt::Last => self.close(Why::TooManyFailures, output),
        }
    }

    fn close(&mut self, why: Why, output: &mut Output) -> Progressed {
        if why != Why::Quit {
            self.grammar.last_words(why, output);
        }
        self.phase = Phase::Idle;
        Some(Step::Done(ClientOutcome::Closed(why)))
    }
}

impl<G: Grammar> Dialogue for PreLogin<G> {
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
        self.standing.access.encrypted(&tls);
        self.standing.start_tls = StartTls::NotOffered;
        self.standing.hops = None;
        self.phase = Phase::Upgraded;
    }
}
