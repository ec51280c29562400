//! What a file and the environment make of a node: how it starts, what it says, and what it takes up while it runs. Each
//! file is one topic.

mod certificates;
mod example;
mod fleet;
mod metrics;
mod process;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::Result;
use mailswitch_tests::{dovecot::Dovecot, fleet::program, place::Place, process::Process};

const ALICE: &str = "alice@example.org";
const SOON: Duration = Duration::from_secs(20);

/// A destination that nobody answers for.
const DEAD: &str = "[destination.legacy]\nhost = \"127.0.0.1\"\nforwarding = \"none\"\nallow_plaintext_auth = true\n\
    [destination.legacy.protocol]\nimap = { port = 9, tls = \"plain\" }\n";

/// A file with one IMAP listener.
fn file(place: &Place, imap: SocketAddr, tls: &str, tables: &str) -> Result<PathBuf> {
    std::fs::write(place.path().join("moved.tsv"), "")?;
    let text = format!(
        "{tables}[routing]\ndefault_destination = \"legacy\"\n[mapping]\nsource = \"file\"\nnormalize = \"lowercase\"\n\
         [mapping.file]\npath = \"{}\"\n[listener.imap]\nprotocol = \"imap\"\nbind = [\"{imap}\"]\ntls = \"{tls}\"\n",
        place.path().join("moved.tsv").display(),
    );
    let path = place.path().join("proxy.toml");
    std::fs::write(&path, text)?;
    Ok(path)
}

/// The program with nothing of the tests' own environment.
fn command() -> Result<Command> {
    let mut command = Command::new(program("mailswitch-data-plane")?);
    for variable in ["RUST_LOG", "PROXY_CONFIG", "PROXY_ADMIN_TOKEN"] {
        command.env_remove(variable);
    }
    Ok(command)
}

/// Starts it and waits for its listener.
fn start(place: &Place, command: Command, listener: SocketAddr) -> Result<Process> {
    let log = place.path().join("node.log");
    let mut process = Process::start("node", command, &log)?;
    process.wait_ready(SOON, || std::net::TcpStream::connect(listener).is_ok())?;
    Ok(process)
}

/// Runs it to its end.
fn run(arguments: &[&str]) -> Result<Output> {
    Ok(command()?.args(arguments).output()?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The table of a destination with the IMAP of a Dovecot behind it.
fn imap_of(name: &str, dovecot: &Dovecot, tls: &str, keys: &str) -> String {
    let port = match tls {
        "implicit" => dovecot.imaps.port(),
        _ => dovecot.imap.port(),
    };
    format!(
        "[destination.{name}]\nhost = \"{}\"\ntls_server_name = \"{}.test\"\nforwarding = \"none\"\n{keys}\
         [destination.{name}.protocol]\nimap = {{ port = {port}, tls = \"{tls}\" }}\n",
        dovecot.imap.ip(),
        dovecot.name,
    )
}

/// What stands in the files of an issued certificate.
fn certificate_table(directory: &Path) -> String {
    format!(
        "[tls.certificate.public]\ncert = \"{0}/cert.pem\"\nkey = \"{0}/key.pem\"\ndefault = true\n",
        directory.display()
    )
}
