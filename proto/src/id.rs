//! Identities made of 128 random bits: each kind is a type of its own, so that the id of a hold is never
//! compared with the id of an operation.

use std::fmt;

/// Sixteen bytes were expected where an identity stands, and something else came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {len} bytes instead of 16")]
pub struct InvalidId {
    what: &'static str,
    len: usize,
}

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// Makes one from the operating system's randomness.
            #[must_use]
            pub fn random() -> Self {
                Self(uuid::Uuid::new_v4())
            }

            /// The sixteen bytes, as they stand on the wire and on disk.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The sixteen bytes, for a message field.
            #[must_use]
            pub fn to_vec(self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }

            /// As a column of the database holds it.
            #[must_use]
            pub const fn uuid(self) -> uuid::Uuid {
                self.0
            }
        }

        impl From<[u8; 16]> for $name {
            fn from(bytes: [u8; 16]) -> Self {
                Self(uuid::Uuid::from_bytes(bytes))
            }
        }

        impl From<uuid::Uuid> for $name {
            fn from(uuid: uuid::Uuid) -> Self {
                Self(uuid)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = InvalidId;

            fn try_from(bytes: &[u8]) -> Result<Self, InvalidId> {
                <[u8; 16]>::try_from(bytes)
                    .map(Self::from)
                    .map_err(|_| InvalidId { what: $what, len: bytes.len() })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

identity! {
    /// One hold of an account (promise Q1): never used again.
    HoldId, "the id of a hold"
}
identity! {
    /// One arming of an account (promise L1): never used again.
    ArmingId, "the id of an arming"
}
identity! {
    /// One cutover, rollback or other recorded operation.
    OperationId, "the id of an operation"
}
identity! {
    /// One process of a node (promise N1).
    InstanceId, "the id of an instance"
}
identity! {
    /// One fleet: made when its database was.
    FleetId, "the id of a fleet"
}
identity! {
    /// One account.
    AccountId, "the id of an account"
}
