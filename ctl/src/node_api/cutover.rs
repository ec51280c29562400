//! A cutover of one node: every login of the account is delayed, its sessions are kicked, copied and verified under that,
//! the mappings are written, whatever slipped through is kicked again, and the logins go on.
//!
//! Success means: this node has no session of the account on the source, and will admit none. It says nothing of another
//! proxy in front of the same servers. What fails before the mappings are written changes nothing; a mapping that was
//! written when the next one failed is written back.

use std::time::{Duration, Instant};

use mailswitch_proto::control::v1::Operation;
use serde::Serialize;

use super::client::Client;
use super::verbs::{Resolved, delay, delete, kick, known, look_up, put};
use crate::exit::{Exit, Failure};
use crate::hook::{Commands, Environment, HookName, precopy, under_delay};
use crate::interrupt::Interrupt;
use crate::output::{Output, Render};

/// A login is delayed for no longer than this (management-api 3.6): then it would look again, and find the source.
const LONGEST_HOLD: Duration = Duration::from_secs(120);
/// Without `--max-hold`.
const USUAL_HOLD: Duration = Duration::from_secs(60);
/// Between two kicks of what does not end.
const BETWEEN_KICKS: Duration = Duration::from_secs(1);
/// From the end of the commands to the last mapping written.
const TO_WRITE: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Debug)]
pub struct Plan {
    /// Every login of the account.
    pub logins: Vec<String>,
    /// Where it must be.
    pub from: Vec<String>,
    /// Where it goes.
    pub to: String,
    /// Before the hold.
    pub precopy: Option<String>,
    /// Under it.
    pub commands: Commands,
    /// How long logins may wait.
    pub max_hold: Option<Duration>,
    /// Only look.
    pub dry_run: bool,
    /// No progress on stderr.
    pub quiet: bool,
}

/// What became of it.
#[derive(Debug, Serialize)]
struct Done {
    logins: Vec<String>,
    from: Vec<String>,
    to: String,
    /// `done`, `released`, `tried`.
    outcome: &'static str,
    cause: Option<String>,
    /// Sessions and logins that were ended or made to look again.
    kicked: u64,
    held_millis: u64,
}

impl Render for Done {
    fn table(&self) -> String {
        let logins = self.logins.join(", ");
        let (from, to) = (self.from.join(", "), &self.to);
        match self.outcome {
            "tried" => format!("{logins} would go from {from} to {to}\n"),
            "done" => format!(
                "{logins}: moved from {from} to {to}\n{} sessions were ended; logins waited for {} at most\n",
                self.kicked,
                crate::output::span(self.held_millis)
            ),
            _ => format!(
                "{logins}: released to {from}: {}\n{} sessions were ended\n",
                self.cause.as_deref().unwrap_or_default(),
                self.kicked
            ),
        }
    }
}

pub(super) async fn run(client: Client, output: Output, plan: Plan) -> Result<Exit, Failure> {
    let hold = plan.max_hold.unwrap_or(USUAL_HOLD);
    if hold > LONGEST_HOLD || hold < TO_WRITE * 2 {
        return Err(
            Failure::usage("over --node-api, --max-hold is from 10s to 120s").remedy(
                "a single node delays a login for 120 s at most; copy most of it before, with --precopy",
            ),
        );
    }
    let mut interrupt = Interrupt::listen()?;
    let before = look_at_all(&client, &plan).await?;
    let mut cutover = Cutover {
        client,
        hold,
        until: Instant::now(),
        began: Instant::now(),
        kicked: 0,
        before,
        plan,
    };
    if cutover.plan.dry_run {
        output.print(&cutover.said("tried", None))?;
        return Ok(Exit::Done);
    }
    if let Some(command) = &cutover.plan.precopy {
        cutover.tell("precopy");
        precopy(command, &cutover.environment(HookName::Precopy), &mut interrupt).await?;
    }
    match cutover.move_it(&mut interrupt).await {
        Ok(()) => {
            output.print(&cutover.said("done", None))?;
            Ok(Exit::Done)
        }
        Err(Stopped::Released(why)) => {
            output.print(&cutover.said("released", Some(why)))?;
            Ok(Exit::Released)
        }
        Err(Stopped::Interrupted) => {
            output.print(&cutover.said("released", Some("interrupted".to_owned())))?;
            Ok(Exit::Interrupted)
        }
        Err(Stopped::Unknown(failure)) => Err(failure),
    }
}

/// Where every login is; and that it is where `--from` says.
async fn look_at_all(client: &Client, plan: &Plan) -> Result<Vec<Resolved>, Failure> {
    for destination in plan.from.iter().chain([&plan.to]) {
        known(client, destination).await?;
    }
    let mut before: Vec<Resolved> = Vec::new();
    for login in &plan.logins {
        let resolved = look_up(client, login).await?;
        if resolved.source.as_deref() == Some("error") {
            return Err(Failure::new(
                Exit::Precondition,
                format!("where {login} is cannot be read; nothing was changed"),
            )
            .remedy("bring the mapping source back"));
        }
        resolved.standing.refuses_changes(client)?;
        if resolved.normalized.starts_with('@') {
            return Err(Failure::new(
                Exit::Precondition,
                format!(
                    "{} is a whole domain, and a cutover moves one account; nothing was changed",
                    resolved.normalized
                ),
            )
            .remedy("move its accounts one by one; `mapping set` then moves those that nobody knows, without a proof"));
        }
        let at = resolved.destination.as_deref().unwrap_or("no destination");
        if !plan.from.iter().any(|from| from == at) {
            return Err(Failure::new(
                Exit::Precondition,
                format!(
                    "{login} is at {at}, not at {}; nothing was changed",
                    plan.from.join(" or ")
                ),
            ));
        }
        if !before.iter().any(|known| known.normalized == resolved.normalized) {
            before.push(resolved);
        }
    }
    if let Some(there) = before.iter().find(|resolved| resolved.is_at(&plan.to)) {
        return Err(Failure::new(
            Exit::Precondition,
            format!(
                "{} is at {} already; nothing was changed",
                there.normalized, plan.to
            ),
        ));
    }
    Ok(before)
}

struct Cutover {
    client: Client,
    plan: Plan,
    before: Vec<Resolved>,
    hold: Duration,
    began: Instant,
    /// The delay ends.
    until: Instant,
    kicked: u64,
}

/// What became of the sessions that were kicked.
#[derive(Debug, Clone, Copy)]
enum Ends {
    /// Of each, its end was seen.
    Seen,
    /// So many are open.
    Open(u64),
    /// The node's program does not say.
    NotSaid,
}

fn unproven(what: String) -> Stopped {
    Stopped::Unknown(
        Failure::new(Exit::Unproven, what)
            .remedy("its log names the sessions of the account; kick it again when they are over"),
    )
}

/// Why it is not done.
enum Stopped {
    /// Nothing has changed.
    Released(String),
    /// The same, because we were told to stop.
    Interrupted,
    /// Some logins may have moved, others not; or sessions on the source may be left.
    Unknown(Failure),
}

impl Cutover {
    async fn move_it(&mut self, interrupt: &mut Interrupt) -> Result<(), Stopped> {
        let held = match self.hold_all().await {
            Ok(()) => self.under_the_hold(interrupt).await,
            Err(stopped) => Err(stopped),
        };
        // The delay ends by itself if this does not arrive.
        self.tell("releasing");
        for resolved in &self.before {
            if let Err(failure) = self.client.line(delay(&resolved.normalized, 0)).await {
                eprintln!(
                    "warning: {}; its logins wait up to {} s more",
                    failure.what,
                    self.hold.as_secs()
                );
            }
        }
        held
    }

    async fn under_the_hold(&mut self, interrupt: &mut Interrupt) -> Result<(), Stopped> {
        // Twice: a login that the first one made look again has looked.
        for _ in 0..2 {
            match self.kick_until_all_have_ended().await {
                Ok(Ends::Seen) => {}
                Ok(Ends::Open(open)) => {
                    return Err(Stopped::Released(format!("{open} sessions did not end")));
                }
                // The last kick says it; here nothing rests on it.
                Ok(Ends::NotSaid) => {}
                Err(failure) => return Err(Stopped::Released(failure.what)),
            }
        }
        let commands = [
            (HookName::Copy, self.plan.commands.copy.clone()),
            (HookName::Verify, self.plan.commands.verify.clone()),
        ];
        for (hook, command) in commands {
            let Some(command) = command else { continue };
            self.tell(hook.as_str());
            let until = self.until.checked_sub(TO_WRITE).unwrap_or(self.until);
            match under_delay(&command, &self.environment(hook), until, interrupt).await {
                Ok(()) => {}
                Err(None) => return Err(Stopped::Interrupted),
                Err(Some(why)) => return Err(Stopped::Released(format!("{} failed: {why}", hook.as_str()))),
            }
        }
        if Instant::now() + TO_WRITE > self.until + Duration::from_millis(1) {
            return Err(Stopped::Released(
                "there was no time left under --max-hold".to_owned(),
            ));
        }
        self.is_where_it_was().await?;
        self.tell("flipping");
        self.write_all().await?;
        match self.kick_until_all_have_ended().await.map_err(Stopped::Unknown)? {
            Ends::Seen => Ok(()),
            Ends::Open(open) => Err(unproven(format!(
                "the mappings are written, and {open} sessions on the source have not ended"
            ))),
            Ends::NotSaid => Err(unproven(
                "the mappings are written and the sessions kicked; this program does not say whether they have ended".to_owned(),
            )),
        }
    }

    async fn hold_all(&mut self) -> Result<(), Stopped> {
        self.tell("holding");
        self.began = Instant::now();
        self.until = self.began + self.hold;
        for resolved in &self.before {
            // One second more: the node's clock is read later than ours.
            let ask = delay(&resolved.normalized, self.hold.as_secs() + 1);
            self.client
                .line(ask)
                .await
                .map_err(|failure| Stopped::Released(failure.what))?;
        }
        Ok(())
    }

    /// As long as the hold leaves time.
    async fn kick_until_all_have_ended(&mut self) -> Result<Ends, Failure> {
        loop {
            let ends = self.kick_all().await?;
            let Ends::Open(_) = ends else { return Ok(ends) };
            if Instant::now() + TO_WRITE * 2 > self.until {
                return Ok(ends);
            }
            tokio::time::sleep(BETWEEN_KICKS).await;
        }
    }

    async fn kick_all(&mut self) -> Result<Ends, Failure> {
        let mut ends = Ends::Seen;
        for resolved in &self.before {
            let answered = self.client.answer(kick(&resolved.normalized)).await?;
            let said = answered.line();
            let count = said
                .strip_prefix("kicked ")
                .and_then(|count| count.parse::<u64>().ok());
            let Some(count) = count else {
                let what = format!("the node answered a kick with {said:?}");
                return Err(Failure::new(Exit::Unknown, what));
            };
            self.kicked += count;
            ends = match (ends, answered.still_open) {
                (_, None) | (Ends::NotSaid, _) => Ends::NotSaid,
                (Ends::Seen, Some(0)) => Ends::Seen,
                (Ends::Seen, Some(open)) => Ends::Open(open),
                (Ends::Open(before), Some(open)) => Ends::Open(before + open),
            };
        }
        Ok(ends)
    }

    /// Somebody else may have moved it while the commands ran, and freed its logins.
    async fn is_where_it_was(&self) -> Result<(), Stopped> {
        for known in &self.before {
            let now = look_up(&self.client, &known.normalized)
                .await
                .map_err(|failure| Stopped::Released(failure.what))?;
            if now.destination != known.destination {
                return Err(Stopped::Released(format!(
                    "{} was moved to {} meanwhile, not by this cutover",
                    known.normalized,
                    now.destination.as_deref().unwrap_or("no destination")
                )));
            }
        }
        Ok(())
    }

    /// All of them, or, as far as the node answers, none.
    async fn write_all(&self) -> Result<(), Stopped> {
        for (number, resolved) in self.before.iter().enumerate() {
            let Err(failure) = self.client.line(put(&resolved.normalized, &self.plan.to)).await else {
                continue;
            };
            // Also the one that failed, if it was done; what was refused has nothing to put back.
            for resolved in &self.before[..=number] {
                let now = look_up(&self.client, &resolved.normalized).await;
                if now.is_ok_and(|now| !now.is_at(&self.plan.to)) {
                    continue;
                }
                let back = match (resolved.source.as_deref(), &resolved.destination) {
                    (Some("default"), _) | (_, None) => delete(&resolved.normalized),
                    (_, Some(destination)) => put(&resolved.normalized, destination),
                };
                if let Err(second) = self.client.line(back).await {
                    let what = format!(
                        "{}; and {} could not be put back: {}",
                        failure.what, resolved.normalized, second.what
                    );
                    return Err(Stopped::Unknown(
                        Failure::new(Exit::Unknown, what)
                            .remedy("`mapping get` shows where each login is; set it, and kick it"),
                    ));
                }
            }
            return Err(Stopped::Released(failure.what));
        }
        Ok(())
    }

    fn environment(&self, hook: HookName) -> Environment {
        let first = self.before.first();
        Environment::of(
            hook,
            &Operation {
                account: first.map(|one| one.normalized.clone()).unwrap_or_default(),
                identifiers: self.before.iter().map(|one| one.normalized.clone()).collect(),
                from: self.sources(),
                to: self.plan.to.clone(),
                ..Operation::default()
            },
        )
    }

    fn sources(&self) -> Vec<String> {
        let mut from: Vec<String> = self
            .before
            .iter()
            .filter_map(|one| one.destination.clone())
            .collect();
        from.sort();
        from.dedup();
        from
    }

    fn said(&self, outcome: &'static str, cause: Option<String>) -> Done {
        let held = match outcome {
            "tried" => Duration::ZERO,
            _ => self.began.elapsed(),
        };
        Done {
            logins: self.before.iter().map(|one| one.normalized.clone()).collect(),
            from: self.sources(),
            to: self.plan.to.clone(),
            outcome,
            cause,
            kicked: self.kicked,
            held_millis: u64::try_from(held.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn tell(&self, step: &str) {
        if !self.plan.quiet {
            eprintln!("{step}");
        }
    }
}
