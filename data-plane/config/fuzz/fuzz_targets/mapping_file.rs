#![no_main]
//! Whatever the bytes of a mapping file are: entries and problems in its order, never a panic. What is read, written out
//! again, is read as the same.

use libfuzzer_sys::fuzz_target;
use mailswitch_config::mapping_file::parse;
use mailswitch_proto::identifier::Normalization;

fuzz_target!(|data: &[u8]| {
    for normalization in [
        Normalization::AsPresented,
        Normalization::Lowercase,
        Normalization::Fleet {
            bare_domain: Some("example.org".to_owned()),
        },
    ] {
        let file = parse(data, &normalization);
        assert!(file.entries.is_sorted_by_key(|entry| entry.line));
        assert!(file.problems.is_sorted_by_key(|problem| problem.line));
        // A comment first: what follows is never taken for a byte order mark.
        let mut written = format!("#\n{}", file.preamble);
        for entry in &file.entries {
            written += &format!("{}\t{}\n", entry.identifier, entry.destination);
        }
        let again = parse(written.as_bytes(), &normalization);
        assert!(!again.is_unusable(), "{written}");
        let said = |file: &mailswitch_config::mapping_file::MappingFile| -> Vec<(String, String)> {
            let entries = file.entries.iter();
            entries
                .map(|entry| (entry.identifier.to_string(), entry.destination.to_string()))
                .collect()
        };
        assert_eq!(said(&again), said(&file), "{written}");
    }
});
