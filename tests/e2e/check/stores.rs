//! The store of the mappings is asked once, as a start asks it: real ones, and none.

use mailswitch_tests::{mariadb::MariaDb, postgres::Postgres, redis::Redis};

use super::*;

/// A node whose mappings are in a store, before a mail system that nobody has to answer for here.
struct Store {
    place: Place,
    ca: Ca,
}

impl Store {
    fn new() -> Result<Self> {
        let place = Place::new()?;
        let ca = Ca::new(place.path())?;
        Ok(Self { place, ca })
    }

    /// Both programs' words about `[mapping]`: their exit codes must be those of the same report.
    fn check(&self, mapping: &str) -> Result<String> {
        let directory = self.place.path().join("proxy");
        std::fs::create_dir_all(&directory)?;
        let address = self.place.address(2);
        let certificate = self.ca.issue(&directory, "proxy.example.org", address)?;
        let (bind, nobody) = (self.place.port(address)?, self.place.port(address)?);
        let text = format!(
            "[tls.certificate.public]\ncert = \"{}\"\nkey = \"{}\"\ndefault = true\n\
             [routing]\ndefault_destination = \"legacy\"\n{mapping}\
             [listener.imaps]\nprotocol = \"imap\"\nbind = [\"{bind}\"]\ntls = \"implicit\"\n\
             [destination.legacy]\nhost = \"{}\"\nforwarding = \"none\"\nallow_plaintext_auth = true\n\
             [destination.legacy.protocol]\nimap = {{ port = {}, tls = \"plain\" }}\n",
            certificate.cert.display(),
            certificate.key.display(),
            nobody.ip(),
            nobody.port(),
        );
        let file = directory.join("node.toml");
        std::fs::write(&file, text)?;
        let run = |program_name: &str, arguments: &[&str]| -> Result<Output> {
            let mut command = Command::new(program(program_name)?);
            command.args(arguments).arg(&file);
            Ok(command.env("SSL_CERT_FILE", self.ca.pem()).output()?)
        };
        let node = run("mailswitch-data-plane", &["--check"])?;
        let ctl = run("mailswitchctl", &["check", "--file"])?;
        let (said, also_said) = (text_of_mappings(&node), text_of_mappings(&ctl));
        let passes = |text: &str| !text.contains('✗');
        assert_eq!(passes(&said), passes(&also_said), "{said}{also_said}");
        for output in [&node, &ctl] {
            assert!(!format!("{output:?}").contains("hunter2"), "{output:?}");
        }
        Ok(said)
    }
}

/// The group "mappings", times apart.
fn text_of_mappings(output: &Output) -> String {
    let text = text(output);
    let lines = text.lines().skip_while(|line| line.trim() != "mappings").skip(1);
    lines
        .take_while(|line| line.starts_with(' ') || line.starts_with('\t'))
        .fold(String::new(), |all, line| all + line + "\n")
}

fn redis(url: &str) -> String {
    format!("[mapping]\nsource = \"redis\"\nlookup_timeout = \"1s\"\n[mapping.redis]\nurl = \"{url}\"\n")
}

fn sql(url: &str, query: &str) -> String {
    format!(
        "[mapping]\nsource = \"sql\"\nlookup_timeout = \"1s\"\n[mapping.sql]\nurl = \"{url}\"\nquery = \"{query}\"\n"
    )
}

#[test]
fn a_redis_that_answers_passes_and_a_wrong_password_and_a_dead_one_say_what_to_do() -> Result<()> {
    let store = Store::new()?;
    let mut server = Redis::start(&store.place, None)?;
    let address = server.address;
    says(
        &store.check(&redis(&format!("{}/0", server.url())))?,
        &format!("✓ redis://:…@{address}/0 lets us in and answers, in "),
    );
    let refused = store.check(&redis(&format!("redis://:hunter2@{address}/0")))?;
    says(&refused, &format!("✗ redis://:…@{address}/0: the mapping store"));
    says(
        &refused,
        "correct the password or the database in mapping.redis.url",
    );
    server.process.kill_dash_nine()?;
    let dead = store.check(&redis(&format!("{}/0", server.url())))?;
    says(
        &dead,
        &format!("✗ redis://:…@{address}/0: the mapping store cannot be reached: "),
    );
    says(&dead, "start it, or correct mapping.redis.url");
    Ok(())
}

#[test]
fn a_database_that_answers_passes_and_what_is_wrong_with_another_is_said() -> Result<()> {
    let store = Store::new()?;
    let mut postgres = Postgres::start(&store.place)?;
    postgres.sql(
        "mailswitch",
        "CREATE TABLE placement (login text PRIMARY KEY, node text); CREATE ROLE stranger LOGIN",
    )?;
    let query = "SELECT node FROM placement WHERE login = $1";
    let passes = store.check(&sql(&postgres.url(), query))?;
    says(&passes, "/mailswitch lets us in and answers, in ");
    says(
        &passes,
        "mapping.sql has not both upsert_query and delete_query: the management API cannot change mappings",
    );
    let misspelt = store.check(&sql(
        &postgres.url(),
        "SELECT node FROM placment WHERE login = $1",
    ))?;
    says(&misspelt, "relation \"placment\" does not exist");
    says(&misspelt, "mapping.sql.query; its table must be there");
    let stranger = postgres.url().replace("mailswitch@", "stranger:hunter2@");
    says(&store.check(&sql(&stranger, query))?, "permission denied");
    // Frozen, it is there and says nothing.
    postgres.signal(nix::sys::signal::Signal::SIGSTOP)?;
    let frozen = store.check(&sql(&postgres.url(), query))?;
    postgres.signal(nix::sys::signal::Signal::SIGCONT)?;
    says(&frozen, "did not answer within 1000 ms");
    says(&frozen, "raise mapping.lookup_timeout");
    postgres.kill()?;
    let dead = store.check(&sql(&postgres.url(), query))?;
    says(&dead, "the mapping store cannot be reached: ");
    says(&dead, "start it, or correct mapping.sql.url");
    Ok(())
}

#[test]
fn mariadb_and_sqlite_are_asked_too() -> Result<()> {
    let store = Store::new()?;
    let mariadb = MariaDb::start(&store.place, None)?;
    mariadb.sql("USE mail; CREATE TABLE placement (login VARCHAR(99) PRIMARY KEY, node VARCHAR(99))")?;
    let query = "SELECT node FROM placement WHERE login = ?";
    says(
        &store.check(&sql(&mariadb.url(), query))?,
        "lets us in and answers, in ",
    );
    let database = store.place.path().join("routes.db");
    let url = format!("sqlite://{}", database.display());
    says(&store.check(&sql(&url, query))?, "✗ sqlite://");
    let made = Command::new("sqlite3")
        .arg(&database)
        .arg("CREATE TABLE placement (login TEXT PRIMARY KEY, node TEXT)")
        .status()?;
    assert!(made.success());
    says(&store.check(&sql(&url, query))?, "lets us in and answers, in ");
    Ok(())
}
