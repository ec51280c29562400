//! What an HTTP server says of itself without a login: asked for its JMAP session (RFC 8620 §2.2), it answers with URLs, sends
//! elsewhere, or asks who is there. URLs that name another host than the public one lead clients past the proxy.
//!
//! Heads and chunk sizes are parsed by a crate; nothing here decides anything but what is printed.

use crate::talk::Ended;

/// Where it is asked.
pub(super) const SESSION: &str = "/.well-known/jmap";
/// A head above this is no answer to such a question.
const MOST_FIELDS: usize = 100;
/// The members of a JMAP session that are URLs.
const URLS: [&str; 4] = ["apiUrl", "downloadUrl", "uploadUrl", "eventSourceUrl"];

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Web {
    pub(super) status: u16,
    /// The absolute URLs that it sends JMAP clients to.
    pub(super) urls: Vec<String>,
}

/// What came is not HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotHttp;

/// The question. A server behind a PROXY header sees it as a client's.
pub(super) fn question(host: &str) -> String {
    format!("GET {SESSION} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n\r\n")
}

/// The whole answer; none: it is not here yet.
pub(super) fn read(heard: &[u8], ended: Ended) -> Option<Result<Web, NotHttp>> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let (start, status) = match (head.parse(heard), head.code) {
        (Ok(httparse::Status::Complete(start)), Some(status)) => (start, status),
        (Ok(httparse::Status::Partial), _) if ended == Ended::Not => return None,
        _ => return Some(Err(NotHttp)),
    };
    let field = |name: &str| {
        head.headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .and_then(|field| std::str::from_utf8(field.value).ok())
            .map(str::trim)
    };
    let body = &heard[start..];
    let body = if field("transfer-encoding").is_some() {
        unchunked(body)
    } else {
        let length = field("content-length").and_then(|length| length.parse::<usize>().ok());
        length.and_then(|length| body.get(..length)).map(<[u8]>::to_vec)
    };
    let body = match (body, ended) {
        (Some(body), _) => body,
        (None, Ended::Yes) => heard[start..].to_vec(),
        (None, Ended::Not) => return None,
    };
    let location = field("location").filter(|_| (300..400).contains(&status));
    let urls = location.map(str::to_owned).into_iter().chain(session_urls(&body));
    Some(Ok(Web {
        status,
        urls: urls.filter(|url| host_of(url).is_some()).collect(),
    }))
}

/// None: it is not whole.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else {
            return None;
        };
        if size == 0 {
            return Some(body);
        }
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        body.extend_from_slice(rest.get(start..end)?);
        rest = rest.get(end.checked_add(2)?..)?;
    }
}

fn session_urls(body: &[u8]) -> Vec<String> {
    let session: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    URLS.iter()
        .filter_map(|name| session.get(name)?.as_str())
        .map(str::to_owned)
        .collect()
}

/// The host that a URL names; none: it names none, and stays where it is.
pub(super) fn host_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(status: u16, urls: &[&str]) -> Option<Result<Web, NotHttp>> {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        Some(Ok(Web { status, urls }))
    }

    const SESSION_BODY: &str =
        r#"{"apiUrl":"https://v1.lan/jmap/","uploadUrl":"/upload","primaryAccounts":{}}"#;

    #[test]
    fn urls_are_found_in_a_session_and_in_a_redirection() {
        let plain = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{SESSION_BODY}",
            SESSION_BODY.len()
        );
        assert_eq!(
            read(plain.as_bytes(), Ended::Not),
            web(200, &["https://v1.lan/jmap/"])
        );
        let (one, two) = SESSION_BODY.split_at(20);
        let chunked = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
            one.len(),
            two.len()
        );
        assert_eq!(
            read(chunked.as_bytes(), Ended::Not),
            web(200, &["https://v1.lan/jmap/"])
        );
        let moved = b"HTTP/1.1 307 x\r\nLocation: http://v1.lan:8080/jmap\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(read(moved, Ended::Not), web(307, &["http://v1.lan:8080/jmap"]));
        let within = b"HTTP/1.1 301 x\r\nLocation: /jmap/\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(read(within, Ended::Not), web(301, &[]));
        let until_close = format!("HTTP/1.0 200 OK\r\n\r\n{SESSION_BODY}");
        assert_eq!(read(until_close.as_bytes(), Ended::Not), None);
        assert_eq!(
            read(until_close.as_bytes(), Ended::Yes),
            web(200, &["https://v1.lan/jmap/"])
        );
    }

    #[test]
    fn what_is_no_http_is_said_so_and_half_an_answer_is_waited_for() {
        assert_eq!(read(b"* OK IMAP\r\n", Ended::Not), Some(Err(NotHttp)));
        assert_eq!(read(b"", Ended::Yes), Some(Err(NotHttp)));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-", Ended::Not), None);
        assert_eq!(
            read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", Ended::Not),
            None
        );
    }

    #[test]
    fn the_host_of_a_url_has_no_port_and_no_brackets() {
        for (url, host) in [
            ("https://mail.example/jmap/{accountId}", Some("mail.example")),
            ("HTTP://mail.example:8080?x", Some("mail.example")),
            ("https://[2001:db8::1]:443/", Some("2001:db8::1")),
            ("/jmap", None),
            ("urn:x://y", None),
            ("https:///x", None),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_panic(heard in proptest::collection::vec(proptest::num::u8::ANY, 0..200), chunks in "[0-9a-f;\\r\\n]{0,40}") {
            let _ = read(&heard, Ended::Yes);
            let _ = read(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunks.as_bytes()].concat(), Ended::Yes);
        }
    }
}
