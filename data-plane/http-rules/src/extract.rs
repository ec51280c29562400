//! Which login a request names (behaviour 8.2): in Authorization, a query parameter, a field, or the start of its body.

mod authorization;

use std::fmt;

use http::HeaderName;
use mailswitch_config::table::http::Extract;
use regex::bytes::Regex;

use crate::refusal::Refusal;
use crate::request::Received;

/// `extract` of a route, ready to be used.
#[derive(Debug, Clone)]
pub enum Extractor {
    /// Basic or Bearer.
    Authorization,
    /// The first parameter of this decoded name.
    Query(String),
    /// The first field of this name.
    Header(HeaderName),
    /// The first capture group over the start of the body.
    Body(Regex),
}

/// What has to be there before the login can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// [`Extractor::from_head`] says it.
    Head,
    /// The first `body_extract_cap` bytes of the body, or all of it: [`Extractor::from_body`] says it.
    Body,
}

/// The login that a request names, as presented.
#[derive(Clone, PartialEq, Eq)]
pub enum Extracted {
    /// Not yet cut, checked or normalised.
    Login(String),
    /// It names none: to the fallback of its route.
    Absent,
}

impl fmt::Debug for Extracted {
    /// Redacted: logins are people's addresses, and a password may stand in the wrong place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login(_) => "Extracted::Login(…)",
            Self::Absent => "Extracted::Absent",
        })
    }
}

/// An `extract` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExtractor {
    /// The regular expression is none, or too large.
    #[error("its regex cannot be read")]
    Regex,
    /// It captures nothing.
    #[error("its regex has no capture group")]
    NoGroup,
    /// No field can have this name.
    #[error("its header is no field name")]
    Header,
}

impl Extractor {
    pub(crate) fn compile(extract: &Extract) -> Result<Self, InvalidExtractor> {
        Ok(match extract {
            Extract::Authorization => Self::Authorization,
            Extract::Query { param } => Self::Query(param.clone()),
            Extract::Header { header } => {
                Self::Header(HeaderName::from_bytes(header.as_bytes()).map_err(|_| InvalidExtractor::Header)?)
            }
            Extract::Body { regex } => {
                let regex = Regex::new(regex).map_err(|_| InvalidExtractor::Regex)?;
                if regex.captures_len() < 2 {
                    return Err(InvalidExtractor::NoGroup);
                }
                Self::Body(regex)
            }
        })
    }

    /// What has to be read first.
    #[must_use]
    pub const fn needs(&self) -> Needs {
        match self {
            Self::Authorization | Self::Query(_) | Self::Header(_) => Needs::Head,
            Self::Body(_) => Needs::Body,
        }
    }

    /// The login in a head. A body's extractor finds none there.
    ///
    /// # Errors
    /// When what stands there cannot be read in one way only, see [`Refusal`].
    pub fn from_head(&self, request: &Received, jwt_claim: &str) -> Result<Extracted, Refusal> {
        match self {
            Self::Authorization => authorization::login(request.headers(), jwt_claim),
            Self::Query(param) => Ok(query(request.query().unwrap_or_default(), param)),
            Self::Header(name) => header(request, name),
            Self::Body(_) => Ok(Extracted::Absent),
        }
    }

    /// The login in the first bytes of a body: a cut character or a binary body does not spoil it.
    #[must_use]
    pub fn from_body(&self, start: &[u8]) -> Extracted {
        let Self::Body(regex) = self else {
            return Extracted::Absent;
        };
        regex
            .captures(start)
            .and_then(|captures| captures.get(1))
            .map_or(Extracted::Absent, |group| {
                Extracted::Login(form_decoded(group.as_bytes()))
            })
    }

    /// The logins that stand behind the first one in the same place: servers differ in which of them they take, so the
    /// request acts for all of them (promise A2). `start` as in [`Extractor::from_body`].
    ///
    /// # Errors
    /// [`Refusal::TooManyNames`].
    pub fn besides(&self, request: &Received, start: &[u8]) -> Result<Vec<String>, Refusal> {
        let besides: Vec<String> = match self {
            // There is one.
            Self::Authorization => Vec::new(),
            Self::Query(param) => form_urlencoded::parse(request.query().unwrap_or_default().as_bytes())
                .filter(|(name, _)| name == param)
                .skip(1)
                .map(|(_, value)| value.into_owned())
                .take(MOST_NAMES)
                .collect(),
            Self::Header(name) => request
                .headers()
                .get_all(name)
                .into_iter()
                .skip(1)
                .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
                .map(str::to_owned)
                .take(MOST_NAMES)
                .collect(),
            Self::Body(regex) => regex
                .captures_iter(start)
                .skip(1)
                .filter_map(|captures| captures.get(1))
                .map(|group| form_decoded(group.as_bytes()))
                .take(MOST_NAMES)
                .collect(),
        };
        if besides.len() < MOST_NAMES {
            Ok(besides)
        } else {
            Err(Refusal::TooManyNames)
        }
    }
}

/// More are no form and no account's request, and each is a place in the registry.
const MOST_NAMES: usize = 16;

/// Whom the request's own credential names, wherever it is routed by: a session acts for him too (promise A2).
pub(crate) fn carried(request: &Received, jwt_claim: &str) -> Result<Extracted, Refusal> {
    authorization::login(request.headers(), jwt_claim)
}

fn query(query: &str, param: &str) -> Extracted {
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == param)
        .map_or(Extracted::Absent, |(_, value)| {
            Extracted::Login(value.into_owned())
        })
}

fn header(request: &Received, name: &HeaderName) -> Result<Extracted, Refusal> {
    let Some(value) = request.headers().get(name) else {
        return Ok(Extracted::Absent);
    };
    std::str::from_utf8(value.as_bytes())
        .map(|value| Extracted::Login(value.to_owned()))
        .map_err(|_| Refusal::IdentifierEncoding)
}

/// `+` is a blank, `%XX` a byte; what is no UTF-8 then becomes U+FFFD.
fn form_decoded(bytes: &[u8]) -> String {
    // `=` and `&` would end a name or a value; here they are part of it.
    let mut escaped = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'&' => escaped.extend_from_slice(b"%26"),
            b'=' => escaped.extend_from_slice(b"%3D"),
            byte => escaped.push(*byte),
        }
    }
    form_urlencoded::parse(&escaped)
        .next()
        .map_or_else(String::new, |(name, _)| name.into_owned())
}
