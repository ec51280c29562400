//! `deploy/systemd/mailswitch-node@.service`: systemd takes the unit, and its command line is what `docs/systemd.md` says of two
//! slots: the one that is started serves, and the other one ends by itself.

use std::{
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mailswitch_tests::{
    ca::Ca,
    client::Login,
    dovecot::{Announce, Dovecot, Plaintext},
    fleet::program,
    lone::{Lone, Setup, destination},
    place::Place,
    process::Process,
    when::eventually,
};

const UNIT: &str = include_str!("../../deploy/systemd/mailswitch-node@.service");
const SOON: Duration = Duration::from_secs(30);
const ALICE: &str = "alice@example.org";

/// What stands behind `ExecStart=`, with the program and the file of this place.
fn exec_start(config: &Path) -> Result<Vec<String>> {
    let line = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart="));
    let program = program("mailswitch-data-plane")?.display().to_string();
    let line = line
        .context("the command")?
        .replace("/usr/bin/mailswitch-data-plane", &program)
        .replace("/etc/mailswitch/node.toml", &config.display().to_string());
    Ok(line.split(' ').map(str::to_owned).collect())
}

#[test]
fn systemd_takes_the_unit() -> Result<()> {
    let place = Place::new()?;
    let program = program("mailswitch-data-plane")?.display().to_string();
    let unit = place.path().join("mailswitch-node@.service");
    std::fs::write(&unit, UNIT.replace("/usr/bin/mailswitch-data-plane", &program))?;
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&unit)
        .output()?;
    let said = String::from_utf8_lossy(&verified.stderr);
    // Units of the machine itself may be complained about.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("mailswitch")).collect();
    ensure!(verified.status.success() && ours.is_empty(), "{said}");
    Ok(())
}

/// A slot, started as the unit starts it, and what it tells its supervisor.
struct Slot {
    process: Process,
    told: UnixDatagram,
}

impl Slot {
    fn start(place: &Place, name: &str, config: &Path, ca: &Ca) -> Result<Self> {
        let socket: PathBuf = place.path().join(format!("notify-{name}"));
        let told = UnixDatagram::bind(&socket)?;
        told.set_read_timeout(Some(SOON))?;
        let words = exec_start(config)?;
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env("NOTIFY_SOCKET", &socket)
            .env("SSL_CERT_FILE", ca.pem())
            .env_remove("RUST_LOG");
        let process = Process::start(name, command, &place.path().join(format!("{name}.log")))?;
        Ok(Self { process, told })
    }

    fn hears(&self, state: &str) -> Result<()> {
        let mut bytes = [0; 64];
        let length = self
            .told
            .recv(&mut bytes)
            .with_context(|| self.process.output())?;
        ensure!(
            &bytes[..length] == state.as_bytes(),
            "{state}: {}",
            bytes.escape_ascii()
        );
        Ok(())
    }

    /// It ended by itself, and systemd would not start it again.
    fn has_handed_over(mut self) -> Result<()> {
        self.hears("STOPPING=1")?;
        let status = self.process.wait_end(SOON)?;
        ensure!(status.success(), "{status}: {}", self.process.output());
        Ok(())
    }
}

#[test]
fn the_slot_that_is_started_serves_and_the_other_one_ends_by_itself_there_and_back() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let legacy = Dovecot::start(
        &place,
        &ca,
        "legacy",
        Announce::None,
        Plaintext::Refused,
        &[ALICE],
    )?;
    let tables = destination(&legacy, None, "implicit", "forwarding = \"none\"\n");
    let setup = Setup {
        listeners: &[("imap", "implicit")],
        tables: &tables,
        ..Setup::default()
    };
    let mut first = Lone::start(&place, &ca, setup)?;
    first.process.stop(SOON)?;
    let login = Login::imap(first.at("imap", "implicit")?, ALICE).tls("implicit", ca.pem());

    // At the boot nobody is there.
    let mut serving = Slot::start(&place, "boot", &first.config, &ca)?;
    serving.hears("READY=1")?;
    for name in ["b", "a"] {
        let open = login.stay()?;
        let next = Slot::start(&place, name, &first.config, &ca)?;
        next.hears("READY=1")?;
        login.succeed()?;
        std::mem::replace(&mut serving, next).has_handed_over()?;
        login.succeed()?;
        // It was not ended before its time was over.
        drop(open);
    }

    // One that cannot serve changes nothing.
    let bad = place.path().join("bad.toml");
    let text = std::fs::read_to_string(&first.config)?;
    std::fs::write(&bad, text.replace("\"legacy\"", "\"nowhere\""))?;
    let mut failed = Slot::start(&place, "bad", &bad, &ca)?;
    assert_eq!(failed.process.wait_end(SOON)?.code(), Some(1));
    login.succeed()?;
    serving.process.still_runs()?;
    eventually("each login was served", SOON, || {
        (legacy.sessions_of(ALICE).len() >= 7).then_some(())
    })
}
