//! Addresses of servers, as far as they are read here: `SCHEME://HOST:PORT`, nothing behind it. None is shown with
//! a password that someone put into it.

use super::document::{Node, quoted};
use super::report::Show;
use super::value::{self, Wrong};
use crate::secret::StoreUrl;

/// An address that another program of the fleet, or a collector, answers on.
pub(crate) fn http(node: &Node, schemes: &[&str], example: &str) -> Result<String, Wrong> {
    let text = value::filled(node)?;
    let wrong = |message: &str| {
        let wrong = Wrong::new(message, format!("write it like \"{example}\""));
        Err(wrong.showing(Show::Text(quoted(&shown(&text)))))
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong("this address has no scheme");
    };
    if !schemes.contains(&scheme) {
        return wrong("this scheme does not fit here");
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@', ' ']) {
        return wrong("this address has more than a host and a port");
    }
    let Some((host, port)) = authority.rsplit_once(':') else {
        return wrong("this address has no port");
    };
    if host.is_empty() || port.parse::<u16>().map_or(true, |port| port == 0) {
        return wrong("this address has no host, or no port from 1 to 65535");
    }
    Ok(format!("{scheme}://{authority}"))
}

/// The address without what may be a password.
fn shown(text: &str) -> String {
    if text.contains("://") {
        return StoreUrl::new(text.to_owned()).to_string();
    }
    let with_scheme = StoreUrl::new(format!("any://{text}")).to_string();
    with_scheme.trim_start_matches("any://").to_owned()
}

/// The address of a store, with one of the schemes that its driver takes.
pub(crate) fn store(node: &Node, schemes: &[&str]) -> Result<StoreUrl, Wrong> {
    let url = StoreUrl::new(value::filled(node).map_err(|wrong| wrong.showing(Show::Nothing))?);
    if schemes.contains(&url.scheme()) {
        return Ok(url);
    }
    let known: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
    // What stands there may be a password and no address at all: only a clean scheme is named.
    let message = match url.scheme() {
        scheme if !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_lowercase()) => {
            format!("the scheme \"{scheme}\" is unknown here")
        }
        _ => "this is no address of a store".to_owned(),
    };
    Err(Wrong::new(message, format!("start it with {}", known.join(", "))).showing(Show::Nothing))
}
