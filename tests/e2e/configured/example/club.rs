//! Example 7b: two generations of one mail system and of its web interface behind one name, with the mappings in Redis.

use mailswitch_tests::{
    http::nginx::{Nginx, Told},
    raw::{Raw, Role},
    redis::Redis,
};

use super::*;

const CLUB: &str = include_str!("../../../../data-plane/config/tests/examples/club.toml");
const KIM: &str = "kim@example.org";

/// A mail system with a web interface, which want PROXY headers and show one certificate.
struct Generation {
    dovecot: Dovecot,
    postfix: Postfix,
    web: Nginx,
}

impl Generation {
    fn start(place: &Place, ca: &Ca, name: &str) -> Result<Self> {
        let (dovecot, postfix) = servers(place, ca, name, Announce::Proxy, &[ALICE, KIM, "kim"])?;
        let (folder, host) = (format!("{name}-web"), format!("{name}.test"));
        Ok(Self {
            dovecot,
            postfix,
            web: Nginx::start_as(place, ca, &folder, &host, Told::ProxyHeader)?,
        })
    }
}

/// Its file, where clients go, and its management API.
struct Club {
    path: PathBuf,
    at: BTreeMap<u16, SocketAddr>,
    admin: SocketAddr,
}

fn club(place: &Place, ca: &Ca, redis: &Redis, generations: [(&str, &Generation); 2]) -> Result<Club> {
    let mut text = CLUB.to_owned();
    let admin = at_home(&mut text, place, ca, "mail.club.example")?;
    swap(
        &mut text,
        "redis://127.0.0.1:6379/0",
        &format!("{}/0", redis.url()),
    )?;
    for (name, server) in generations {
        let here = format!("host = \"{}\"\ntls_server_name = \"{name}.test\"", place.server());
        swap(&mut text, &format!("host = \"{name}.lan.example\""), &here)?;
        let mut legs = vec![
            ("imap", server.dovecot.imaps.port()),
            ("submission", server.postfix.submission.port()),
            ("managesieve", server.dovecot.sieve.port()),
            ("http", server.web.https.port()),
        ];
        if name == "v2" {
            legs.push(("smtp", server.postfix.smtp.port()));
        }
        ports(&mut text, &format!("[destination.{name}.protocol]"), &legs)?;
    }
    let at = listeners(&mut text, place, &[993, 587, 4190, 443, 25])?;
    let path = place.path().join("club.toml");
    std::fs::write(&path, text)?;
    Ok(Club { path, at, admin })
}

#[test]
fn the_example_of_a_club_splits_one_web_interface_and_moves_an_account_in_redis() -> Result<()> {
    let place = Place::new()?;
    let ca = Ca::new(place.path())?;
    let v1 = Generation::start(&place, &ca, "v1")?;
    let v2 = Generation::start(&place, &ca, "v2")?;
    let mut redis = Redis::start(&place, None)?;
    let club = club(&place, &ca, &redis, [("v1", &v1), ("v2", &v2)])?;
    let program = || -> Result<Command> {
        let mut command = command()?;
        command.env("SSL_CERT_FILE", ca.pem());
        Ok(command)
    };
    let checked = program()?.arg("--check").arg(&club.path).output()?;
    let report = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{report}{}", said(&checked));
    assert!(report.contains("/0 lets us in and answers"), "{report}");

    let mut node = program()?;
    node.arg(&club.path);
    let _node = start(&place, node, club.at[&993])?;
    let put = |identifier: &str, to: &str| {
        let target = format!("/mappings?identifier={identifier}&destination={to}");
        api(club.admin, &ca, "PUT", &target)
    };
    // Both forms of the login, and what the web clients call themselves.
    for (identifier, to) in [
        (KIM, "v2"),
        ("kim", "v2"),
        ("webadmin", "v1"),
        ("stalwart-webui", "v2"),
    ] {
        assert_eq!(put(identifier, to)?, "ok\n");
        assert_eq!(redis.ask(&["GET", &format!("route:{identifier}")])?, to);
    }

    let client = place.address(77);
    let sign_in = |user: &str| -> Result<()> {
        for (login, tls) in [
            (Login::imap(club.at[&993], user), "implicit"),
            (Login::sieve(club.at[&4190], user), "starttls"),
            (Login::submission(club.at[&587], user), "starttls"),
        ] {
            let login = login.tls(tls, ca.pem()).from(client);
            login
                .succeed()
                .with_context(|| format!("{login:?}\n{}", node_log(&place)))?;
        }
        Ok(())
    };
    for (user, home, other) in [(ALICE, &v1, &v2), (KIM, &v2, &v1), ("kim", &v2, &v1)] {
        sign_in(user)?;
        eventually("their server saw who they are", SOON, || {
            let seen = home.dovecot.sessions_of(user);
            (seen.len() == 2 && seen.iter().all(|session| session.rip == client)).then_some(())
        })?;
        assert!(other.dovecot.sessions_of(user).is_empty());
    }

    let curl = Curl::tls(club.at[&443], ca.pem()).from(client);
    let token = |id: &str| {
        curl.clone()
            .with(&["--data", &format!("client_id={id}&grant_type=x")])
    };
    for (path, curl, expected) in [
        ("/api/oauth", curl.clone().user(KIM), &v1),
        ("/authorize", curl.clone(), &v1),
        ("/authorize/code", curl.clone(), &v1),
        ("/admin/panel", curl.clone().user(ALICE), &v2),
        ("/account/keys", curl.clone(), &v2),
        ("/api/discover/kim", curl.clone(), &v2),
        ("/login", curl.clone(), &v2),
        ("/device", curl.clone(), &v2),
        ("/api/auth", curl.clone(), &v2),
        ("/auth/token", token("webadmin"), &v1),
        ("/auth/token", token("stalwart-webui"), &v2),
        ("/auth/token", curl.clone(), &v1),
        ("/jmap/session", curl.clone().user(ALICE), &v1),
        ("/jmap/session", curl.clone().user(KIM), &v2),
        ("/jmap/session", curl.clone().user("Kim"), &v2),
        ("/jmap/session", curl.clone(), &v1),
    ]
    .map(|(path, curl, expected)| (path, curl, &expected.web))
    {
        let of = |web: &Nginx| web.served().into_iter().filter(|one| one.target == path).count();
        let before = [of(&v1.web), of(&v2.web)];
        curl.get(path)?;
        let last = eventually("it is in a log", SOON, || {
            let now = [of(&v1.web), of(&v2.web)];
            (now != before).then(|| expected.served().pop())
        })?;
        let last = last.with_context(|| format!("{path} did not go to {}", expected.name))?;
        assert_eq!(
            (last.target.as_str(), last.peer),
            (path, client),
            "{}",
            expected.name
        );
    }

    // Mail from outside goes to the new one.
    let mut sender = Raw::connect_from(client, club.at[&25])?;
    sender.play(Role::Client(ca.pem()), "S: 220 v2.test …\nC: QUIT\nS: 221 …\nEND")?;
    // Who is known stays where they are while Redis is away.
    redis.process.kill_dash_nine()?;
    sign_in(KIM)?;
    assert!(v1.dovecot.sessions_of(KIM).is_empty());
    redis.restart()?;
    Ok(())
}
