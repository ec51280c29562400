//! An account that goes back and forth fifty times, each time by a PUT and a kick, while it is used over every protocol without
//! pause: nobody's login fails, and nobody is served on the side that was left.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use mailswitch_tests::{
    ca::Ca,
    http::python::Running,
    load::{Endpoints, Load, Seen},
    place::Place,
    when::{Moment, wait_until},
};
use serde_json::{Value, json};

use super::{ALICE, LOG_DELAY, Node, SOON, Side, streams};

const MOVES: usize = 50;

/// A side was left, and stayed so for a while.
struct Left<'a> {
    side: &'a Side,
    /// The kick had its answer.
    answered: Moment,
    /// The next PUT.
    until: Moment,
}

#[test]
fn fifty_moves_in_a_row_fail_no_login_and_nobody_is_served_on_the_side_that_was_left() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let sides = [
        Side::start(&place, &ca, "legacy")?,
        Side::start(&place, &ca, "new")?,
    ];
    let tables = ["legacy", "new"]
        .iter()
        .zip(&sides)
        .map(|(name, side)| side.doors("implicit").table(name, "implicit"));
    let node = Node::start(&place, &ca, &tables.collect::<String>())?;
    let at = |protocol: &str| -> Result<_> { Ok([(node.at(protocol)?, "implicit")]) };
    let endpoints = Endpoints {
        imap: &at("imap")?,
        pop3: &at("pop3")?,
        sieve: &at("managesieve")?,
        submission: &at("submission")?,
    };
    let load = Load::over(&place, &ca, &[ALICE], endpoints)?;
    let mut web = Web::start(&node)?;
    wait_until("the clients are at work", SOON, || load.logins() > 10)?;

    let mut left = Vec::new();
    for number in 0..MOVES {
        let (side, to) = match number % 2 {
            0 => (&sides[0], "new"),
            _ => (&sides[1], "legacy"),
        };
        let kicked = node.moves(to)?;
        let open = side.open()?;
        let (answered, logins) = (Moment::now(), load.logins());
        ensure!(
            kicked.still_open == 0 && open == 0,
            "move {number}: {kicked:?}, {open} open"
        );
        wait_until("somebody signs in", SOON, || load.logins() > logins)?;
        let open = side.open()?;
        ensure!(open == 0, "move {number}: {open} came back");
        left.push(Left {
            side,
            answered,
            until: Moment::now(),
        });
    }
    let seen = load.stop()?;
    println!(
        "{MOVES} moves, {} logins, {} sessions cut; a login took {:.3} s (p50), {:.3} s (max)",
        seen.logins, seen.cut, seen.login_seconds_p50, seen.login_seconds_max
    );
    assert_eq!(
        seen.failures,
        Vec::<Value>::new(),
        "no login fails\n{}",
        node.lone.log()
    );
    web.ends_well(&sides)?;
    for (number, left) in left.iter().enumerate() {
        left.served_nobody().with_context(|| format!("move {number}"))?;
    }
    every_message_is_there_once(&sides, &seen)?;
    for side in &sides {
        let sessions = side.dovecot.sessions_of(ALICE);
        for protocol in ["imap", "pop3", "managesieve"] {
            ensure!(
                sessions.iter().any(|session| session.protocol == protocol),
                "no {protocol} on {}",
                side.dovecot.name
            );
        }
    }
    Ok(())
}

impl Left<'_> {
    /// Nobody signed in there meanwhile, nothing was asked for.
    fn served_nobody(&self) -> Result<()> {
        let from = self.answered.plus(LOG_DELAY);
        let late = |at: Moment| at > from && at < self.until;
        for session in self.side.dovecot.sessions_of(ALICE) {
            ensure!(
                !late(session.began) && !session.served.is_some_and(late),
                "{session:?}"
            );
        }
        // The webmail writes its journal itself.
        for entry in self.side.web.journal() {
            let asks = ["request", "executed", "opened"].contains(&entry.event.as_str());
            ensure!(
                !asks || entry.at < self.answered || entry.at > self.until,
                "{entry:?}"
            );
        }
        Ok(())
    }
}

fn every_message_is_there_once(sides: &[Side; 2], seen: &Seen) -> Result<()> {
    let mut there: HashMap<String, usize> = HashMap::new();
    for side in sides {
        wait_until("all is delivered", SOON, || {
            side.postfix.queued().is_ok_and(|queued| queued == 0)
        })?;
        for id in side.dovecot.message_ids(ALICE)? {
            *there.entry(id).or_default() += 1;
        }
    }
    let accepted = &seen.accepted[ALICE];
    let missing: Vec<_> = accepted.iter().filter(|id| !there.contains_key(*id)).collect();
    ensure!(missing.is_empty(), "lost: {missing:?}");
    ensure!(there.values().all(|times| *times == 1), "doubled: {there:?}");
    Ok(())
}

/// Her browser.
struct Web {
    gets: Running,
    posts: Running,
    socket: Running,
    events: Running,
}

impl Web {
    fn start(node: &Node) -> Result<Self> {
        let https = node.at("http")?;
        let ask = |method: &str| {
            let job = json!({"host": https.ip(), "port": https.port(), "ca": node.ca, "user": ALICE,
                             "workers": 2, "wait": 0.02, "method": method});
            Running::start("posts.py", &job)
        };
        let (socket, events) = streams(node)?;
        Ok(Self {
            gets: ask("GET")?,
            posts: ask("POST")?,
            socket,
            events,
        })
    }

    /// Nothing that may be sent twice was refused. A POST that was under way at a kick is told so, and was not executed twice.
    /// An answer that had begun to come was cut off: its request was a session, and the kick ended that.
    fn ends_well(&mut self, sides: &[Side; 2]) -> Result<()> {
        for requests in [&mut self.gets, &mut self.posts] {
            ensure!(requests.said()?["started"] == true);
        }
        let gets = self.gets.finish()?.pop().unwrap_or_default();
        ensure!(refusals(&gets)?.is_empty(), "{gets}");
        let posts = self.posts.finish()?.pop().unwrap_or_default();
        let refused = refusals(&posts)?;
        ensure!(refused.iter().all(|how| how == "502 Bad Gateway"), "{posts}");
        let mut executed = HashSet::new();
        for side in sides {
            for entry in side.web.events("executed") {
                ensure!(executed.insert(entry.id.clone()), "{} twice", entry.id);
            }
        }
        let answered = posts["answered"].as_object().context("what was answered")?;
        ensure!(answered.keys().all(|id| executed.contains(id)));
        for stream in [&mut self.socket, &mut self.events] {
            let said = stream.finish()?;
            let opened: HashSet<&str> = said.iter().filter_map(|said| said["opened"].as_str()).collect();
            ensure!(opened == HashSet::from(["legacy-web", "new-web"]), "{said:?}");
            let refused = said.iter().find(|said| {
                let ended = said["ended"].as_u64().unwrap_or_default();
                !said["refused"].is_null() || !(ended == 0 || ended == 200)
            });
            ensure!(refused.is_none(), "{refused:?}");
        }
        Ok(())
    }
}

/// Of the requests that failed, those that got an answer: a status and its words.
fn refusals(said: &Value) -> Result<Vec<String>> {
    let failed = said["failed"].as_object().context("what failed")?;
    let how = failed.values().filter_map(Value::as_str);
    Ok(how
        .filter(|how| how.starts_with(|first: char| first.is_ascii_digit()))
        .map(str::to_owned)
        .collect())
}
