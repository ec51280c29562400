//! Files that are replaced while the program runs. They are looked at now and then: a notification would not come from
//! a network's file system, and would have to follow every symbolic link on the way.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A certificate and its key, or whatever belongs together.
#[derive(Debug)]
pub(crate) struct Watched {
    paths: Vec<PathBuf>,
    used: Stamp,
    seen: Stamp,
    complaint: Option<String>,
}

/// What tells one state of the files from another: of each where it lies, how long it is, and when it was changed.
/// None: there is none. A symbolic link counts as what it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<Option<[i64; 7]>>);

/// Whether an error was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// It was not.
    New,
    /// It was, and nothing has become of it.
    Known,
}

impl Watched {
    /// Call it before the files are read: what is replaced meanwhile is then found by the next look.
    pub(crate) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().collect();
        let now = Stamp::of(&paths);
        Self {
            paths,
            used: now.clone(),
            seen: now,
            complaint: None,
        }
    }

    /// What the files are now, when they are other ones than those in use, and have been so since the look before:
    /// whoever replaces a certificate and then its key is not met halfway.
    pub(crate) fn look(&mut self) -> Option<Stamp> {
        let now = Stamp::of(&self.paths);
        let settled = now == self.seen;
        self.seen = now;
        (settled && self.seen != self.used).then(|| self.seen.clone())
    }

    /// They are in use.
    pub(crate) fn took(&mut self, stamp: Stamp) {
        self.used = stamp;
        self.complaint = None;
    }

    /// They cannot be used. The next look tries again: the reason may not lie in the files.
    pub(crate) fn refused(&mut self, why: &str) -> Complaint {
        if self.complaint.as_deref() == Some(why) {
            return Complaint::Known;
        }
        self.complaint = Some(why.to_owned());
        Complaint::New
    }
}

impl Stamp {
    fn of(paths: &[PathBuf]) -> Self {
        Self(paths.iter().map(|path| of_file(path)).collect())
    }
}

fn of_file(path: &Path) -> Option<[i64; 7]> {
    let found = std::fs::metadata(path).ok()?;
    Some([
        found.dev().cast_signed(),
        found.ino().cast_signed(),
        found.size().cast_signed(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_when_they_have_stopped_changing() {
        let directory = tempfile::tempdir().unwrap();
        let [cert, key] = ["cert", "key"].map(|name| directory.path().join(name));
        std::fs::write(&cert, "1").unwrap();
        std::fs::write(&key, "1").unwrap();
        let mut watched = Watched::new([cert.clone(), key.clone()]);
        assert_eq!(watched.look(), None, "nothing has changed");
        std::fs::write(&cert, "22").unwrap();
        assert_eq!(watched.look(), None, "it may be half of a change");
        std::fs::write(&key, "22").unwrap();
        assert_eq!(watched.look(), None, "so it was");
        let stamp = watched.look().expect("both are new");
        watched.took(stamp);
        assert_eq!(watched.look(), None);
    }

    #[test]
    fn what_cannot_be_used_is_tried_again_and_said_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cert");
        let mut watched = Watched::new([path.clone()]);
        std::fs::write(&path, "x").unwrap();
        assert_eq!(watched.look(), None);
        for expected in [Complaint::New, Complaint::Known] {
            assert!(watched.look().is_some());
            assert_eq!(watched.refused("it is no certificate"), expected);
        }
        assert_eq!(watched.refused("it cannot be read"), Complaint::New);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(watched.look(), None);
        assert_eq!(watched.look(), None, "as before: there was none");
    }

    #[test]
    fn a_renamed_file_and_another_target_of_a_link_are_other_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for folder in ["a", "b"] {
            std::fs::create_dir(path(folder)).unwrap();
            std::fs::write(path(folder).join("cert"), "same").unwrap();
        }
        std::os::unix::fs::symlink("a", path("current")).unwrap();
        let mut watched = Watched::new([path("current").join("cert")]);
        std::os::unix::fs::symlink("b", path("next")).unwrap();
        std::fs::rename(path("next"), path("current")).unwrap();
        assert_eq!(watched.look(), None);
        let stamp = watched.look().expect("the link leads elsewhere");
        watched.took(stamp);
        std::fs::write(path("new"), "same").unwrap();
        std::fs::rename(path("new"), path("b").join("cert")).unwrap();
        assert_eq!(watched.look(), None);
        assert!(watched.look().is_some(), "it was replaced in its place");
    }
}
