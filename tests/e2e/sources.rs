//! A node alone whose mappings are in a database or in Redis: examples 7b and 7c of the reference, with what is of this
//! place put in. The truth is in the backends' logs.

use std::{net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};
use mailswitch_tests::{
    ca::Ca,
    client::Login,
    dovecot::{Announce, Dovecot, Plaintext},
    place::Place,
    postgres::Postgres,
    process::Process,
    redis::Redis,
    when::eventually,
};

const SOON: Duration = Duration::from_secs(20);
const USERS: [&str; 2] = ["ann@example.org", "bob@example.org"];

struct World {
    node: Process,
    imaps: SocketAddr,
    n1: Dovecot,
    n2: Dovecot,
    ca: Ca,
}

impl World {
    /// `mapping`: the tables of the source.
    fn start(place: &Place, mapping: &str) -> Result<Self> {
        let ca = Ca::new(place.path())?;
        let n1 = Dovecot::start(place, &ca, "n1", Announce::Proxy, Plaintext::Refused, &USERS)?;
        let n2 = Dovecot::start(place, &ca, "n2", Announce::Proxy, Plaintext::Refused, &USERS)?;
        let directory = place.folder("node")?;
        let address = place.address(2);
        let certificate = ca.issue(&directory, "node.test", address)?;
        let (imaps, https) = (place.port(address)?, place.port(address)?);
        let destination = |dovecot: &Dovecot| {
            format!(
                "[destination.{name}]\nhost = \"{host}\"\ntls_server_name = \"{name}.test\"\nforwarded = true\n\
                 protocol.imap = {{ port = {port}, tls = \"implicit\" }}\n\
                 protocol.http = {{ port = 443, tls = \"implicit\" }}\n",
                name = dovecot.name,
                host = dovecot.imaps.ip(),
                port = dovecot.imaps.port(),
            )
        };
        let config = format!(
            "[tls.certificate.public]\ncert = \"{}\"\nkey = \"{}\"\ndefault = true\n\
             [routing]\ndefault_destination = \"n1\"\n{mapping}{}{}\
             [[http.route]]\nmatch = \"/**\"\nextract = {{ from = \"authorization\" }}\nfallback = \"default\"\n\
             [listener]\nimaps = {{ protocol = \"imap\", bind = [\"{imaps}\"], tls = \"implicit\" }}\n\
             https = {{ protocol = \"http\", bind = [\"{https}\"], tls = \"implicit\" }}\n",
            certificate.cert.display(),
            certificate.key.display(),
            destination(&n1),
            destination(&n2),
        );
        std::fs::write(directory.join("node.toml"), config)?;
        let mut command = Command::new(program()?);
        command
            .arg(directory.join("node.toml"))
            .env_remove("RUST_LOG")
            .env("SSL_CERT_FILE", ca.pem());
        let mut node = Process::start("node", command, &directory.join("node.log"))?;
        node.wait_ready(SOON, || mailswitch_tests::dovecot::listens(imaps))?;
        Ok(Self {
            node,
            imaps,
            n1,
            n2,
            ca,
        })
    }

    fn signs_in(&self, user: &str) -> Result<()> {
        Login::imap(self.imaps, user)
            .tls("implicit", self.ca.pem())
            .succeed()
            .with_context(|| self.node.output())?;
        Ok(())
    }

    /// Ann is on n2, and Bob, of whom the source knows nothing, on n1.
    fn routes(&mut self) -> Result<()> {
        for user in ["Ann@Example.org", "bob@example.org"] {
            self.signs_in(user)?;
        }
        eventually("ann is on n2", SOON, || self.n2.sessions_of(USERS[0]).pop())?;
        eventually("bob is on n1", SOON, || self.n1.sessions_of(USERS[1]).pop())?;
        assert!(self.n1.sessions_of(USERS[0]).is_empty());
        assert!(self.n2.sessions_of(USERS[1]).is_empty());
        Ok(())
    }

    /// Each login was counted once, and the last line of figures says so.
    fn counts(mut self) -> Result<()> {
        self.node.stop(SOON)?;
        let output = self.node.output();
        let figures = output.lines().rfind(|line| line.contains("figures"));
        let figures = figures.context("a line of figures")?;
        for expected in [
            "cache_hits=1",
            "cache_misses=2",
            "hit_rate_pct=33.3",
            "active_connections=0",
        ] {
            assert!(figures.contains(expected), "{expected}: {figures}");
        }
        Ok(())
    }
}

fn program() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).context("the build's directory")?;
    Ok(target.join("mailswitch-data-plane"))
}

#[test]
fn example_7c_routes_by_a_table_in_postgresql_and_counts_what_it_asked() -> Result<()> {
    let place = Place::new()?;
    let postgres = Postgres::start(&place)?;
    postgres.sql(
        "mailswitch",
        "CREATE TABLE placement (login text PRIMARY KEY, node text); INSERT INTO placement VALUES ('ann@example.org', 'n2')",
    )?;
    let mapping = format!(
        "[mapping]\nsource = \"sql\"\nnormalize = \"lowercase\"\npositive_ttl = \"45m\"\n[mapping.sql]\nurl = \"{}\"\n\
         query = \"SELECT node FROM placement WHERE login = $1\"\n\
         upsert_query = \"INSERT INTO placement(login, node) VALUES ($1, $2) ON CONFLICT (login) DO UPDATE SET node = excluded.node\"\n\
         delete_query = \"DELETE FROM placement WHERE login = $1\"\n",
        postgres.url()
    );
    let mut world = World::start(&place, &mapping)?;
    world.routes()?;
    // Who is known stays where they are while the database is away.
    let mut postgres = postgres;
    postgres.kill()?;
    world.signs_in(USERS[0])?;
    eventually("ann is on n2 again", SOON, || {
        world.n2.sessions_of(USERS[0]).into_iter().nth(1)
    })?;
    world.counts()
}

#[test]
fn a_node_with_its_mappings_in_redis_routes_as_example_7b() -> Result<()> {
    let place = Place::new()?;
    let redis = Redis::start(&place, None)?;
    redis.ask(&["SET", "route:ann@example.org", "n2"])?;
    let mapping = format!(
        "[mapping]\nsource = \"redis\"\nnormalize = \"lowercase\"\n[mapping.redis]\nurl = \"{}/0\"\n",
        redis.url()
    );
    let mut world = World::start(&place, &mapping)?;
    world.routes()?;
    world.signs_in(USERS[0])?;
    world.counts()
}
