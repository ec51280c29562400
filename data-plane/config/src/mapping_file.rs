//! The mapping file of a node that runs alone: what its lines mean (behaviour section 10, "File"), and how one of them is
//! changed (`edit`). Pure: reading, writing and watching it is the data plane's.
//!
//! UTF-8 lines, trimmed; blank ones and those that start with `#` are nothing; the first two words are an identifier
//! and a destination, the rest is ignored; of two lines for one identifier the later one counts.

pub mod edit;

use mailswitch_proto::identifier::{Identifier, InvalidIdentifier, Normalization};

use crate::name::DestinationName;

/// What a mapping file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MappingFile {
    /// In the order of the file, duplicates included: the later one counts.
    pub entries: Vec<Entry>,
    /// In the order of the file.
    pub problems: Vec<Problem>,
    /// The comment lines and blank lines at the start, kept when the file is written.
    pub preamble: String,
}

/// One mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// In its normal form. `@example.org` stands for a whole domain.
    pub identifier: Identifier,
    /// As written; whether it exists is for the caller to say.
    pub destination: DestinationName,
    /// Counted from 1.
    pub line: u32,
}

/// One line with a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: u32,
    /// What is wrong.
    pub mistake: Mistake,
    /// The word that is wrong, when it may be shown.
    pub shown: Option<String>,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// An identifier without a destination. The file cannot be used.
    OneField,
    /// The file cannot be used.
    NotUtf8,
    /// No client can present it. The line is left out.
    Identifier(InvalidIdentifier),
    /// It is lower-cased (V26). The line counts.
    UpperCase,
}

impl Mistake {
    /// The file must not be used: what was loaded before stays.
    #[must_use]
    pub const fn is_fatal(self) -> bool {
        matches!(self, Self::OneField | Self::NotUtf8)
    }
}

/// Reads the bytes of a mapping file.
#[must_use]
pub fn parse(bytes: &[u8], normalization: &Normalization) -> MappingFile {
    let mut file = MappingFile::default();
    let mut in_preamble = true;
    // A byte order mark is not part of the first identifier. Elsewhere the character is one as any other.
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let number = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        let Ok(text) = std::str::from_utf8(line) else {
            in_preamble = false;
            file.problem(number, Mistake::NotUtf8, None);
            continue;
        };
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            if in_preamble {
                file.preamble.push_str(trimmed);
                file.preamble.push('\n');
            }
            continue;
        }
        in_preamble = false;
        file.read_line(trimmed, number, normalization);
    }
    file
}

impl MappingFile {
    /// Some line makes the whole file unusable.
    #[must_use]
    pub fn is_unusable(&self) -> bool {
        self.problems.iter().any(|problem| problem.mistake.is_fatal())
    }

    fn read_line(&mut self, line: &str, number: u32, normalization: &Normalization) {
        let mut words = line.split_whitespace();
        let (Some(written), Some(destination)) = (words.next(), words.next()) else {
            self.problem(number, Mistake::OneField, Some(line.to_owned()));
            return;
        };
        let identifier = match Identifier::normalized(written, normalization) {
            Ok(identifier) => identifier,
            Err(why) => {
                self.problem(number, Mistake::Identifier(why), None);
                return;
            }
        };
        if *normalization == Normalization::Lowercase && identifier.as_str() != written {
            self.problem(number, Mistake::UpperCase, None);
        }
        self.entries.push(Entry {
            identifier,
            destination: destination.into(),
            line: number,
        });
    }

    fn problem(&mut self, line: u32, mistake: Mistake, shown: Option<String>) {
        self.problems.push(Problem { line, mistake, shown });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> MappingFile {
        parse(text.as_bytes(), &Normalization::Lowercase)
    }

    #[test]
    fn comments_blanks_and_further_words_are_ignored() {
        let file = read("# moved accounts\n\n  ann@x.example \t new  since Monday\r\n#bob old\nbob old\n");
        let found: Vec<_> = file
            .entries
            .iter()
            .map(|entry| (entry.identifier.as_str(), entry.destination.as_str(), entry.line))
            .collect();
        assert_eq!(found, [("ann@x.example", "new", 3), ("bob", "old", 5)]);
        assert_eq!(file.preamble, "# moved accounts\n\n");
        assert!(file.problems.is_empty());
    }

    #[test]
    fn only_the_byte_order_mark_of_the_file_is_cut_off() {
        let file = read("\u{feff}ann new\n\u{feff}bob new\n");
        let found: Vec<_> = file
            .entries
            .iter()
            .map(|entry| entry.identifier.as_str())
            .collect();
        assert_eq!(found, ["ann", "\u{feff}bob"]);
    }

    #[test]
    fn an_empty_file_is_a_file_without_mappings() {
        assert_eq!(read(""), MappingFile::default());
        assert_eq!(read("\n").entries, []);
        assert!(!read("\n").is_unusable());
    }

    #[test]
    fn a_line_without_a_destination_makes_the_file_unusable_and_is_named() {
        let file = read("ann new\nbob\n");
        assert!(file.is_unusable());
        assert_eq!(
            file.problems,
            [Problem {
                line: 2,
                mistake: Mistake::OneField,
                shown: Some("bob".to_owned())
            }]
        );
    }

    #[test]
    fn a_line_that_is_not_utf8_makes_the_file_unusable() {
        let file = parse(b"ann new\n\xff\xfe new\n", &Normalization::AsPresented);
        assert!(file.is_unusable());
        assert_eq!(file.problems[0].line, 2);
    }

    #[test]
    fn identifiers_are_normalised_and_those_nobody_can_present_are_left_out() {
        let file = read("Ann@X.example new\nq\"uote new\n");
        assert_eq!(file.entries.len(), 1);
        assert_eq!(file.entries[0].identifier.as_str(), "ann@x.example");
        assert!(!file.is_unusable());
        let mistakes: Vec<_> = file.problems.iter().map(|problem| problem.mistake).collect();
        assert_eq!(
            mistakes,
            [
                Mistake::UpperCase,
                Mistake::Identifier(InvalidIdentifier::ForbiddenByte)
            ]
        );
    }

    #[test]
    fn as_presented_keeps_upper_case() {
        let file = parse(b"Ann new\n", &Normalization::AsPresented);
        assert_eq!(file.entries[0].identifier.as_str(), "Ann");
        assert!(file.problems.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_entries_keep_their_order(bytes: Vec<u8>) {
            let file = parse(&bytes, &Normalization::Lowercase);
            proptest::prop_assert!(file.entries.is_sorted_by_key(|entry| entry.line));
        }
    }
}
