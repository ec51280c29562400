//! Where the control plane is, and who we are to it: from flags, else from `MAILSWITCH_*` in the environment (clap
//! reads both), else from a profile in `~/.config/mailswitch/config.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mailswitch_proto::channel::Files;
use serde::Deserialize;

use crate::exit::Failure;

/// The flags that say where and who.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArguments {
    /// A control plane, `https://HOST:PORT`; several times or with commas: tried in turn.
    #[arg(
        long,
        global = true,
        env = "MAILSWITCH_ENDPOINT",
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub endpoint: Vec<String>,
    /// The fleet's authority (PEM).
    #[arg(long, global = true, env = "MAILSWITCH_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Our certificate (PEM).
    #[arg(long, global = true, env = "MAILSWITCH_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, global = true, env = "MAILSWITCH_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The table `[profile.NAME]` of `~/.config/mailswitch/config.toml` that says what flags and environment do not.
    #[arg(long, global = true, env = "MAILSWITCH_PROFILE", value_name = "NAME")]
    pub profile: Option<String>,
}

/// All of it, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// At least one.
    pub endpoints: Vec<String>,
    /// Authority, certificate and key.
    pub files: Files,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    #[serde(default)]
    profile: BTreeMap<String, Profile>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    #[serde(default)]
    endpoints: Vec<String>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Settings {
    /// Puts flags and environment over the profile.
    ///
    /// # Errors
    /// Something is said nowhere, the profile does not exist, or its file is not as it should be.
    pub fn of(arguments: &ConnectionArguments) -> Result<Self, Failure> {
        Self::with_file(arguments, profile_file().as_deref())
    }

    /// Only the endpoints: for a file that names them.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn endpoints(arguments: &ConnectionArguments) -> Result<Vec<String>, Failure> {
        let profile = Profile::read(arguments.profile.as_deref(), profile_file().as_deref())?;
        let endpoints = match arguments.endpoint.is_empty() {
            true => profile.endpoints,
            false => arguments.endpoint.clone(),
        };
        match endpoints.is_empty() {
            true => Err(missing("endpoint", "the control plane's https://HOST:PORT")),
            false => Ok(endpoints),
        }
    }

    /// With the configuration file of this path.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn with_file(arguments: &ConnectionArguments, file: Option<&Path>) -> Result<Self, Failure> {
        let profile = Profile::read(arguments.profile.as_deref(), file)?;
        let endpoints = match arguments.endpoint.is_empty() {
            true => profile.endpoints,
            false => arguments.endpoint.clone(),
        };
        if endpoints.is_empty() {
            return Err(missing("endpoint", "the control plane's https://HOST:PORT"));
        }
        let either = |flag: &Option<PathBuf>, profile: Option<PathBuf>, name, what| {
            flag.clone().or(profile).ok_or_else(|| missing(name, what))
        };
        Ok(Self {
            endpoints,
            files: Files {
                ca: either(
                    &arguments.ca,
                    profile.ca,
                    "ca",
                    "the file of the fleet's authority",
                )?,
                cert: either(
                    &arguments.cert,
                    profile.cert,
                    "cert",
                    "the file of your certificate",
                )?,
                key: either(&arguments.key, profile.key, "key", "the file of your private key")?,
            },
        })
    }
}

impl Profile {
    fn read(name: Option<&str>, file: Option<&Path>) -> Result<Self, Failure> {
        let absent = |name: &str| match file {
            Some(file) => Failure::usage(format!("there is no [profile.{name}] in {}", file.display())),
            None => Failure::usage("--profile needs HOME or XDG_CONFIG_HOME to find its file"),
        };
        let text = match file.map(std::fs::read_to_string) {
            Some(Ok(text)) => text,
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                let file = file
                    .map(Path::display)
                    .map(|path| path.to_string())
                    .unwrap_or_default();
                return Err(Failure::usage(format!("{file} cannot be read: {error}")));
            }
            _ => return name.map_or_else(|| Ok(Self::default()), |name| Err(absent(name))),
        };
        let folder = file.and_then(Path::parent).unwrap_or(Path::new(""));
        let mut parsed: ConfigFile = toml::from_str(&text).map_err(|error| {
            Failure::usage(format!("{}: {error}", file.unwrap_or(Path::new("")).display()))
        })?;
        let wanted = name.unwrap_or("default");
        match (parsed.profile.remove(wanted), name) {
            (Some(profile), _) => Ok(profile.beside(folder)),
            (None, Some(name)) => Err(absent(name)),
            (None, None) => Ok(Self::default()),
        }
    }

    /// Its relative paths start where its file is.
    fn beside(mut self, folder: &Path) -> Self {
        for path in [&mut self.ca, &mut self.cert, &mut self.key]
            .into_iter()
            .flatten()
        {
            *path = folder.join(&*path);
        }
        self
    }
}

fn missing(name: &str, what: &str) -> Failure {
    Failure::usage(format!("nothing says {what}")).remedy(format!(
        "give --{name}, set MAILSWITCH_{}, or write `{}` into [profile.default] of ~/.config/mailswitch/config.toml",
        name.to_uppercase(),
        if name == "endpoint" { "endpoints" } else { name },
    ))
}

fn profile_file() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_CONFIG_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .map(|folder| folder.join("mailswitch/config.toml"))
}
