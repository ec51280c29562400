//! The files of the private PostgreSQL: its data, its password, its socket's directory, its log.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use sqlx::postgres::PgConnectOptions;
use tokio::process::Command;

use super::PrivateError;
use super::user::RunAs;
use crate::database::binaries::Binaries;

/// `sun_path` has 108 bytes with its zero; PostgreSQL appends `/.s.PGSQL.5432`.
const SOCKET_PATH_MAX: usize = 107;
const SOCKET_NAME: &str = "/.s.PGSQL.5432";
const ROLE: &str = "mailswitch";

/// A data directory that is there, and what belongs to it.
pub(super) struct Cluster {
    binaries: Binaries,
    run_as: Option<RunAs>,
    data: PathBuf,
    log: PathBuf,
    socket_dir: PathBuf,
    password: String,
    _lock: File,
}

impl Cluster {
    /// Makes it if it is not there.
    pub(super) async fn open(state_dir: &Path) -> Result<Self, PrivateError> {
        fs::create_dir_all(state_dir).map_err(PrivateError::io(state_dir))?;
        let state_dir = state_dir.canonicalize().map_err(PrivateError::io(state_dir))?;
        let lock = lock(&state_dir)?;
        let run_as = RunAs::needed()?;
        if let Some(run_as) = &run_as {
            run_as.make_passable(&state_dir)?;
        }
        let data = state_dir.join("postgresql");
        let binaries = binaries(&data)?;
        let mut cluster = Self {
            binaries,
            run_as,
            log: state_dir.join("postgresql.log"),
            socket_dir: PathBuf::new(),
            password: String::new(),
            data,
            _lock: lock,
        };
        cluster.password = cluster.password_in(&state_dir.join("postgresql.password"))?;
        if !cluster.data.exists() {
            cluster.make().await?;
        }
        cluster.socket_dir = cluster.socket_dir_in(&state_dir)?;
        Ok(cluster)
    }

    pub(super) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    pub(super) fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// How to connect.
    pub(super) fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket_dir)
            .port(5432)
            .username(ROLE)
            .password(&self.password)
            .database("postgres")
    }

    /// A program of PostgreSQL, as the user that it runs as, and with nothing of our environment.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/");
        if let Some(run_as) = &self.run_as {
            command.uid(run_as.uid).gid(run_as.gid);
        }
        command
    }

    pub(super) fn not_up(&self) -> PrivateError {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        PrivateError::Start {
            log: self.log.clone(),
            tail: lines[lines.len().saturating_sub(8)..].join("\n"),
        }
    }

    /// Beside its place, and moved there when it is complete: an initdb that was killed leaves nothing that looks right.
    async fn make(&self) -> Result<(), PrivateError> {
        let fresh = self.data.with_extension("new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(PrivateError::io(&fresh))?;
        }
        self.dir(&fresh)?;
        let pwfile = self.data.with_extension("pw");
        self.private_file(&pwfile, &self.password)?;
        let output = self
            .command(&self.binaries.initdb())
            .arg("-D")
            .arg(&fresh)
            .args(["-U", ROLE, "-A", "scram-sha-256", "-E", "UTF8", "--no-locale"])
            .arg("--pwfile")
            .arg(&pwfile)
            .output()
            .await
            .map_err(PrivateError::io(&self.binaries.initdb()))?;
        fs::remove_file(&pwfile).map_err(PrivateError::io(&pwfile))?;
        if !output.status.success() {
            return Err(PrivateError::InitDb(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
        fs::rename(&fresh, &self.data).map_err(PrivateError::io(&self.data))
    }

    fn password_in(&self, file: &Path) -> Result<String, PrivateError> {
        if self.data.exists() {
            return Ok(fs::read_to_string(file)
                .map_err(PrivateError::io(file))?
                .trim()
                .to_owned());
        }
        let password = format!("{:032x}", rand::rng().random::<u128>());
        let _ = fs::remove_file(file);
        let mut out = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)
            .map_err(PrivateError::io(file))?;
        out.write_all(password.as_bytes())
            .and_then(|()| out.sync_all())
            .map_err(PrivateError::io(file))?;
        Ok(password)
    }

    /// In the state directory when the path is short enough, else a short one that is written down there.
    fn socket_dir_in(&self, state_dir: &Path) -> Result<PathBuf, PrivateError> {
        let near = state_dir.join("run");
        if near.as_os_str().len() + SOCKET_NAME.len() < SOCKET_PATH_MAX {
            self.own_dir(&near)?;
            return Ok(near);
        }
        let record = state_dir.join("postgresql.socket-dir");
        let recorded = fs::read_to_string(&record)
            .ok()
            .map(|text| PathBuf::from(text.trim()));
        if let Some(dir) = recorded.filter(|dir| self.own_dir(dir).is_ok()) {
            return Ok(dir);
        }
        let parent = if self.run_as.is_some() { "/run" } else { "/tmp" };
        let dir = PathBuf::from(format!(
            "{parent}/mailswitch-{:016x}",
            rand::rng().random::<u64>()
        ));
        self.own_dir(&dir)?;
        fs::write(&record, format!("{}\n", dir.display())).map_err(PrivateError::io(&record))?;
        Ok(dir)
    }

    /// Makes a directory, or accepts one that is nobody else's.
    fn own_dir(&self, dir: &Path) -> Result<(), PrivateError> {
        match fs::symlink_metadata(dir) {
            Err(_) => self.dir(dir),
            Ok(found) if found.is_dir() && found.uid() == self.owner() => Ok(()),
            Ok(_) => Err(PrivateError::Io {
                path: dir.to_owned(),
                source: std::io::Error::other("it is there, and it is not ours: remove it"),
            }),
        }
    }

    fn owner(&self) -> u32 {
        self.run_as
            .as_ref()
            .map_or_else(|| nix::unistd::geteuid().as_raw(), |run_as| run_as.uid)
    }

    fn dir(&self, dir: &Path) -> Result<(), PrivateError> {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(dir)
            .map_err(PrivateError::io(dir))?;
        self.give(dir)
    }

    fn private_file(&self, file: &Path, content: &str) -> Result<(), PrivateError> {
        let _ = fs::remove_file(file);
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)
            .and_then(|mut out| out.write_all(content.as_bytes()))
            .map_err(PrivateError::io(file))?;
        self.give(file)
    }

    fn give(&self, path: &Path) -> Result<(), PrivateError> {
        match &self.run_as {
            None => Ok(()),
            Some(run_as) => std::os::unix::fs::chown(path, Some(run_as.uid), Some(run_as.gid))
                .map_err(PrivateError::io(path)),
        }
    }
}

/// The newest for new data; for data that is there, the version that wrote it.
fn binaries(data: &Path) -> Result<Binaries, PrivateError> {
    let newest = Binaries::newest()?;
    let version = data.join("PG_VERSION");
    if !data.exists() {
        return Ok(newest);
    }
    let text = fs::read_to_string(&version).map_err(PrivateError::io(&version))?;
    let has: u32 = text.trim().parse().map_err(|_| PrivateError::Io {
        path: version.clone(),
        source: std::io::Error::other(format!("it says {:?} instead of a major version", text.trim())),
    })?;
    Binaries::of_major(has).ok_or(PrivateError::OtherMajor {
        data: data.to_owned(),
        has,
        installed: newest.major,
    })
}

fn lock(state_dir: &Path) -> Result<File, PrivateError> {
    let path = state_dir.join("postgresql.lock");
    let file = File::create(&path).map_err(PrivateError::io(&path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(PrivateError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(PrivateError::Locked(state_dir.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(PrivateError::Io { path, source }),
    }
}
