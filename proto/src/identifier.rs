//! Identifiers: the login a client presents, in its one normal form, and the key under which tables hold it.
//!
//! Every program calls the same function, and `tests/identifier-vectors.txt` holds what it must answer, so that
//! a hold that the control plane makes and a login that a node reads never miss each other.
//!
//! Steps (behaviour §3, design section 4): cut at the earliest master-user separator, validate, normalise. In a
//! fleet: NFC, lower case, the domain in A-labels (UTS #46), the bare form completed by `bare_domain`. A node
//! that runs alone follows the reference's `normalize` instead.

use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use unicode_normalization::UnicodeNormalization as _;

/// The longest identifier, in bytes, before and after normalising: longer ones are refused (behaviour §3).
pub const MAX_BYTES: usize = 1024;

/// Why a login has no identifier that can be looked up. None of them shows the login: it may be a password
/// that was typed into the wrong field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentifier {
    /// Nothing is left of it.
    #[error("the login is empty once the master-user suffix is cut off")]
    Empty,
    /// Over `MAX_BYTES`.
    #[error("the login is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// A control character, a space or a double quote.
    #[error("the login holds a control character, a space or a double quote")]
    ForbiddenByte,
    /// The part behind the last `@` is no domain name.
    #[error("the login's domain is not a valid domain name")]
    Domain,
    /// Two `@` with nothing between them: only said of what an operator wrote.
    #[error("there is nothing between two @")]
    TwoAts,
}

/// How identifiers are brought to their normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normalization {
    /// As a fleet does it.
    Fleet {
        /// Completes a login without `@`: already in normal form. `None`: the bare form stays bare.
        bare_domain: Option<String>,
    },
    /// `mapping.normalize = "lowercase"` of the reference.
    Lowercase,
    /// `mapping.normalize = "none"` of the reference.
    AsPresented,
}

/// The rules that turn a presented login into an identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// `routing.master_user_separators`; empty ones are ignored.
    pub master_user_separators: Vec<String>,
    /// What follows the cut and the check.
    pub normalization: Normalization,
}

/// A login in its normal form: looked up, held, kicked and counted under this.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier(String);

impl Identifier {
    /// From what a client presented.
    ///
    /// # Errors
    /// When no identifier can be made of it. Such a login gets the protocol's temporary failure, never a
    /// destination.
    pub fn from_login(login: &str, rules: &Rules) -> Result<Self, InvalidIdentifier> {
        Self::normalized(cut(login, &rules.master_user_separators), &rules.normalization)
    }

    /// From what an operator wrote: an identifier without a master-user suffix.
    ///
    /// # Errors
    /// When it could never be presented by a client.
    pub fn normalized(text: &str, normalization: &Normalization) -> Result<Self, InvalidIdentifier> {
        validate(text)?;
        let normal = match normalization {
            Normalization::AsPresented => text.to_owned(),
            Normalization::Lowercase => text.to_lowercase(),
            Normalization::Fleet { bare_domain } => fleet_form(text, bare_domain.as_deref())?,
        };
        validate(&normal)?;
        Ok(Self(normal))
    }

    /// As `normalized`, and refuses a slip of the pen too: a client that presents one is left to the backend's verdict,
    /// but nobody means `alice@@example.org` when he moves a mailbox.
    ///
    /// # Errors
    /// When it could never be presented by a client, or is such a slip.
    pub fn written(text: &str, normalization: &Normalization) -> Result<Self, InvalidIdentifier> {
        let identifier = Self::normalized(text, normalization)?;
        match identifier.0.contains("@@") {
            true => Err(InvalidIdentifier::TwoAts),
            false => Ok(identifier),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The mapping that stands for all of its domain: `@example.org`. None for a bare identifier.
    #[must_use]
    pub fn domain_entry(&self) -> Option<&str> {
        self.0.rfind('@').map(|at| &self.0[at..])
    }

    /// True for `@example.org`, the mapping of a whole domain.
    #[must_use]
    pub fn is_domain_entry(&self) -> bool {
        self.0.starts_with('@')
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Identifier {
    /// Redacted: identifiers are people's addresses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identifier({}***)", self.0.chars().take(2).collect::<String>())
    }
}

/// The 128-bit keyed hash under which the tables of a fleet hold an identifier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u128);

impl Key {
    /// As it stands in packed columns.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From a packed column.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:032x})", self.0)
    }
}

/// A packed column whose length is no multiple of sixteen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a column of keys has {0} bytes, which is no multiple of 16")]
pub struct InvalidKeys(usize);

/// Packs keys into a column.
#[must_use]
pub fn pack(keys: &[Key]) -> Vec<u8> {
    keys.iter().flat_map(|key| key.to_bytes()).collect()
}

/// The keys of a packed column.
///
/// # Errors
/// When its length is no multiple of sixteen.
pub fn unpack(column: &[u8]) -> Result<impl ExactSizeIterator<Item = Key> + '_, InvalidKeys> {
    let (keys, rest) = column.as_chunks::<16>();
    if rest.is_empty() {
        Ok(keys.iter().map(|key| Key::from_bytes(*key)))
    } else {
        Err(InvalidKeys(column.len()))
    }
}

/// The secret of a fleet's table hash: made once, kept in the database, given to nodes over the feed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

impl HashKey {
    /// The key of an identifier, or of a domain entry such as `@example.org`.
    #[must_use]
    pub fn key_of(&self, normal_form: &str) -> Key {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(normal_form.as_bytes());
        Key(hasher.finish128().as_u128())
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

fn cut<'a>(login: &'a str, separators: &[String]) -> &'a str {
    let end = separators
        .iter()
        .filter(|separator| !separator.is_empty())
        .filter_map(|separator| login.find(separator.as_str()))
        .min()
        .unwrap_or(login.len());
    &login[..end]
}

fn validate(text: &str) -> Result<(), InvalidIdentifier> {
    if text.is_empty() {
        return Err(InvalidIdentifier::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(InvalidIdentifier::TooLong);
    }
    if text
        .bytes()
        .any(|byte| byte < 0x20 || matches!(byte, 0x7f | b' ' | b'"'))
    {
        return Err(InvalidIdentifier::ForbiddenByte);
    }
    Ok(())
}

fn fleet_form(text: &str, bare_domain: Option<&str>) -> Result<String, InvalidIdentifier> {
    // NFC again after lower-casing: lower-casing can take a string out of it.
    let lower: String = text.nfc().collect::<String>().to_lowercase().nfc().collect();
    match lower.rfind('@') {
        None => Ok(match bare_domain {
            Some(domain) => format!("{lower}@{domain}"),
            None => lower,
        }),
        Some(at) => {
            let domain = &lower[at + 1..];
            if domain.is_empty() {
                return Err(InvalidIdentifier::Domain);
            }
            let labels = idna::domain_to_ascii(domain).map_err(|_| InvalidIdentifier::Domain)?;
            // Characters that are mapped to nothing, or to another @: the form would not be its own normal form.
            if labels.is_empty() || labels.contains('@') {
                return Err(InvalidIdentifier::Domain);
            }
            Ok(format!("{}@{labels}", &lower[..at]))
        }
    }
}

#[cfg(test)]
mod tests;
