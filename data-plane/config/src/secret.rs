//! Values that no message, log or `Debug` output may show (configuration section 1, "Secrets").

use std::fmt;

use zeroize::Zeroizing;

/// A token or password. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself: for the one place that compares or sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The address of a store or database, which may hold a password. `Display` and `Debug` leave out the password
/// and the query, where some drivers take another one.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(Zeroizing<String>);

impl StoreUrl {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The whole address, password included: for the driver.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What stands before the first colon; empty without one.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }
}

impl fmt::Display for StoreUrl {
    /// In doubt it shows less: a password may hold any of the characters that divide an address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return f.write_str("…");
        };
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let place = place.split(['?', '#']).next().unwrap_or_default();
        match user {
            Some(user) if user.contains(['?', '#']) => write!(f, "{scheme}://…"),
            Some(user) => match user.split_once(':') {
                Some((name, _)) if is_plain(name) => write!(f, "{scheme}://{name}:…@{place}"),
                None if is_plain(user) => write!(f, "{scheme}://{user}@{place}"),
                _ => write!(f, "{scheme}://…@{place}"),
            },
            None if has_port_or_nothing(place) => write!(f, "{scheme}://{place}"),
            None => write!(f, "{scheme}://…"),
        }
    }
}

fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'%'))
}

/// `user:password` without a host would read as a host and a port that is no number.
fn has_port_or_nothing(place: &str) -> bool {
    let authority = place.split('/').next().unwrap_or_default();
    authority.starts_with('[')
        || authority
            .split_once(':')
            .is_none_or(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_store_never_shows_its_password() {
        for (url, shown) in [
            (
                "postgres://router:pw@db.lan.example/mail",
                "postgres://router:…@db.lan.example/mail",
            ),
            (
                "postgres://router@db/mail?password=pw",
                "postgres://router@db/mail",
            ),
            ("redis://:p?w@127.0.0.1:6379/0", "redis://…"),
            ("redis://:pw@127.0.0.1:6379/0", "redis://:…@127.0.0.1:6379/0"),
            ("redis://:p/w@host/0", "redis://:…@host/0"),
            ("postgres://db/mail?password=p@w", "postgres://…"),
            ("postgres://user:pw", "postgres://…"),
            ("mysql://u:p@w@host/db", "mysql://u:…@host/db"),
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("sqlite:///var/lib/routes.db", "sqlite:///var/lib/routes.db"),
            ("hunter2", "…"),
        ] {
            assert_eq!(StoreUrl::new(url.to_owned()).to_string(), shown);
            assert!(!format!("{:?}", StoreUrl::new(url.to_owned())).contains("pw"));
        }
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "Secret(…)");
    }
}
