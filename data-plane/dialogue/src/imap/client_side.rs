//! What an IMAP client is told before login: greeting, the commands that are answered, AUTHENTICATE and LOGIN
//! (behaviour §6.1), over `syntax`.

use super::syntax::{Argument, Command, Next, Syntax, Verb};
use super::{Tag, Words};
use crate::attributes::{Helo, Hops};
use crate::client::pre_login::{Grammar, Heard, Standing, StartTls};
use crate::client::{Gate, PeerTrust, Why};
use crate::command::{ClientCommand, Kind};
use crate::input::Input;
use crate::limits::LINE_LIMIT;
use crate::line::{self, Literal, Sync};
use crate::output::Output;
use crate::sasl::{Exchange, Failure, Progress, Prompt};

/// The words of one connection, and the command that it is in the middle of.
pub(crate) struct ClientSide {
    words: Words,
    reading: Reading,
}

enum Reading {
    Command,
    /// Octets of a literal that are still to come.
    Literal(Command, usize),
    /// The rest of the line behind a literal.
    Resume(Command),
}

impl ClientSide {
    pub(crate) fn new(words: Words) -> Self {
        Self {
            words,
            reading: Reading::Command,
        }
    }

    fn begin(&mut self, standing: &mut Standing, input: &mut Input, output: &mut Output) -> Heard<Tag> {
        match line::find(input, LINE_LIMIT) {
            Ok(Some(line)) => {
                let (command, next) = Command::begin(&input.unread()[..line.text]);
                input.consume(line.whole);
                self.follow(command, next, standing, output)
            }
            Ok(None) => Heard::Incomplete,
            Err(line::TooLong) => Heard::TooLong,
        }
    }

    fn resume(
        &mut self,
        mut command: Command,
        standing: &mut Standing,
        input: &mut Input,
        output: &mut Output,
    ) -> Heard<Tag> {
        match line::find(input, command.room()) {
            Ok(Some(line)) => {
                let next = command.resume(&input.unread()[..line.text]);
                input.consume(line.whole);
                self.follow(command, next, standing, output)
            }
            Ok(None) => {
                self.reading = Reading::Resume(command);
                Heard::Incomplete
            }
            Err(line::TooLong) => Heard::TooLong,
        }
    }

    fn follow(
        &mut self,
        command: Command,
        next: Next,
        standing: &mut Standing,
        output: &mut Output,
    ) -> Heard<Tag> {
        match next {
            Next::Complete => self.execute(command, standing, output),
            Next::Literal(Literal {
                size,
                sync: Sync::Flows,
                ..
            }) if size > command.room() => Heard::TooLong,
            Next::Literal(Literal {
                size,
                sync: Sync::Flows,
                ..
            }) => {
                self.reading = Reading::Literal(command, size);
                Heard::More
            }
            Next::Literal(Literal {
                size,
                sync: Sync::Waits,
                ..
            }) => self.invite(command, size, standing, output),
        }
    }

    /// The client waits before it sends a literal: it is asked for it only when it is wanted.
    fn invite(
        &mut self,
        command: Command,
        size: usize,
        standing: &mut Standing,
        output: &mut Output,
    ) -> Heard<Tag> {
        let secret = matches!(command.verb, Verb::Login | Verb::Authenticate);
        if !command.reads_arguments() || (secret && standing.access.gate() == Gate::Shut) {
            return self.execute(command, standing, output);
        }
        if size > command.room() {
            return fail(command.tag.as_ref(), b"BAD [TOOBIG] Literal too long", output);
        }
        output.put(format!("+ Ready for {size} bytes.\r\n").as_bytes());
        self.reading = Reading::Literal(command, size);
        Heard::More
    }

    fn literal(&mut self, mut command: Command, left: usize, input: &mut Input) -> Heard<Tag> {
        let here = left.min(input.len());
        command.literal(&input.unread()[..here]);
        input.consume(here);
        if left == here {
            self.reading = Reading::Resume(command);
            Heard::More
        } else {
            self.reading = Reading::Literal(command, left - here);
            Heard::Incomplete
        }
    }

    fn execute(&mut self, command: Command, standing: &mut Standing, output: &mut Output) -> Heard<Tag> {
        let (Some(tag), Syntax::Good) = (command.tag.clone(), command.syntax) else {
            return fail(command.tag.as_ref(), b"BAD Syntax error", output);
        };
        match command.verb {
            Verb::Login => login(tag, &command, standing, output),
            Verb::Authenticate => authenticate(tag, &command, standing, output),
            Verb::Id => {
                if standing.peer == PeerTrust::Proxy {
                    standing.hops = hops(&command.arguments).or(standing.hops);
                }
                output.put(b"* ID NIL\r\n");
                answer(output, Some(&tag), b"OK ID completed")
            }
            Verb::Other => answer(
                output,
                Some(&tag),
                b"BAD Command not known or not permitted before login",
            ),
            _ if !command.arguments.is_empty() => fail(Some(&tag), b"BAD Too many arguments", output),
            Verb::Capability => {
                output.line(&[b"* CAPABILITY ", &self.capabilities(standing)]);
                answer(output, Some(&tag), b"OK CAPABILITY completed")
            }
            Verb::Noop => answer(output, Some(&tag), b"OK NOOP completed"),
            Verb::Logout => {
                output.put(b"* BYE Logging out\r\n");
                say(output, Some(&tag), b"OK LOGOUT completed");
                Heard::Quit
            }
            Verb::StartTls if standing.start_tls == StartTls::Offered => {
                say(output, Some(&tag), b"OK Begin TLS negotiation now");
                Heard::StartTls
            }
            Verb::StartTls => answer(output, Some(&tag), b"BAD STARTTLS is not available"),
        }
    }

    fn capabilities(&self, standing: &Standing) -> Vec<u8> {
        let mut words: Vec<String> = self.words.advertise.to_vec();
        words.extend(
            standing
                .access
                .offered()
                .iter()
                .map(|mechanism| format!("AUTH={}", mechanism.as_str())),
        );
        if standing.access.gate() == Gate::Shut {
            words.push("LOGINDISABLED".to_owned());
        }
        if standing.start_tls == StartTls::Offered {
            words.push("STARTTLS".to_owned());
        }
        words.join(" ").into_bytes()
    }
}

impl Grammar for ClientSide {
    type Command = Tag;

    fn greet(&mut self, standing: &Standing, output: &mut Output) {
        output.line(&[
            b"* OK [CAPABILITY ",
            &self.capabilities(standing),
            b"] ",
            self.words.banner.as_bytes(),
        ]);
    }

    fn hear(&mut self, standing: &mut Standing, input: &mut Input, output: &mut Output) -> Heard<Tag> {
        match std::mem::replace(&mut self.reading, Reading::Command) {
            Reading::Command => self.begin(standing, input, output),
            Reading::Literal(command, left) => self.literal(command, left, input),
            Reading::Resume(command) => self.resume(command, standing, input, output),
        }
    }

    fn prompt(&self, prompt: Prompt, output: &mut Output) {
        output.line(&[b"+ ", prompt.encoded().as_bytes()]);
    }

    fn refuse(&self, tag: &Tag, failure: Failure, output: &mut Output) {
        let words: &[u8] = match failure {
            Failure::Aborted => b"BAD Authentication cancelled",
            Failure::BadBase64 => b"BAD Invalid base64",
            Failure::Malformed => b"NO Malformed credentials",
            Failure::Unsupported => b"NO Unsupported mechanism",
            Failure::NotPrivate => b"NO [PRIVACYREQUIRED] Encryption required for authentication",
        };
        output.line(&[tag.as_bytes(), b" ", words]);
    }

    fn last_words(&self, why: Why, output: &mut Output) {
        output.put(match why {
            Why::TooLong => b"* BYE Line or literal too long\r\n",
            Why::TooManyFailures | Why::Quit => b"* BYE Too many errors\r\n",
        });
    }

    /// Nothing was kept; the client asks for the capabilities again (RFC 9051 §6.2.1).
    fn upgraded(&mut self, _: &Standing, _: &mut Output) {}

    fn login(&mut self, tag: Tag) -> (ClientCommand, Option<Helo>) {
        (ClientCommand(Kind::Imap(tag)), None)
    }
}

fn login(tag: Tag, command: &Command, standing: &Standing, output: &mut Output) -> Heard<Tag> {
    if standing.access.gate() == Gate::Shut {
        return Heard::Sasl(tag, Progress::Failed(Failure::NotPrivate));
    }
    match command.texts().as_deref() {
        Some([user, password]) => Heard::Sasl(tag, Progress::password(&standing.access, user, password)),
        Some([] | [_]) => fail(Some(&tag), b"NO LOGIN needs a name and a password", output),
        Some(_) | None => fail(Some(&tag), b"BAD LOGIN takes a name and a password", output),
    }
}

fn authenticate(tag: Tag, command: &Command, standing: &Standing, output: &mut Output) -> Heard<Tag> {
    let texts = command.texts().unwrap_or_default();
    let progress = match texts.as_slice() {
        [] => return fail(Some(&tag), b"BAD AUTHENTICATE needs a mechanism", output),
        [name] => Exchange::start(&standing.access, name, None),
        [name, initial] => Exchange::start(&standing.access, name, Some(initial)),
        // Blanks inside base64 are ignored, so what they part is put together again.
        [name, parts @ ..] => Exchange::start(&standing.access, name, Some(&crate::secret::concat(parts))),
    };
    Heard::Sasl(tag, progress)
}

/// One tagged line; untagged when the command had no tag.
fn say(output: &mut Output, tag: Option<&Tag>, words: &[u8]) {
    output.line(&[tag.map_or(b"*", Tag::as_bytes), b" ", words]);
}

fn answer(output: &mut Output, tag: Option<&Tag>, words: &[u8]) -> Heard<Tag> {
    say(output, tag, words);
    Heard::More
}

fn fail(tag: Option<&Tag>, reply: &[u8], output: &mut Output) -> Heard<Tag> {
    say(output, tag, reply);
    Heard::Failed
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
