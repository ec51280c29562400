#![no_main]
//! Whatever a mapping file holds: a change of one mapping is read back as that change and nothing else, and every line that it
//! does not concern stays as it is, byte for byte and in its order.

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use mailswitch_config::DestinationName;
use mailswitch_config::mapping_file::edit::{Edit, apply, can_hold};
use mailswitch_config::mapping_file::{MappingFile, parse};
use mailswitch_proto::identifier::{Identifier, Normalization};

/// Who goes where: the later line counts.
fn meaning(file: &MappingFile) -> BTreeMap<String, String> {
    let entries = file.entries.iter();
    entries
        .map(|entry| (entry.identifier.to_string(), entry.destination.to_string()))
        .collect()
}

/// The lines that are not about this identifier. What follows the last one is not its line end.
fn others<'a>(bytes: &'a [u8], file: &MappingFile, identifier: &Identifier) -> Vec<&'a [u8]> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let theirs: Vec<usize> = file
        .entries
        .iter()
        .filter(|entry| entry.identifier == *identifier)
        .map(|entry| entry.line as usize)
        .collect();
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    lines
        .filter(|(index, _)| !theirs.contains(&(index + 1)))
        .map(|(_, line)| line.strip_suffix(b"\n").unwrap_or(line))
        .collect()
}

fuzz_target!(|data: &[u8]| {
    // What is changed, then the file.
    let (changed, bytes) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    let changed = String::from_utf8_lossy(changed);
    let (written, destination) = changed.split_once('\t').unwrap_or((&changed, "new"));
    for normalization in [Normalization::AsPresented, Normalization::Lowercase] {
        let Ok(identifier) = Identifier::normalized(written, &normalization) else {
            continue;
        };
        let before = parse(bytes, &normalization);
        if before.is_unusable() {
            continue;
        }
        let read = |bytes: &[u8]| {
            let file = parse(bytes, &normalization);
            assert!(!file.is_unusable(), "{}", bytes.escape_ascii());
            file
        };
        let mut expected = meaning(&before);

        let removed = apply(bytes, &before, &identifier, Edit::Remove);
        assert_eq!(removed.is_some(), expected.remove(identifier.as_str()).is_some());
        if let Some(removed) = removed {
            let after = read(&removed);
            assert_eq!(meaning(&after), expected);
            assert_eq!(others(&removed, &after, &identifier), others(bytes, &before, &identifier));
        }

        if can_hold(&identifier, &DestinationName::from(destination)).is_err() {
            continue;
        }
        let put = apply(bytes, &before, &identifier, Edit::Put(destination)).expect("a put changes something");
        let after = read(&put);
        expected.insert(identifier.to_string(), destination.to_owned());
        assert_eq!(meaning(&after), expected, "{}", put.escape_ascii());
        assert_eq!(others(&put, &after, &identifier), others(bytes, &before, &identifier));
        // Done twice, it is done once.
        assert_eq!(apply(&put, &after, &identifier, Edit::Put(destination)), Some(put));
    }
});
