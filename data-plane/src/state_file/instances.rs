//! The file `instance`: the processes of a state directory that the control plane may know (promise N1). Lines of a word and
//! an id:
//!
//! - `welcomed`: it was registered, and is gone when somebody else has the directory's lock: the next start replaces it. The
//!   first one is the newest.
//! - `announced`: it may have said Hello, and was not welcomed. The next start takes it up.
//! - `retiring`: it handed the directory over and may live; it is gone when its own lock can be had (`lives.rs`).

use std::io;
use std::path::Path;
use std::str::FromStr as _;

use mailswitch_proto::id::InstanceId;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Instances {
    pub(super) welcomed: Vec<InstanceId>,
    pub(super) announced: Option<InstanceId>,
    pub(super) retiring: Vec<InstanceId>,
}

impl Instances {
    /// As a process writes them that has the directory: itself and whether it was welcomed, whom it replaces, and who lives
    /// beside it.
    pub(super) fn of(ours: (InstanceId, bool), gone: &[InstanceId], retiring: Vec<InstanceId>) -> Self {
        let (instance, welcomed) = ours;
        let newest = welcomed.then_some(instance);
        Self {
            welcomed: newest.into_iter().chain(gone.iter().rev().copied()).collect(),
            announced: (!welcomed).then_some(instance),
            retiring,
        }
    }

    /// It goes on without the directory.
    pub(super) fn handed_over_by(&mut self, instance: InstanceId) {
        self.welcomed.retain(|one| *one != instance);
        self.announced = self.announced.filter(|one| *one != instance);
        self.retiring.push(instance);
    }

    /// Whom the next process replaces, the newest last.
    pub(super) fn gone(&self) -> Vec<InstanceId> {
        self.welcomed.iter().rev().copied().collect()
    }

    pub(super) fn read(path: &Path) -> io::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Self {
        let all = |word: &str| {
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .filter(|(key, _)| *key == word)
                .filter_map(|(_, id)| InstanceId::from_str(id.trim()).ok())
                .collect::<Vec<_>>()
        };
        Self {
            welcomed: all("welcomed"),
            announced: all("announced").first().copied(),
            retiring: all("retiring"),
        }
    }

    pub(super) fn text(&self) -> String {
        let lines = |word: &str, ids: &[InstanceId]| -> String {
            ids.iter().map(|id| format!("{word} {id}\n")).collect()
        };
        lines("welcomed", &self.welcomed)
            + &lines("announced", self.announced.as_slice())
            + &lines("retiring", &self.retiring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_the_newest_is_replaced_last() {
        let ids: Vec<InstanceId> = (0..4).map(|_| InstanceId::random()).collect();
        let mut written = Instances::of((ids[0], true), &ids[1..3], vec![ids[3]]);
        assert_eq!(Instances::parse(&written.text()), written);
        assert_eq!(written.gone(), [ids[1], ids[2], ids[0]]);
        written.handed_over_by(ids[0]);
        let read = Instances::parse(&written.text());
        assert_eq!(
            (read.gone(), read.retiring),
            (vec![ids[1], ids[2]], vec![ids[3], ids[0]])
        );
        let unwelcomed = Instances::of((ids[0], false), &[], Vec::new());
        assert_eq!(Instances::parse(&unwelcomed.text()).announced, Some(ids[0]));
    }
}
