//! Names that operators give: arbitrary TOML keys, compared byte for byte (configuration section 1). Each kind is
//! a type of its own, so that a listener is never looked up among the destinations.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

name! {
    /// `[destination.NAME]`: what mappings and routes name.
    DestinationName
}
name! {
    /// `[listener.NAME]`.
    ListenerName
}
name! {
    /// `[tls.certificate.NAME]`.
    CertificateName
}
name! {
    /// `[control_plane] node`: the node's name, the same as in its certificate.
    NodeName
}
name! {
    /// `[control_plane] site` of a node, `[site.NAME.destination.*]` of a fleet. Empty: no site in particular.
    SiteName
}
