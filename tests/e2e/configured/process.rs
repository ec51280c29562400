//! How the process starts, and what it says of its file and of its environment.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use mailswitch_tests::when::eventually;
use nix::sys::signal::Signal;

use super::*;

#[test]
fn an_existing_file_with_an_unknown_key_starts_and_a_warning_names_the_nearest_key() -> Result<()> {
    let place = Place::new()?;
    let imap = place.port(place.address(2))?;
    let tables = format!("[server]\nhostnam = \"mail.example.org\"\n[metrisc]\nsecret = \"hunter2\"\n{DEAD}");
    let path = file(&place, imap, "plain", &tables)?;
    let mut command = command()?;
    command.arg(&path);
    let node = start(&place, command, imap)?;
    let log = node.output();
    for (key, nearest) in [("server.hostnam", "hostname"), ("metrisc", "metrics")] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(key)).collect();
        assert!(
            lines.len() == 1 && lines[0].contains("level=warn") && lines[0].contains(nearest),
            "{key}: {log}"
        );
    }
    assert!(!log.contains("hunter2"));
    Ok(())
}

#[test]
fn the_environment_may_name_the_file_and_without_any_the_usage_is_told() -> Result<()> {
    let place = Place::new()?;
    let imap = place.port(place.address(2))?;
    let path = file(&place, imap, "plain", DEAD)?;
    let mut named = command()?;
    named.env("PROXY_CONFIG", &path);
    drop(start(&place, named, imap)?);
    // The command line wins.
    let mut both = command()?;
    both.arg(&path).env("PROXY_CONFIG", "/nonexistent/proxy.toml");
    drop(start(&place, both, imap)?);
    for mut neither in [command()?, command()?] {
        neither.env("PROXY_CONFIG", "");
        let output = neither.output()?;
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(
            said(&output).contains("Usage:") && said(&output).contains("PROXY_CONFIG"),
            "{}",
            said(&output)
        );
        assert!(output.stdout.is_empty());
        neither.env_remove("PROXY_CONFIG");
        assert_eq!(neither.output()?.status.code(), Some(2));
    }
    Ok(())
}

#[test]
fn rust_log_replaces_the_level_and_one_that_cannot_be_read_is_reported_and_ignored() -> Result<()> {
    for (rust_log, is_debug, complains) in [
        ("", true, false),
        ("info", false, false),
        ("info,mailswitch=debug", true, false),
        ("mailswitch=[loud", true, true),
    ] {
        let place = Place::new()?;
        let imap = place.port(place.address(2))?;
        let tables = format!("[server]\nlog_level = \"debug\"\n{DEAD}");
        let path = file(&place, imap, "implicit", &tables)?;
        let mut command = command()?;
        command.arg(&path).env("RUST_LOG", rust_log);
        let node = start(&place, command, imap)?;
        // A client that does not know that there is TLS is worth a line at debug.
        let mut client = std::net::TcpStream::connect(imap)?;
        client.write_all(b"a NOOP\r\n")?;
        let _ = client.read_to_end(&mut Vec::new());
        if is_debug {
            eventually("it is logged", SOON, || {
                node.output().contains("no TLS with the client").then_some(())
            })?;
        }
        let log = node.output();
        assert_eq!(log.contains("level=debug"), is_debug, "{rust_log}: {log}");
        assert_eq!(log.contains("is no log level"), complains, "{rust_log}: {log}");
    }
    Ok(())
}

#[test]
fn the_management_api_takes_its_token_from_the_environment_and_it_is_never_shown() -> Result<()> {
    let place = Place::new()?;
    let [imap, admin] = [place.port(place.address(2))?, place.port(place.address(2))?];
    let tables = format!("[server]\nlog_level = \"debug\"\n[admin]\nbind = \"{admin}\"\n{DEAD}");
    let path = file(&place, imap, "plain", &tables)?;
    let token = "from-the-environment-0123456789abcdef";
    let mut checked = command()?;
    checked
        .arg("--offline")
        .arg("--check")
        .arg(&path)
        .env("PROXY_ADMIN_TOKEN", token);
    let checked = checked.output()?;
    assert!(checked.status.success(), "{checked:?}");
    let mut command = command()?;
    command.arg(&path).env("PROXY_ADMIN_TOKEN", token);
    let node = start(&place, command, imap)?;
    eventually("the API listens", std::time::Duration::from_secs(20), || {
        std::net::TcpStream::connect(admin).ok()
    })?;
    assert!(!node.output().contains(token) && !said(&checked).contains(token));
    // Without any token it does not start.
    let output = run(&[&path.display().to_string()])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("PROXY_ADMIN_TOKEN"), "{}", said(&output));
    Ok(())
}

#[test]
fn a_file_that_cannot_be_used_binds_nothing_and_says_everything() -> Result<()> {
    let place = Place::new()?;
    let imap = place.port(place.address(2))?;
    // The port is taken: whoever tried to bind it would say so.
    let _taken = TcpListener::bind(imap)?;
    let tables = format!("[server]\nbridge_idle = \"30\"\n[tls.protocols]\nmin_version = \"1.1\"\n{DEAD}");
    let path = file(&place, imap, "plain", &tables)?.display().to_string();
    let output = run(&[&path])?;
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(
        said.contains(&format!("{path}:2: error: server.bridge_idle = \"30\": "))
            && said.contains(&format!("{path}:4: error: tls.protocols.min_version = \"1.1\": "))
            && !said.contains(&imap.to_string()),
        "{said}"
    );
    assert!(output.stdout.is_empty());
    Ok(())
}

#[test]
fn a_signal_during_the_start_waits_for_its_end_and_does_not_cut_it_off() -> Result<()> {
    let place = Place::new()?;
    let imap = place.port(place.address(2))?;
    // A store that answers nothing: the node is in its start until lookup_timeout.
    let store = TcpListener::bind((place.address(2), 0))?;
    let path = file(&place, imap, "plain", DEAD)?;
    let text = std::fs::read_to_string(&path)?.replace(
        "source = \"file\"",
        &format!(
            "source = \"redis\"\nlookup_timeout = \"1s\"\nredis = {{ url = \"redis://{}\" }}",
            store.local_addr()?
        ),
    );
    std::fs::write(&path, text)?;
    let mut command = command()?;
    command.arg(&path);
    let mut node = Process::start("node", command, &place.path().join("node.log"))?;
    let (_asked, _) = store.accept()?;
    node.signal(Signal::SIGTERM)?;
    let status = node.wait_end(SOON)?;
    // The start's own end, with its reason: a process that the signal had ended would have no code.
    assert_eq!(status.code(), Some(1), "{}", node.output());
    assert!(node.output().contains("did not answer"), "{}", node.output());
    Ok(())
}
