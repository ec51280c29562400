//! Whether a path pattern can be read (behaviour 8.2), and what to write instead. Matching is the data plane's.

use super::document::Node;
use super::value::{self, Wrong};

/// A pattern whose brackets and braces are closed.
pub(crate) fn checked(node: &Node) -> Result<String, Wrong> {
    let pattern = value::filled(node)?;
    if let Some((message, remedy)) = mistake(&pattern) {
        return Err(Wrong::new(format!("this is no path pattern: {message}"), remedy));
    }
    crate::pattern::compile(&pattern)
        .map(|_| pattern)
        .map_err(|error| Wrong::new(format!("this is no path pattern: {error}"), "correct it"))
}

fn mistake(pattern: &str) -> Option<(&'static str, &'static str)> {
    let mut braces = 0_usize;
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.next().is_none() => {
                return Some(("it ends with a backslash", "write \\\\\\\\ for a backslash"));
            }
            '{' => braces += 1,
            '}' if braces == 0 => {
                return Some(("} stands without {", "write \\\\} for the character itself"));
            }
            '}' => braces -= 1,
            '[' if !class(&mut characters) => {
                return Some((
                    "[ is not closed by ]",
                    "close it, or write \\\\[ for the character itself",
                ));
            }
            _ => {}
        }
    }
    (braces > 0).then_some((
        "{ is not closed by }",
        "close it, or write \\\\{ for the character itself",
    ))
}

/// Reads to the end of a character class. A `]` right at its start is a member.
fn class(characters: &mut std::str::Chars<'_>) -> bool {
    let rest = characters.as_str();
    let start = rest.strip_prefix(['!', '^']).unwrap_or(rest);
    let skip = usize::from(start.starts_with(']'));
    match start[skip..].find(']') {
        Some(end) => {
            *characters = start[skip + end + 1..].chars();
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_the_reference_are_read_and_open_ones_are_not() {
        for pattern in [
            "/**",
            "/{admin,account,api/discover}/**",
            "/[!a-z]*",
            "/a\\{b",
            "/x{a,{b,c}}",
            "/[]]",
        ] {
            assert_eq!(mistake(pattern), None, "{pattern}");
        }
        for pattern in ["/{a,b", "/a}", "/[ab", "/a\\", "/[]", "/{a,{b}"] {
            assert!(mistake(pattern).is_some(), "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in "[\\[\\]{}!^\\\\a-zé*?-]{0,12}") {
            let _ = mistake(&pattern);
            let _ = crate::pattern::compile(&pattern);
        }
    }
}
