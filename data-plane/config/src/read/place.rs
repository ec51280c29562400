//! Where in a document something stands: its key path.

use std::fmt;

/// A key path, `destination.legacy.protocol.imap.tls` or `http.route[0].match`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place(Vec<Step>);

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Into a table.
    Key(String),
    /// Into an array.
    Index(usize),
}

impl Place {
    /// The document itself.
    pub(crate) fn root() -> Self {
        Self::default()
    }

    /// A path of keys.
    pub(crate) fn of<const N: usize>(keys: [&str; N]) -> Self {
        Self(keys.into_iter().map(|key| Step::Key(key.to_owned())).collect())
    }

    /// A key below.
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        Self(steps)
    }

    /// An element below.
    pub(crate) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        Self(steps)
    }

    /// A path below.
    pub(crate) fn join(&self, below: &Self) -> Self {
        let mut steps = self.0.clone();
        steps.extend(below.0.iter().cloned());
        Self(steps)
    }

    /// The steps from the document down.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The key at a depth, when one stands there.
    pub(crate) fn key_at(&self, depth: usize) -> Option<&str> {
        match self.0.get(depth) {
            Some(Step::Key(key)) => Some(key),
            _ => None,
        }
    }

    /// True for itself and everything above.
    pub(crate) fn is_under(&self, above: &Self) -> bool {
        self.0.starts_with(&above.0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if depth > 0 {
                        f.write_str(".")?;
                    }
                    write_key(f, key)?;
                }
            }
        }
        Ok(())
    }
}

/// As TOML writes a key: bare where it can be.
fn write_key(f: &mut impl fmt::Write, key: &str) -> fmt::Result {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if bare {
        f.write_str(key)
    } else {
        f.write_str(&super::document::quoted(key))
    }
}
