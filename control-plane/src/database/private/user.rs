//! Whom PostgreSQL runs as: it refuses root.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::unistd::{User, geteuid};

use super::PrivateError;

/// The unprivileged user.
#[derive(Debug)]
pub(super) struct RunAs {
    name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl RunAs {
    /// None when we are not root ourselves.
    pub(super) fn needed() -> Result<Option<Self>, PrivateError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| {
                Some(Self {
                    name: user.name,
                    uid: user.uid.as_raw(),
                    gid: user.gid.as_raw(),
                })
            })
            .ok_or(PrivateError::NoUser)
    }

    /// The state directory is ours and is made passable (not readable); its parents are the operator's.
    pub(super) fn make_passable(&self, state_dir: &Path) -> Result<(), PrivateError> {
        let found = fs::metadata(state_dir).map_err(PrivateError::io(state_dir))?;
        if !self.passes(&found) {
            let mode = found.permissions().mode() | 0o001;
            fs::set_permissions(state_dir, fs::Permissions::from_mode(mode))
                .map_err(PrivateError::io(state_dir))?;
        }
        for dir in state_dir.ancestors().skip(1) {
            let found = fs::metadata(dir).map_err(PrivateError::io(dir))?;
            if !self.passes(&found) {
                return Err(PrivateError::NotPassable {
                    user: self.name.clone(),
                    dir: dir.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn passes(&self, dir: &fs::Metadata) -> bool {
        let mode = dir.mode();
        if dir.uid() == self.uid {
            mode & 0o100 != 0
        } else if dir.gid() == self.gid {
            mode & 0o010 != 0
        } else {
            mode & 0o001 != 0
        }
    }
}
