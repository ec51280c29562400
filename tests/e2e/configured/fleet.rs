//! The configuration of a fleet: applied once, in force on every node for the next login, per site where it differs; what
//! a node cannot use is shown; what does not fit the nodes' listeners is refused.

use mailswitch_tests::{
    client::Login,
    fleet::{Fleet, Plan, Said, at, nodes_of},
    raw::{Raw, Role},
    when::{eventually, wait_until},
};

use super::*;

fn apply(fleet: &Fleet, text: &str) -> Result<Said> {
    let path = fleet.place.path().join("changed.toml");
    std::fs::write(&path, text)?;
    fleet.ctl(&["apply", "-f", &path.display().to_string(), "--reason", "test"])
}

fn applied(fleet: &Fleet, text: &str) -> Result<()> {
    apply(fleet, text)?.expect(0)?;
    fleet.wait_in_sync()
}

#[test]
fn what_is_applied_is_in_force_for_the_next_client_of_every_node_and_per_site_where_it_differs() -> Result<()>
{
    let fleet = Fleet::start(&Plan::default())?;
    let usual = std::fs::read_to_string(fleet.place.path().join("fleet.toml"))?;
    let in_before = Login::imap(fleet.node(0).imaps, &at("alice"))
        .tls("implicit", fleet.ca.pem())
        .stay()?;
    let more = "[capabilities.imap]\nbanner = \"a fleet at your service\"\nsasl = [\"PLAIN\"]\n\
                [capabilities.submission]\nehlo = [\"PIPELINING\", \"SIZE 1000\"]\n\
                [site.site-2.destination.legacy]\nforwarding = \"none\"\n";
    applied(&fleet, &format!("{usual}{more}"))?;
    let from = fleet.place.address(77);
    for number in [0, 1] {
        let node = fleet.node(number);
        let client = Role::Client(fleet.ca.pem());
        Raw::connect(node.imap)?.play(
            client,
            "S: * OK [CAPABILITY IMAP4rev2 …] a fleet at your service\nC: a STARTTLS\nS: a OK …\nTLS\n\
             C: a CAPABILITY\nS: * CAPABILITY …JMAPACCESS AUTH=PLAIN\nS: a OK …",
        )?;
        Raw::connect(node.submission)?.play(
            client,
            "S: 220 …\nC: EHLO client.test\nS: 250-…\nS: 250-PIPELINING\nS: 250-SIZE 1000\nS: 250 STARTTLS",
        )?;
        let bob = Login::imap(node.imaps, &at("bob")).tls("implicit", fleet.ca.pem());
        bob.with("sasl", "plain").from(from).succeed()?;
        let session = eventually("his login is in the log", SOON, || {
            fleet.legacy.sessions_of(&at("bob")).into_iter().nth(number)
        })?;
        // The second site does not say who the client is.
        assert_eq!(session.rip == from, number == 0, "{session:?}");
    }
    assert!(in_before.leave()?.ok, "who was in stays in");
    // Taken out of the file, the defaults are back.
    applied(&fleet, &usual)?;
    Raw::connect(fleet.node(1).imap)?.play(
        Role::Client(fleet.ca.pem()),
        "S: * OK [CAPABILITY IMAP4rev2 …] Mailswitch IMAP4rev2 at your service.",
    )?;
    Ok(())
}

#[test]
fn a_node_that_lacks_a_certificate_says_so_and_uses_it_once_it_is_there() -> Result<()> {
    let fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    let usual = std::fs::read_to_string(fleet.place.path().join("fleet.toml"))?;
    let ours = fleet.place.folder("ours")?;
    let keys = format!(
        "[destination.new]\ntls_client_cert = \"{0}/cert.pem\"\ntls_client_key = \"{0}/key.pem\"\n",
        ours.display()
    );
    applied(&fleet, &usual.replace("[destination.new]\n", &keys))?;
    let rejected = || -> Result<Vec<String>> {
        let status = fleet.status()?;
        let nodes = nodes_of(&status);
        let rejected = nodes[0]["rejected"].as_array().cloned().unwrap_or_default();
        Ok(rejected.iter().map(ToString::to_string).collect())
    };
    let said = eventually("status shows what the node lacks", SOON, || {
        rejected().ok().filter(|rejected| rejected.len() == 1)
    })?;
    assert!(
        said[0].contains("destination.new") && said[0].contains("ours/cert.pem"),
        "{said:?}"
    );
    // The rest of what was applied is in force, and the destination is as it was.
    fleet
        .ctl(&[
            "cutover", "bob", "--from", "legacy", "--to", "new", "--reason", "test",
        ])?
        .expect(0)?;
    Login::imap(fleet.node(0).imaps, &at("bob"))
        .tls("implicit", fleet.ca.pem())
        .succeed()?;
    fleet.ca.issue(&ours, "proxy.test", fleet.node(0).address())?;
    wait_until("nothing is rejected any more", SOON, || {
        rejected().is_ok_and(|rejected| rejected.is_empty())
    })?;
    assert!(fleet.node(0).log().contains("it can be used now"));
    Login::imap(fleet.node(0).imaps, &at("bob"))
        .tls("implicit", fleet.ca.pem())
        .succeed()?;
    Ok(())
}

#[test]
fn a_node_that_comes_back_with_a_listener_that_the_fleet_has_nothing_for_warns() -> Result<()> {
    let mut fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    assert!(
        !fleet.node(0).log().contains("do not fit"),
        "{}",
        fleet.node(0).log()
    );
    fleet.nodes[0].process.stop(SOON)?;
    let config = &fleet.node(0).config;
    let port = fleet.place.port(fleet.node(0).address())?;
    let web = format!("web = {{ protocol = \"http\", bind = [\"{port}\"], tls = \"plain\" }}\n\n[metrics]");
    let text = std::fs::read_to_string(config)?.replacen("\n[metrics]", &web, 1);
    std::fs::write(config, text)?;
    fleet.nodes[0].restart(&fleet.ca)?;
    let said = eventually("the node says what does not fit", SOON, || {
        let log = fleet.node(0).log();
        log.lines()
            .find(|line| line.contains("do not fit"))
            .map(str::to_owned)
    })?;
    assert!(
        said.contains("level=warn") && said.contains("of node node-1") && said.contains("web"),
        "{said}"
    );
    Ok(())
}

#[test]
fn what_does_not_fit_the_listeners_of_the_nodes_is_refused_with_everything_that_is_wrong() -> Result<()> {
    let fleet = Fleet::start(&Plan {
        nodes: 1,
        ..Plan::default()
    })?;
    let usual = std::fs::read_to_string(fleet.place.path().join("fleet.toml"))?;
    let without: String = usual
        .lines()
        .filter(|line| !line.starts_with("submission = "))
        .map(|line| format!("{line}\n"))
        .collect();
    let said = apply(
        &fleet,
        &format!("{without}[oauht]\n[site.site-1.destination.nwe]\nhost = \"x\"\n"),
    )?;
    assert_ne!(said.code, 0, "{said:?}");
    for words in [
        "destination.legacy.protocol.submission",
        "listener \"submission\" of node node-1",
        "did you mean \"oauth\"?",
        "there is no destination \"nwe\"",
    ] {
        assert!(said.stderr.contains(words), "{words}: {said:?}");
    }
    let export = fleet.ctl(&["export"])?.expect(0)?;
    assert!(export.stdout.contains("submission"), "nothing was changed");
    Ok(())
}
