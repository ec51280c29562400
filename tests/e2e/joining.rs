//! A node that runs alone becomes a fleet of two with a control plane, under load, with the commands of
//! `docs/migrating-from-a-single-proxy.md`: they are read from the page, so page and programs cannot drift apart.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mailswitch_tests::{
    ca::Ca,
    client::Login,
    dovecot::{Announce, Dovecot, Plaintext, listens},
    fleet::program,
    load::Load,
    lone::{self, Lone, Setup},
    place::Place,
    postfix::Postfix,
    process::Process,
    when::{Moment, eventually, wait_until},
};

const PAGE: &str = include_str!("../../docs/migrating-from-a-single-proxy.md");
const SOON: Duration = Duration::from_secs(60);
const USERS: [&str; 3] = ["alice@example.org", "bob@example.org", "carol@example.org"];

/// What the page shows: files, and commands line by line.
#[derive(Debug)]
enum Block {
    File(String),
    Commands(Vec<String>),
}

/// The blocks of "Growing into a fleet", in their order.
fn blocks() -> Result<Vec<Block>> {
    let chapter = PAGE
        .split("\n## ")
        .find(|text| text.starts_with("Growing into a fleet"));
    let mut blocks = Vec::new();
    for fenced in chapter.context("the chapter")?.split("\n```").skip(1).step_by(2) {
        let (kind, text) = fenced.split_once('\n').context("a block")?;
        match kind {
            "toml" => blocks.push(Block::File(text.to_owned())),
            "sh" => blocks.push(Block::Commands(text.lines().map(str::to_owned).collect())),
            _ => {}
        }
    }
    Ok(blocks)
}

/// The machines of the page, on this one.
struct Machines {
    place: Place,
    ca: Ca,
    control_plane: SocketAddr,
    services: Vec<(String, Process)>,
}

impl Machines {
    fn etc(&self) -> PathBuf {
        self.place.path().join("etc")
    }

    /// The page's names as they are here.
    fn here(&self, text: &str) -> String {
        let place = self.place.path().display();
        let control_plane = self.control_plane.to_string();
        text.replace("/etc/mailswitch", &format!("{place}/etc"))
            .replace("/var/lib/mailswitch", &format!("{place}/var"))
            .replace("cp1.example.org:7443", &control_plane)
            .replace("0.0.0.0:7443", &control_plane)
            .replace(
                "--san cp1.example.org",
                &format!("--san {}", self.control_plane.ip()),
            )
    }

    fn command(&self, line: &str) -> Result<(String, Command)> {
        let line = self.here(line);
        let mut words: Vec<String> = Vec::new();
        for (number, part) in line.split('"').enumerate() {
            match number % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_owned)),
                _ => words.push(part.to_owned()),
            }
        }
        let name = words.remove(0);
        let mut command = Command::new(program(&name)?);
        command
            .args(words)
            .current_dir(self.place.path())
            .env("HOME", self.place.path())
            .env_remove("RUST_LOG")
            .env("SSL_CERT_FILE", self.ca.pem());
        Ok((name, command))
    }

    /// To its end; a server is started, and runs.
    fn run(&mut self, line: &str) -> Result<()> {
        let (name, mut command) = self.command(line)?;
        if name == "mailswitchctl" {
            let output = command.output()?;
            ensure!(
                output.status.success(),
                "{line}: {}\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            return Ok(());
        }
        let log = self
            .place
            .path()
            .join(format!("service-{}.log", self.services.len()));
        let mut process = Process::start(&name, command, &log)?;
        let said = |word: &str| std::fs::read_to_string(&log).is_ok_and(|log| log.contains(word));
        process.wait_ready(SOON, || said("ready"))?;
        self.services.push((line.to_owned(), process));
        Ok(())
    }

    fn status(&self) -> Result<serde_json::Value> {
        let (_, mut command) = self.command("mailswitchctl status --output json")?;
        Ok(serde_json::from_slice(&command.output()?.stdout)?)
    }

    fn in_sync(&self) -> Vec<String> {
        let Ok(status) = self.status() else {
            return Vec::new();
        };
        let nodes = mailswitch_tests::fleet::nodes_of(&status);
        let synced = nodes.iter().filter(|node| node["in_sync"] == true);
        synced
            .filter_map(|node| node["name"].as_str().map(str::to_owned))
            .collect()
    }
}

/// Puts a file of the page where the page says that it is.
fn put(machines: &Machines, text: &str) -> Result<()> {
    let path = match text.contains("[profile.default]") {
        true => machines.place.path().join(".config/mailswitch/config.toml"),
        false => machines.etc().join("control-plane.toml"),
    };
    std::fs::create_dir_all(path.parent().context("a folder")?)?;
    Ok(std::fs::write(path, machines.here(text))?)
}

/// What the operator does to the second node's file: its own addresses, certificate and disk.
fn edit_for_the_second_machine(machines: &Machines) -> Result<Vec<SocketAddr>> {
    let place = &machines.place;
    let (first, second) = (place.address(2), place.address(3));
    let certificate = machines.ca.issue(&place.folder("second")?, "node.test", second)?;
    let path = machines.etc().join("node-fra-2.toml");
    let text = std::fs::read_to_string(&path)?;
    let mut bound = Vec::new();
    let mut edited = String::new();
    for line in text.lines() {
        let line = match line.split_once(" = ").map(|(key, _)| key.trim()) {
            Some("cert") if !line.contains("pki") => format!("cert = \"{}\"", certificate.cert.display()),
            Some("key") if !line.contains("pki") => format!("key = \"{}\"", certificate.key.display()),
            Some("state_dir") => format!("state_dir = \"{}\"", place.path().join("var/second").display()),
            _ => line.replace(&first.to_string(), &second.to_string()),
        };
        if let Some(bind) = line
            .split("bind = [\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
        {
            bound.push(bind.parse()?);
        }
        edited += &(line + "\n");
    }
    std::fs::write(&path, edited)?;
    Ok(bound)
}

fn is_second_node(line: &str) -> bool {
    line.starts_with("mailswitch-data-plane") && line.contains("fra-2")
}

#[test]
fn a_lone_node_becomes_a_fleet_of_two_under_load_with_the_commands_of_the_page() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let system = |name: &str, announce: Announce| -> Result<(Dovecot, Postfix)> {
        let dovecot = Dovecot::start(&place, &ca, name, announce, Plaintext::Refused, &USERS)?;
        let postfix = Postfix::start(&place, &ca, &dovecot, Plaintext::Refused, "example.org")?;
        Ok((dovecot, postfix))
    };
    let (legacy, legacy_smtp) = system("legacy", Announce::Id)?;
    let (new, new_smtp) = system("new", Announce::Proxy)?;
    let tables = lone::destination(
        &legacy,
        Some(&legacy_smtp),
        "starttls",
        "forwarding = \"xclient\"\n",
    ) + &lone::destination(&new, Some(&new_smtp), "starttls", "forwarding = \"proxy\"\n");
    // Only what the listeners serve.
    let unserved = ["pop3", "managesieve", "lmtp", "smtp"];
    let served = |line: &&str| {
        !unserved
            .iter()
            .any(|protocol| line.starts_with(&format!("{protocol} =")))
    };
    let tables: String = tables
        .lines()
        .filter(served)
        .map(|line| format!("{line}\n"))
        .collect();
    let mut alone = Lone::start(
        &place,
        &ca,
        Setup {
            listeners: &[
                ("imap", "implicit"),
                ("imap", "starttls"),
                ("submission", "starttls"),
            ],
            tables: &tables,
            moved: "bob@example.org\tnew\nbob\tnew\n",
            ..Setup::default()
        },
    )?;
    let control_plane = place.port(place.address(4))?;
    std::fs::create_dir_all(place.path().join("etc"))?;
    std::fs::create_dir_all(place.path().join("var"))?;
    std::fs::copy(&alone.config, place.path().join("etc/proxy.toml"))?;

    let imap = [
        (alone.at("imap", "implicit")?, "implicit"),
        (alone.at("imap", "starttls")?, "starttls"),
    ];
    let submission = [(alone.at("submission", "starttls")?, "starttls")];
    let load = Load::start(&place, &ca, &USERS, &imap, &submission)?;
    let mut machines = Machines {
        place,
        ca,
        control_plane,
        services: Vec::new(),
    };
    wait_until("the clients are at work", SOON, || load.logins() > 20)?;

    let mut second = Vec::new();
    let mut taken_over = None;
    let mut moved = None;
    for block in blocks()? {
        let lines = match block {
            Block::File(text) => {
                put(&machines, &text)?;
                continue;
            }
            Block::Commands(lines) => lines,
        };
        for line in lines {
            if line.starts_with("mailswitchctl check") {
                for name in ["node-fra-1.toml", "node-fra-2.toml"] {
                    let path = machines.etc().join(name);
                    let text = std::fs::read_to_string(&path)?;
                    std::fs::write(&path, machines.here(&text))?;
                }
                second = edit_for_the_second_machine(&machines)?;
            }
            if line.starts_with("mailswitchctl status") {
                // As the page says: both nodes are in sync when the old process is gone.
                wait_until("both nodes are in sync", SOON, || machines.in_sync().len() == 2)?;
                ensure!(
                    alone.process.still_runs().is_err(),
                    "the old process lives, and a node spoke for it"
                );
            }
            let before = load.logins();
            machines.run(&line)?;
            if line.contains("--take-over") {
                taken_over = Some(Moment::now());
            }
            if line.starts_with("mailswitchctl cutover") {
                moved = Some(Moment::now());
            }
            if is_second_node(&line) {
                Login::imap(second[0], USERS[1])
                    .tls("implicit", machines.ca.pem())
                    .succeed()?;
            }
            wait_until("the clients go on", SOON, || load.logins() > before + 20)?;
        }
    }
    let seen = load.stop()?;

    assert_eq!(seen.failures, Vec::<serde_json::Value>::new());
    let (taken_over, moved) = (
        taken_over.context("the take-over")?,
        moved.context("the cutover")?,
    );
    for (user, home) in [(USERS[0], &new), (USERS[1], &new), (USERS[2], &legacy)] {
        eventually("it is served behind the new process", SOON, || {
            let sessions = home.sessions_of(user);
            sessions.into_iter().find(|session| session.began > taken_over)
        })?;
    }
    let late = legacy.sessions_of(USERS[0]);
    assert!(late.iter().all(|session| session.began < moved), "{late:?}");
    assert!(legacy.sessions_of(USERS[1]).is_empty(), "bob was moved before");
    every_message_is_there(&seen.accepted, &[&legacy, &new], &[&legacy_smtp, &new_smtp])
}

/// On one side or the other: nothing was copied.
fn every_message_is_there(
    accepted: &std::collections::HashMap<String, Vec<String>>,
    dovecots: &[&Dovecot],
    postfixes: &[&Postfix],
) -> Result<()> {
    for postfix in postfixes {
        wait_until("all is delivered", SOON, || {
            postfix.queued().is_ok_and(|queued| queued == 0)
        })?;
    }
    for (account, ids) in accepted {
        let mut there = Vec::new();
        for dovecot in dovecots {
            there.extend(dovecot.message_ids(account)?);
        }
        let missing: Vec<_> = ids.iter().filter(|id| !there.contains(id)).collect();
        ensure!(
            missing.is_empty() && !ids.is_empty(),
            "{account}: lost {missing:?}"
        );
    }
    Ok(())
}

/// A node with one listener, alone, in front of nothing.
fn idle_config(place: &Place, ca: &Ca, name: &str, listener: SocketAddr, source: &str) -> Result<PathBuf> {
    let folder = place.folder(name)?;
    let certificate = ca.issue(&folder, "node.test", listener.ip())?;
    std::fs::write(folder.join("moved.tsv"), "")?;
    let text = format!(
        "[tls.certificate.a]\ncert = \"{}\"\nkey = \"{}\"\n{}[listener.imap]\nprotocol = \"imap\"\nbind = \
         [\"{listener}\"]\ntls = \"plain\"\n",
        certificate.cert.display(),
        certificate.key.display(),
        source.replace("FOLDER", &folder.display().to_string()),
    );
    let path = folder.join("node.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

const ALONE: &str = "[routing]\ndefault_destination = \"a\"\n[mapping]\nsource = \"file\"\n[mapping.file]\npath = \
                     \"FOLDER/moved.tsv\"\n[destination.a]\nhost = \"127.0.0.1\"\nallow_plaintext_auth = true\n\
                     [destination.a.protocol]\nimap = { port = 9, tls = \"plain\" }\n";

fn start(config: &Path, more: &[&str]) -> Result<(Process, PathBuf)> {
    let mut command = Command::new(program("mailswitch-data-plane")?);
    command.args(more).arg(config).env_remove("RUST_LOG");
    let log = config.with_extension(format!("{}.log", more.len()));
    Ok((Process::start("node", command, &log)?, log))
}

#[test]
fn a_node_that_cannot_serve_takes_nothing_over_and_the_other_goes_on() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let listener = place.port(place.address(2))?;
    let config = idle_config(&place, &ca, "old", listener, ALONE)?;

    // Nobody is there to be taken over from.
    let (mut early, log) = start(&config, &["--take-over"])?;
    let status = early.wait_end(SOON)?;
    assert_eq!(status.code(), Some(1));
    let said = std::fs::read_to_string(log)?;
    assert!(
        said.contains("no node on this machine offers the sockets"),
        "{said}"
    );

    let (mut old, _) = start(&config, &[])?;
    old.wait_ready(SOON, || listens(listener))?;
    // Its port is not to be had without asking.
    let (mut busy, _) = start(&idle_config(&place, &ca, "busy", listener, ALONE)?, &[])?;
    assert_eq!(busy.wait_end(SOON)?.code(), Some(1));
    // One that asks, and cannot have what it needs besides.
    let taken = std::net::TcpListener::bind(place.port(place.address(3))?)?;
    let more = format!("{ALONE}[metrics]\nbind = \"{}\"\n", taken.local_addr()?);
    let (mut unable, log) = start(
        &idle_config(&place, &ca, "unable", listener, &more)?,
        &["--take-over"],
    )?;
    assert_eq!(
        unable.wait_end(SOON)?.code(),
        Some(1),
        "{}",
        std::fs::read_to_string(log)?
    );
    for _ in 0..20 {
        std::net::TcpStream::connect(listener)?;
    }
    old.still_runs()?;

    // And one that can: who is connected to the old one may still talk to it.
    let mut waiting = std::io::BufReader::new(std::net::TcpStream::connect(listener)?);
    let mut greeting = String::new();
    std::io::BufRead::read_line(&mut waiting, &mut greeting)?;
    let (mut able, log) = start(
        &idle_config(&place, &ca, "able", listener, ALONE)?,
        &["--take-over"],
    )?;
    able.wait_ready(SOON, || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("ready"))
    })?;
    std::io::Write::write_all(waiting.get_mut(), b"a NOOP\r\n")?;
    let mut answer = String::new();
    std::io::BufRead::read_line(&mut waiting, &mut answer)?;
    assert!(answer.starts_with("a OK"), "{answer}");
    old.still_runs()?;
    drop(waiting);
    assert_eq!(old.wait_end(SOON)?.code(), Some(0));
    assert!(listens(listener));
    able.still_runs()
}
