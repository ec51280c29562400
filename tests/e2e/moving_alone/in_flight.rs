//! One PUT and one kick while a login of every kind is under way: caught in the dial, before the greeting, in the TLS
//! handshake, behind the credential, and signed in. None survives where the account was, and none fails.

use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use mailswitch_tests::{
    ca::Ca,
    client::{self, Login},
    http::python,
    place::Place,
    relay::{DelayRelay, Mode},
    sockets::{Full, dialling},
    when::{Moment, wait_until},
};
use serde_json::Value;

use super::{ALICE, Doors, Kicked, LOG_DELAY, Node, SOON, Side, streams};

struct Scene {
    /// Dropped before the servers behind it.
    node: Node,
    gates: Vec<DelayRelay>,
    legacy: Side,
    new: Side,
    _place: Place,
}

/// In the order of `Doors`; how many logins of `Flight` each gets.
const EACH: [usize; 5] = [1, 1, 1, 1, 4];

impl Scene {
    /// With gates between the node and `legacy`.
    fn gated(tls: &str) -> Result<Self> {
        let (place, ca, legacy, new) = Self::servers()?;
        let doors = legacy.doors(tls).all();
        let gates: Vec<DelayRelay> = doors
            .iter()
            .map(|door| DelayRelay::start(&place, *door))
            .collect::<Result<_>>()?;
        let at = |number: usize| gates[number].address;
        let gated = Doors {
            imap: at(0),
            pop3: at(1),
            sieve: at(2),
            submission: at(3),
            http: at(4),
        };
        let tables = gated.table("legacy", tls) + &new.doors(tls).table("new", tls);
        Ok(Self {
            node: Node::start(&place, &ca, &tables)?,
            gates,
            legacy,
            new,
            _place: place,
        })
    }

    fn servers() -> Result<(Place, Ca, Side, Side)> {
        let place = Place::new()?;
        let ca = Ca::new(place.path())?;
        let legacy = Side::start(&place, &ca, "legacy")?;
        let new = Side::start(&place, &ca, "new")?;
        Ok((place, ca, legacy, new))
    }

    fn set(&self, mode: Mode) {
        self.gates.iter().for_each(|gate| gate.set(mode));
    }

    fn wait_caught(&self) -> Result<()> {
        wait_until("each login is caught", SOON, || {
            let caught: Vec<usize> = self.gates.iter().map(DelayRelay::held_back).collect();
            caught == EACH
        })
        .with_context(|| self.node.lone.log())
    }

    /// What legacy's logs know of her: her sessions there have ended before the kick had its answer, and nothing was asked
    /// in them. And what was sent or executed there.
    fn left_before(&self, kicked_at: Moment) -> Result<usize> {
        wait_until("legacy is left", SOON, || {
            self.legacy.open().is_ok_and(|open| open == 0)
        })?;
        let sessions = || self.legacy.dovecot.sessions_of(ALICE);
        wait_until("the ends are in the log", SOON, || {
            sessions().iter().all(|session| session.ended.is_some())
        })?;
        for session in sessions() {
            ensure!(session.ended < Some(kicked_at.plus(LOG_DELAY)), "{session:?}");
            ensure!(session.served.is_none(), "{session:?}");
        }
        ensure!(
            self.legacy.postfix.accepted().is_empty(),
            "a message went to legacy"
        );
        Ok(sessions().len())
    }
}

/// One login of every kind, under way. Those of HTTP are a GET, a POST, a WebSocket and an event stream.
struct Flight {
    mail: Vec<(&'static str, client::Running)>,
    get: Child,
    post: Child,
    socket: python::Running,
    events: python::Running,
}

impl Flight {
    fn begin(node: &Node) -> Result<Self> {
        let start = |(protocol, login): (_, Login)| Ok((protocol, login.start()?));
        let curl = |path: &str, more: &[&str]| -> Result<Child> {
            let mut command = node.curl()?.with(more).command(&[path]);
            Ok(command.stdout(Stdio::piped()).spawn()?)
        };
        let (socket, events) = streams(node)?;
        Ok(Self {
            mail: node.logins()?.into_iter().map(start).collect::<Result<_>>()?,
            get: curl("/whoami", &[])?,
            post: curl("/add", &["--data", "one"])?,
            socket,
            events,
        })
    }

    /// All of them get in, and are on `new`. Gives what curl has of the POST.
    fn lands_on_new(mut self, scene: &Scene) -> Result<String> {
        for (protocol, mut login) in self.mail {
            login.wait_in().context(protocol)?;
            let outcome = login.leave()?;
            ensure!(outcome.ok, "{protocol}: {outcome:?}");
        }
        let said = |child: Child| -> Result<String> {
            let output = child.wait_with_output()?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let got = said(self.get)?;
        ensure!(got.contains("\"server\": \"new-web\""), "{got}");
        for (stream, name) in [(&mut self.socket, "socket"), (&mut self.events, "events")] {
            let said = stream.said()?;
            ensure!(said["opened"] == "new-web", "{name}: {said}");
            stream.finish()?;
        }
        is_on_new(scene, 1)?;
        said(self.post)
    }
}

/// So many logins of each kind are in the logs of `new`.
fn is_on_new(scene: &Scene, each: usize) -> Result<()> {
    wait_until("they are in the logs of new", SOON, || {
        let sessions = scene.new.dovecot.sessions_of(ALICE);
        let of = |protocol: &str| sessions.iter().filter(|one| one.protocol == protocol).count();
        ["imap", "pop3", "managesieve"].map(of) == [each; 3] && scene.new.postfix.accepted().len() == each
    })
}

const ALL_OF_THEM: Kicked = Kicked {
    found: 8,
    still_open: 0,
};

#[test]
fn logins_that_dial_a_host_which_does_not_answer_land_on_the_other_side() -> Result<()> {
    let (place, ca, legacy, new) = Scene::servers()?;
    let full: Vec<Full> = (0..5).map(|_| Full::start(&place)).collect::<Result<_>>()?;
    let doors = Doors {
        imap: full[0].address,
        pop3: full[1].address,
        sieve: full[2].address,
        submission: full[3].address,
        http: full[4].address,
    };
    let tables = doors.table("legacy", "implicit") + &new.doors("implicit").table("new", "implicit");
    let scene = Scene {
        node: Node::start(&place, &ca, &tables)?,
        gates: Vec::new(),
        legacy,
        new,
        _place: place,
    };
    let flight = Flight::begin(&scene.node)?;
    wait_until("all of them dial", SOON, || {
        full.iter()
            .zip(EACH)
            .all(|(one, each)| dialling(one.address).is_ok_and(|dialling| dialling == each))
    })?;
    assert_eq!(scene.node.moves("new")?, ALL_OF_THEM);
    for one in &full {
        assert_eq!(dialling(one.address)?, 0, "nobody dials it any more");
    }
    let post = flight.lands_on_new(&scene)?;
    assert!(post.contains("\"server\": \"new-web\""), "{post}");
    Ok(())
}

/// One login of every kind, of which legacy has not said a word yet when she moves. Gives what curl has of the POST.
fn moved_before_a_word(tls: &str) -> Result<(Scene, String)> {
    let scene = Scene::gated(tls)?;
    scene.set(Mode::Freeze);
    let flight = Flight::begin(&scene.node)?;
    scene.wait_caught()?;
    assert_eq!(scene.node.moves("new")?, ALL_OF_THEM);
    let kicked_at = Moment::now();
    scene.set(Mode::Pass);
    let post = flight.lands_on_new(&scene)?;
    assert_eq!(scene.left_before(kicked_at)?, 0, "no credential went there");
    Ok((scene, post))
}

#[test]
fn logins_that_are_in_the_tls_handshake_with_their_backend_land_on_the_other_side() -> Result<()> {
    let (scene, post) = moved_before_a_word("implicit")?;
    assert!(post.contains("\"server\": \"new-web\""), "{post}");
    assert!(scene.legacy.web.journal().is_empty());
    Ok(())
}

#[test]
fn logins_whose_backend_has_not_greeted_yet_land_on_the_other_side() -> Result<()> {
    let (scene, post) = moved_before_a_word("plain")?;
    broken_off(&scene, &post)
}

#[test]
fn logins_whose_backend_is_answering_the_credential_land_on_the_other_side() -> Result<()> {
    let scene = Scene::gated("plain")?;
    scene.set(Mode::FreezeAnswer);
    let flight = Flight::begin(&scene.node)?;
    scene.wait_caught()?;
    // It has let them in, and nobody here knows it.
    wait_until("they are in the log of legacy", SOON, || {
        scene.legacy.dovecot.sessions_of(ALICE).len() == 3
    })?;
    assert_eq!(scene.node.moves("new")?, ALL_OF_THEM);
    let (kicked_at, asked) = (Moment::now(), scene.legacy.web.events("request").len());
    scene.set(Mode::Pass);
    broken_off(&scene, &flight.lands_on_new(&scene)?)?;
    assert_eq!(scene.left_before(kicked_at)?, 3);
    assert_eq!(scene.legacy.web.events("request").len(), asked);
    Ok(())
}

/// A request has no greeting to wait for: all four had left. What may be sent twice was; the POST was executed once, and its
/// client is told that nobody knows (promise A3).
fn broken_off(scene: &Scene, post: &str) -> Result<()> {
    ensure!(post.contains(" 502 "), "{post}");
    assert_eq!(scene.legacy.web.events("executed").len(), 1);
    assert!(scene.new.web.events("executed").is_empty());
    Ok(())
}

#[test]
fn sessions_of_every_kind_end_with_the_kick_and_their_successors_are_on_the_other_side() -> Result<()> {
    let scene = Scene::gated("implicit")?;
    let mut open = Vec::new();
    for (protocol, login) in scene.node.logins()? {
        open.push((protocol, login.stay().context(protocol)?));
    }
    let (mut socket, mut events) = streams(&scene.node)?;
    assert_eq!(socket.said()?["opened"], "legacy-web");
    assert_eq!(events.said()?["opened"], "legacy-web");
    // A request that is over; what the node kept of it may be gone with its client.
    let curl = scene.node.curl()?;
    assert_eq!(curl.get("/whoami")?.server()?, "legacy-web");

    let kicked = scene.node.moves("new")?;
    // Nothing is left there when it answers, by the kernel's own word.
    assert_eq!(scene.legacy.open()?, 0);
    let (kicked_at, asked) = (Moment::now(), scene.legacy.web.events("request").len());
    assert_eq!(kicked.still_open, 0);
    assert!((6..=7).contains(&kicked.found), "{kicked:?}");
    for (protocol, mut session) in open {
        ensure!(!session.end()?.ok, "{protocol} was not ended but left");
    }
    for (protocol, login) in scene.node.logins()? {
        login.succeed().context(protocol)?;
    }
    assert_eq!(curl.get("/whoami")?.server()?, "new-web");
    for stream in [&mut socket, &mut events] {
        let mut said = stream.said()?;
        while said["opened"].is_null() {
            ensure!(said != Value::Null && said["refused"].is_null(), "{said}");
            said = stream.said()?;
        }
        assert_eq!(said["opened"], "new-web");
    }
    is_on_new(&scene, 1)?;
    assert_eq!(scene.legacy.web.events("request").len(), asked);
    for session in scene.legacy.dovecot.sessions_of(ALICE) {
        ensure!(session.ended < Some(kicked_at.plus(LOG_DELAY)), "{session:?}");
        ensure!(session.served < Some(kicked_at), "{session:?}");
    }
    ensure!(scene.legacy.postfix.accepted().is_empty());
    Ok(())
}
