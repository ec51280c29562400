//! Server configurations with @WORDS@ filled in. The files are in `tests/servers/`, where the quickstart takes
//! some of them from as well.

use anyhow::{Result, bail};

pub const DOVECOT: &str = include_str!("../servers/dovecot.conf");
pub const CYRUS: &str = include_str!("../servers/cyrus.conf");
pub const CYRUS_IMAPD: &str = include_str!("../servers/cyrus-imapd.conf");
pub const DOVECOT_MORE: &str = include_str!("../servers/dovecot-more.conf");
pub const NGINX: &str = include_str!("../servers/nginx.conf");
pub const POSTFIX_MAIN: &str = include_str!("../servers/postfix-main.cf");
pub const POSTFIX_MASTER: &str = include_str!("../servers/postfix-master.cf");
pub const POSTFIX_MORE_MASTER: &str = include_str!("../servers/postfix-more-master.cf");

/// Fills in the words; one that is left over is an error.
pub fn fill(template: &str, words: &[(&str, &str)]) -> Result<String> {
    let mut text = template
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n");
    text.push('\n');
    for (word, value) in words {
        text = text.replace(&format!("@{word}@"), value);
    }
    let left =
        text.split('@').skip(1).step_by(2).find(|word| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        });
    if let Some(word) = left {
        bail!("@{word}@ was not filled in");
    }
    Ok(text)
}
