//! One change to the bytes of a mapping file. Every line that it does not concern stays as it is, byte for byte: comments,
//! order, line ends, and what stands behind a destination.
//!
//! A new line goes where the order asks for it when the file is sorted by identifier, else to the end. So a file that
//! only we write is sorted, `identifier TAB destination LF`, as in the reference; and one that somebody keeps by hand stays theirs.

use mailswitch_proto::identifier::Identifier;

use super::{Entry, MappingFile as Parsed};
use crate::name::DestinationName;

/// What happens to one identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Maps it there.
    Put(&'a str),
    /// Takes its mapping away.
    Remove,
}

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Whether a line of these could be read back as what it says.
///
/// # Errors
/// In words, why not.
pub fn can_hold(identifier: &Identifier, destination: &DestinationName) -> Result<(), &'static str> {
    let identifier = identifier.as_str();
    if identifier.starts_with('#') {
        return Err("an identifier that starts with # would be a comment");
    }
    if identifier.starts_with(BYTE_ORDER_MARK) {
        return Err("an identifier that starts with a byte order mark would lose it");
    }
    if identifier.contains(char::is_whitespace) {
        return Err("an identifier with a blank would be two words");
    }
    let destination = destination.as_str();
    if destination.is_empty() || destination.contains(char::is_whitespace) {
        return Err("the name of a destination with a blank would be two words");
    }
    Ok(())
}

/// The bytes after the change; none: there is nothing to remove. `parsed` is what `bytes` say.
#[must_use]
pub fn apply(bytes: &[u8], parsed: &Parsed, identifier: &Identifier, edit: Edit<'_>) -> Option<Vec<u8>> {
    // Counted from one.
    let theirs: Vec<u32> = parsed
        .entries
        .iter()
        .filter(|entry| entry.identifier == *identifier)
        .map(|entry| entry.line)
        .collect();
    if theirs.is_empty() && edit == Edit::Remove {
        return None;
    }
    // The mark belongs to the file, not to its first line.
    let (mark, content) = match bytes.strip_prefix(BYTE_ORDER_MARK.as_bytes()) {
        Some(content) => (BYTE_ORDER_MARK, content),
        None => ("", bytes),
    };
    let mut lines: Vec<Vec<u8>> = content
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let removed: &[u32] = match edit {
        Edit::Remove => &theirs,
        // The last one counts, and is changed. The others had no effect.
        Edit::Put(destination) => match theirs.split_last() {
            Some((last, others)) => {
                let line = &mut lines[index(*last)];
                *line = redirected(line, destination);
                others
            }
            None => {
                let at = place(&parsed.entries, identifier, lines.len());
                if at == lines.len() {
                    end_the_last_line(&mut lines);
                }
                let new = format!("{}\t{destination}\n", identifier.as_str());
                lines.insert(at, new.into_bytes());
                &[]
            }
        },
    };
    let kept: Vec<u8> = lines
        .iter()
        .enumerate()
        .filter(|(at, _)| !removed.iter().any(|line| index(*line) == *at))
        .flat_map(|(_, line)| line.iter().copied())
        .collect();
    // A line that comes first now and begins with the character would lose it: the file gets a mark before it.
    let mark = match kept.starts_with(BYTE_ORDER_MARK.as_bytes()) {
        true => BYTE_ORDER_MARK,
        false => mark,
    };
    Some([mark.as_bytes(), kept.as_slice()].concat())
}

fn index(line: u32) -> usize {
    line as usize - 1
}

/// Before which line a new one goes.
fn place(entries: &[Entry], identifier: &Identifier, end: usize) -> usize {
    if !entries.is_sorted_by(|one, other| one.identifier <= other.identifier) {
        return end;
    }
    let after = entries.iter().rev().find(|entry| entry.identifier < *identifier);
    match after {
        Some(entry) => index(entry.line) + 1,
        // Before the first one, behind the comments above it.
        None => entries.first().map_or(end, |first| index(first.line)),
    }
}

/// An editor may have left it without an end.
fn end_the_last_line(lines: &mut [Vec<u8>]) {
    if let Some(last) = lines.last_mut()
        && !last.ends_with(b"\n")
    {
        last.push(b'\n');
    }
}

/// The line with another second word.
fn redirected(line: &[u8], destination: &str) -> Vec<u8> {
    // It is an entry, so it is UTF-8 and has two words.
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_whitespace();
    let (first, second) = (words.next(), words.next());
    let (Some(_), Some(second)) = (first, second) else {
        return line.to_vec();
    };
    // Both are slices of `text`.
    let start = second.as_ptr() as usize - text.as_ptr() as usize;
    let end = start + second.len();
    [&text[..start], destination, &text[end..]].concat().into_bytes()
}

#[cfg(test)]
mod tests {
    use mailswitch_proto::identifier::Normalization;

    use super::*;
    use crate::mapping_file::parse;

    /// Found by the fuzz target.
    #[test]
    fn a_line_that_comes_first_when_another_is_removed_keeps_its_first_character() {
        let normalization = Normalization::AsPresented;
        let ann = Identifier::normalized("ann", &normalization).unwrap();
        for before in ["ann new\n\u{feff}bob new\n", "\u{feff}ann new\n\u{feff}bob new\n"] {
            let parsed = parse(before.as_bytes(), &normalization);
            let removed = apply(before.as_bytes(), &parsed, &ann, Edit::Remove).unwrap();
            let after = parse(&removed, &normalization);
            let left: Vec<&str> = after
                .entries
                .iter()
                .map(|entry| entry.identifier.as_str())
                .collect();
            assert_eq!(left, ["\u{feff}bob"]);
        }
    }
}
