//! Whose file it is, by the tables in it. What could be two programs' is not guessed: both readings are named, and
//! `--as` decides.

use std::path::Path;

use serde::Serialize;

use crate::exit::Failure;

/// Whose file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `mailswitch-data-plane FILE`
    Node,
    /// `mailswitch-control-plane FILE`
    ControlPlane,
    /// `mailswitchctl apply -f FILE`
    Fleet,
}

/// What speaks for a node, whatever else is there: nobody else listens, and only a node has a source of mappings.
const NODE: [&str; 5] = [
    "listener",
    "admin",
    "mapping.source",
    "control_plane.endpoints",
    "control_plane.node",
];
/// What a node has too.
const ALSO_NODE: [&str; 4] = ["server", "tls", "telemetry", "metrics"];
const CONTROL_PLANE: [&str; 4] = ["control_plane.bind", "control_plane.advertise", "database", "web"];
/// What only a fleet has.
const FLEET: [&str; 2] = ["cutover", "site"];
/// What a fleet has, and a node that runs alone.
const ALSO_FLEET: [&str; 6] = [
    "destination",
    "routing",
    "mapping",
    "http",
    "capabilities",
    "oauth",
];

impl Kind {
    /// Of a file.
    ///
    /// # Errors
    /// It cannot be read, or could be two programs'.
    pub(super) fn of_file(path: &Path) -> Result<Self, Failure> {
        let bytes = std::fs::read(path)
            .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))?;
        // What is not UTF-8 is the validator's to say, with its line.
        let text = String::from_utf8_lossy(&bytes);
        let keys = match text.parse::<toml::Table>() {
            Ok(table) => keys(&table),
            Err(_) => keys_of_broken(&text),
        };
        Self::of(&keys).map_err(|readings| readings.failure(path))
    }

    fn of(keys: &[String]) -> Result<Self, Readings> {
        let among = |names: &[&'static str]| -> Vec<&'static str> {
            let there = |name: &&str| keys.iter().any(|key| key == name);
            names.iter().copied().filter(there).collect()
        };
        let node = among(&NODE);
        let control_plane = among(&CONTROL_PLANE);
        let fleet = among(&FLEET);
        if !control_plane.is_empty() {
            return match node.is_empty() {
                true => Ok(Self::ControlPlane),
                false => Err(Readings::new(
                    (Self::Node, node),
                    (Self::ControlPlane, control_plane),
                )),
            };
        }
        if !node.is_empty() {
            // A source of mappings is the node's own word, and its other tables are then checked as a node's.
            return match fleet.is_empty() || node.contains(&"mapping.source") {
                true => Ok(Self::Node),
                false => Err(Readings::new((Self::Node, node), (Self::Fleet, fleet))),
            };
        }
        let also_node = among(&ALSO_NODE);
        let also_fleet: Vec<_> = among(&FLEET).into_iter().chain(among(&ALSO_FLEET)).collect();
        match (also_node.is_empty(), also_fleet.is_empty()) {
            (true, _) => Ok(Self::Fleet),
            (false, true) => Ok(Self::Node),
            (false, false) => Err(Readings::new((Self::Node, also_node), (Self::Fleet, also_fleet))),
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Node => "a node's file",
            Self::ControlPlane => "a control plane's file",
            Self::Fleet => "the fleet's file",
        }
    }

    const fn as_flag(self) -> &'static str {
        match self {
            Self::Node => "--as node",
            Self::ControlPlane => "--as control-plane",
            Self::Fleet => "--as fleet",
        }
    }
}

/// Two programs that a file could be for, each with what speaks for it.
#[derive(Debug, PartialEq, Eq)]
struct Readings(Reading, Reading);

type Reading = (Kind, Vec<&'static str>);

impl Readings {
    const fn new(one: Reading, other: Reading) -> Self {
        Self(one, other)
    }

    fn failure(&self, path: &Path) -> Failure {
        let reading = |(kind, keys): &Reading| {
            let keys: Vec<_> = keys.iter().map(|key| shown(key)).collect();
            format!("{} (it has {})", kind.words(), keys.join(", "))
        };
        let Self(one, other) = self;
        let what = format!(
            "{} could be {}, or {}",
            path.display(),
            reading(one),
            reading(other)
        );
        let remedy = format!("say which: {} or {}", one.0.as_flag(), other.0.as_flag());
        Failure::usage(what).remedy(remedy)
    }
}

fn shown(key: &str) -> String {
    match key.contains('.') {
        true => key.to_owned(),
        false => format!("[{key}]"),
    }
}

/// The tables, and the keys in them.
fn keys(table: &toml::Table) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, value) in table {
        keys.push(name.clone());
        let inner = value.as_table().into_iter().flat_map(toml::Table::keys);
        keys.extend(inner.map(|key| format!("{name}.{key}")));
    }
    keys
}

/// What is not TOML is left to the validator to describe; whose it was meant to be is read from its headings.
fn keys_of_broken(text: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut table = String::new();
    for line in text.lines().map(str::trim) {
        let name = |text: &str| -> String {
            let part = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_');
            part.collect()
        };
        match line.strip_prefix('[') {
            Some(heading) => {
                table = name(heading.trim_start_matches('['));
                keys.push(table.clone());
            }
            None if line.contains('=') => keys.push(format!("{table}.{}", name(line))),
            None => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Result<Kind, Readings> {
        Kind::of(&keys(&text.parse().unwrap()))
    }

    #[test]
    fn the_tables_say_whose_file_it_is() {
        let lone = "[server]\n[listener.a]\n[routing]\n[mapping]\nsource = \"file\"\n[cutover]\n";
        assert_eq!(kind(lone), Ok(Kind::Node));
        let node = "[control_plane]\nendpoints = []\nnode = \"a\"\n";
        assert_eq!(kind(node), Ok(Kind::Node));
        assert_eq!(
            kind("[server]\n[control_plane]\nbind = \"\"\n"),
            Ok(Kind::ControlPlane)
        );
        assert_eq!(kind("[database]\n"), Ok(Kind::ControlPlane));
        assert_eq!(kind("[routing]\n[cutover]\n[mapping]\n"), Ok(Kind::Fleet));
        assert_eq!(kind("[server]\nthreads = 1\n"), Ok(Kind::Node));
        assert_eq!(kind(""), Ok(Kind::Fleet));
    }

    #[test]
    fn what_could_be_two_programs_names_both_and_what_speaks_for_each() {
        let failure = kind("[routing]\n[server]\n")
            .unwrap_err()
            .failure(Path::new("x.toml"));
        assert_eq!(
            failure.what,
            "x.toml could be a node's file (it has [server]), or the fleet's file (it has [routing])"
        );
        assert_eq!(failure.remedy, "say which: --as node or --as fleet");
        assert!(kind("[listener.a]\n[site.fra]\n").is_err());
        assert!(kind("[listener.a]\n[database]\n").is_err());
    }

    #[test]
    fn a_broken_file_is_known_by_its_headings() {
        let of = |text: &str| Kind::of(&keys_of_broken(text));
        assert_eq!(of("[server\nhostname = 1\n"), Ok(Kind::Node));
        assert_eq!(of("[listener.x]\nbind = [\n"), Ok(Kind::Node));
        assert_eq!(of("[control_plane]\nbind = \n"), Ok(Kind::ControlPlane));
        assert_eq!(of("[[http.route]]\nmatch\n"), Ok(Kind::Fleet));
    }
}
