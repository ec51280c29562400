//! Each kind of resource over the feed: what was committed is in force for the next login, per site where it differs,
//! and what cannot be used is named.

use std::time::Duration;

use mailswitch_config::table::capabilities::SaslMechanism;
use mailswitch_config::table::cutover::HeldReply;
use mailswitch_config::table::http::{RouteFallback, RouteTarget};
use mailswitch_config::{FleetConfig, Protocol};
use mailswitch_proto::fleet::v1 as wire;
use mailswitch_proto::fleet::v1::change::Kind;
use mailswitch_proto::fleet::v1::node_message::Message as FromNode;
use mailswitch_proto::identifier::Identifier;

use super::play::{ControlPlane, Node, OLD, change, resource};

fn at_site(site: &str, name: &str, body: &str) -> wire::Change {
    let set = wire::ResourceSet {
        kind: "destination".to_owned(),
        name: name.to_owned(),
        site: site.to_owned(),
        body: body.to_owned(),
    };
    change(&[], Kind::ResourceSet(set))
}

fn removed(kind: &str, name: &str, site: &str) -> wire::Change {
    let removed = wire::ResourceRemoved {
        kind: kind.to_owned(),
        name: name.to_owned(),
        site: site.to_owned(),
    };
    change(&[], Kind::ResourceRemoved(removed))
}

fn host(config: &FleetConfig, name: &str) -> Option<String> {
    config
        .destination(name)
        .map(|destination| destination.host.to_string())
}

#[tokio::test]
async fn every_kind_of_resource_is_in_force_once_it_is_applied_and_its_default_once_it_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let third = OLD.replace("old.", "third.").replace("imap", "http");
    let at = stream
        .delta(
            at,
            vec![
                resource("destination", "third", &third),
                resource(
                    "routing",
                    "",
                    r##"{"default_destination":"new","master_user_separators":["#"],"bare_domain":"example.org"}"##,
                ),
                resource("mapping", "", r#"{"normalize":"lowercase"}"#),
                resource(
                    "http",
                    "",
                    r#"{"relay_idle":"5s","route":[{"match":"/a","destination":"third"},{"match":"/**","extract":{"from":"authorization"},"fallback":"default"}]}"#,
                ),
                resource("capabilities", "imap", r#"{"banner":"hello","sasl":["PLAIN"],"advertise":"IMAP4rev1 ID"}"#),
                resource("capabilities", "pop3", r#"{"banner":"pop"}"#),
                resource("capabilities", "submission", r#"{"ehlo":["SIZE"]}"#),
                resource("capabilities", "managesieve", r#"{"sieve":"fileinto"}"#),
                resource("oauth", "", r#"{"jwt_username_claim":"upn"}"#),
                resource("cutover", "", r#"{"hold_login_timeout":"3s","max_hold":"9s","held_reply":"no"}"#),
            ],
        )
        .await;
    stream.applied(at).await;
    let config = node.knowledge.config();
    assert_eq!(host(&config, "third").as_deref(), Some("third.example.org"));
    assert_eq!(node.goes_to("zoe@example.net"), Some("new".into()), "the default");
    let rules = node.knowledge.identifier_rules();
    let zoe = Identifier::from_login("zoe#root", &rules).unwrap();
    assert_eq!(zoe.as_str(), "zoe@example.org");
    assert_eq!(config.http.relay_idle, Duration::from_secs(5));
    assert!(matches!(&config.http.routes[0].target, RouteTarget::Pinned(name) if name.as_str() == "third"));
    assert!(matches!(
        &config.http.routes[1].target,
        RouteTarget::Extracted(_, RouteFallback::Default)
    ));
    let capabilities = &config.capabilities;
    assert_eq!(capabilities.imap.banner, "hello");
    assert_eq!(capabilities.imap.authentication.sasl, [SaslMechanism::Plain]);
    assert_eq!(capabilities.imap.advertise, ["IMAP4rev1", "ID"]);
    assert_eq!(capabilities.pop3.banner, "pop");
    assert_eq!(capabilities.submission.ehlo, ["SIZE"]);
    assert_eq!(capabilities.managesieve.sieve, ["fileinto"]);
    assert_eq!(config.oauth.jwt_username_claim, "upn");
    assert_eq!(
        (config.cutover.max_hold, config.cutover.held_reply),
        (Duration::from_secs(9), HeldReply::No)
    );
    let waits = node.knowledge.sessions().policy();
    assert_eq!(waits.hold_login_timeout, Duration::from_secs(3));

    let singles = ["mapping", "http", "oauth", "cutover"].map(|kind| removed(kind, "", ""));
    let fronts = ["imap", "pop3", "submission", "managesieve"].map(|name| removed("capabilities", name, ""));
    let all = [&singles[..], &fronts[..], &[removed("destination", "third", "")]].concat();
    let at = stream.delta(at, all).await;
    stream.applied(at).await;
    let config = node.knowledge.config();
    let absent = FleetConfig::empty();
    assert_eq!(config.capabilities, absent.capabilities);
    assert_eq!((&config.http, &config.oauth), (&absent.http, &absent.oauth));
    assert_eq!(config.cutover, absent.cutover);
    assert_eq!(host(&config, "third"), None);
    assert_eq!(
        node.knowledge.sessions().policy().hold_login_timeout,
        absent.cutover.hold_login_timeout
    );
    node.stop().await;
    // What was committed is what a restart finds on its disk.
    let again = Node::start(directory.path(), &[]);
    assert_eq!(again.knowledge.config(), config);
    again.stop().await;
}

#[tokio::test]
async fn a_site_has_its_own_values_and_another_site_s_are_nothing_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let at = stream
        .delta(
            at,
            vec![
                at_site("ber", "old", r#"{"host":"old.ber.example.org"}"#),
                at_site(
                    "fra",
                    "new",
                    r#"{"host":"new.fra.example.org","protocol":{"imap":{"port":1993}}}"#,
                ),
            ],
        )
        .await;
    stream.applied(at).await;
    let config = node.knowledge.config();
    assert_eq!(host(&config, "old").as_deref(), Some("old.example.org"));
    assert_eq!(host(&config, "new").as_deref(), Some("new.fra.example.org"));
    let imap = config
        .destination("new")
        .unwrap()
        .endpoint(Protocol::Imap)
        .unwrap()
        .port;
    assert_eq!(imap, 1993);
    // A value of the site that cannot be used is the site's; another site has nothing to say of it.
    let at = stream
        .delta(
            at,
            vec![
                at_site("ber", "new", r#"{"host":7}"#),
                at_site("fra", "old", r#"{"protocol":{"imap":{"tls":"plain"}}}"#),
            ],
        )
        .await;
    let rejected = stream.rejected().await;
    assert_eq!(rejected.resource, "site.fra.destination.old");
    assert!(
        rejected.reason.contains("passwords would go in clear"),
        "{}",
        rejected.reason
    );
    stream.applied(at).await;
    let at = stream
        .delta(
            at,
            vec![
                removed("destination", "new", "fra"),
                removed("destination", "old", "fra"),
            ],
        )
        .await;
    stream.applied(at).await;
    let config = node.knowledge.config();
    assert_eq!(host(&config, "new").as_deref(), Some("new.example.org"));
    assert_eq!(host(&config, "old").as_deref(), Some("old.example.org"));
    node.stop().await;
}

#[tokio::test]
async fn every_kind_that_cannot_be_used_is_rejected_by_its_name_and_the_last_good_one_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(directory.path(), &[plane.address]);
    let (mut stream, mut at) = plane.accept_and_fill().await;
    let good = vec![
        resource("capabilities", "imap", r#"{"banner":"hello"}"#),
        resource("oauth", "", r#"{"jwt_username_claim":"upn"}"#),
        resource("cutover", "", r#"{"max_hold":"9s"}"#),
        resource("http", "", r#"{"relay_idle":"5s"}"#),
    ];
    at = stream.delta(at, good).await;
    stream.applied(at).await;
    let before = node.knowledge.config();
    for (kind, name, body) in [
        ("destination", "new", "no JSON"),
        ("routing", "", r#"{"default_destination":["old"]}"#),
        ("mapping", "", r#"{"normalize":"upper"}"#),
        ("capabilities", "imap", r#"{"banner":"two\nlines"}"#),
        ("oauth", "", r#"{"jwt_username_claim":7}"#),
        ("cutover", "", r#"{"hold_login_timeout":"90s"}"#),
        ("http", "", r#"{"route":[{"match":"/{a"}]}"#),
    ] {
        at = stream.delta(at, vec![resource(kind, name, body)]).await;
        let rejected = stream.until(|message| match message {
            FromNode::Rejected(rejected) if rejected.resource.starts_with(kind) => Some(rejected),
            _ => None,
        });
        let rejected = rejected.await;
        assert_eq!(rejected.revision, at.revision.0);
        assert!(
            rejected.reason.contains("its last good version stays") || kind == "mapping",
            "{rejected:?}"
        );
        stream.applied(at).await;
    }
    assert_eq!(node.knowledge.config(), before);
    node.stop().await;
}

#[tokio::test]
async fn a_destination_whose_certificate_is_not_there_yet_is_used_once_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start().await;
    let node = Node::start(&directory.path().join("state"), &[plane.address]);
    let (mut stream, at) = plane.accept_and_fill().await;
    let path = |name: &str| directory.path().join(name);
    let keys = format!(
        r#""tls_client_cert":"{}","tls_client_key":"{}","#,
        path("cert").display(),
        path("key").display()
    );
    let at = stream
        .delta(
            at,
            vec![resource(
                "destination",
                "third",
                &OLD.replacen('{', &format!("{{{keys}"), 1),
            )],
        )
        .await;
    let rejected = stream.rejected().await;
    assert_eq!(rejected.resource, "destination.third");
    assert!(
        rejected.reason.contains(&path("cert").display().to_string()),
        "{}",
        rejected.reason
    );
    stream.applied(at).await;
    assert_eq!(host(&node.knowledge.config(), "third"), None);
    let made = rcgen::generate_simple_self_signed(["proxy.test".to_owned()]).unwrap();
    std::fs::write(path("cert"), made.cert.pem()).unwrap();
    std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    let usable = stream.until(|message| match message {
        FromNode::Rejected(rejected) if rejected.reason.is_empty() => Some(rejected),
        _ => None,
    });
    assert_eq!(usable.await.resource, "destination.third");
    assert_eq!(
        host(&node.knowledge.config(), "third").as_deref(),
        Some("old.example.org")
    );
    node.stop().await;
}
