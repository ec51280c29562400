//! `Via` (RFC 9110 §7.6.3): how a request that comes back to us is recognised (behaviour 7.4).

use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};

use crate::field;
use crate::refusal::Refusal;

/// The name under which this process puts itself into `Via`: random, so that nothing is learnt from it and no two
/// processes share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pseudonym(String);

impl Pseudonym {
    /// From random bits, once per process.
    #[must_use]
    pub fn of(random: u64) -> Self {
        Self(format!("mailswitch-{random:016x}"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Refuses what has passed here already.
    ///
    /// # Errors
    /// [`Refusal::Loop`].
    pub(crate) fn not_in(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let been_here = field::list(headers, &VIA).any(|hop| {
            hop.split(|byte| byte.is_ascii_whitespace())
                .filter(|part| !part.is_empty())
                .nth(1)
                .is_some_and(|by| by.eq_ignore_ascii_case(self.0.as_bytes()))
        });
        if been_here { Err(Refusal::Loop) } else { Ok(()) }
    }

    /// Adds us behind those who passed it on before.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap, received: Version) {
        let version = if received == Version::HTTP_2 { "2" } else { "1.1" };
        let hop = format!("{version} {}", self.0);
        if let Ok(hop) = HeaderValue::try_from(hop) {
            field::append(headers, &VIA, &hop);
        }
    }
}
