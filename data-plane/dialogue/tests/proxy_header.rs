//! The PROXY header of both versions, in every cut, with everything that may stand in its place.

use mailswitch_dialogue::proxy_header::{Announced, Beginning, MAX_HEADER, beginning};
use proptest::prelude::*;

const TEXT: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 993\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A binary header: version and command, family, what follows the length.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    [SIGNATURE, &[command, family], &length, body].concat()
}

const V4: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0x03, 0xe1];

fn announced(client: &str, local: &str) -> Option<Announced> {
    Some(Announced {
        client: client.parse().expect("an address"),
        local: local.parse().expect("an address"),
    })
}

#[test]
fn a_header_is_known_only_when_all_of_it_has_come_and_nothing_behind_it_is_taken() {
    for text in [TEXT.to_vec(), binary(0x21, 0x11, V4)] {
        for cut in 1..text.len() {
            assert_eq!(beginning(&text[..cut]), None, "{cut} of {}", text.escape_ascii());
        }
        let more = [text.as_slice(), b"a1 LOGIN"].concat();
        let expected = Beginning::Header {
            length: text.len(),
            announced: announced("192.0.2.7:40000", "198.51.100.1:993"),
        };
        assert_eq!(beginning(&more), Some(expected));
    }
}

#[test]
fn what_is_no_header_is_left_alone_and_what_is_a_broken_one_is_refused() {
    for own in [
        b"a1 LOGIN".as_slice(),
        b"\x16\x03\x01",
        b"PROXIMITY",
        b"\r\n\r\nGET /",
    ] {
        assert_eq!(
            beginning(own),
            Some(Beginning::NoHeader),
            "{}",
            own.escape_ascii()
        );
    }
    let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
    let long = [SIGNATURE, &[0x21, 0x11], &1009_u16.to_be_bytes()].concat();
    let broken = [
        b"PROXY TCP4 nonsense\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 993\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 99333\r\n".to_vec(),
        endless,
        // One byte more than is read.
        long,
        // A version that is none, a command that is none, addresses that are cut.
        binary(0x11, 0x11, V4),
        binary(0x22, 0x11, V4),
        binary(0x21, 0x11, &V4[..8]),
    ];
    for bytes in broken {
        assert_eq!(
            beginning(&bytes),
            Some(Beginning::Malformed),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn the_longest_header_that_is_taken_has_1024_bytes() {
    let filled = [
        V4,
        &[4],
        &(MAX_HEADER - 16 - 12 - 3).to_be_bytes()[6..],
        &[0; MAX_HEADER - 16 - 12 - 3],
    ]
    .concat();
    let header = binary(0x21, 0x11, &filled);
    assert_eq!(header.len(), MAX_HEADER);
    assert!(matches!(
        beginning(&header),
        Some(Beginning::Header {
            length: MAX_HEADER,
            ..
        })
    ));
}

#[test]
fn local_unknown_and_addresses_of_no_internet_keep_those_of_the_socket() {
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        binary(0x20, 0x00, &[]),
        binary(0x20, 0x11, V4),
        binary(0x21, 0x00, &[]),
        binary(0x21, 0x31, &[b'/'; 216]),
    ] {
        let expected = Beginning::Header {
            length: header.len(),
            announced: None,
        };
        assert_eq!(beginning(&header), Some(expected), "{}", header.escape_ascii());
    }
}

proptest! {
    #[test]
    fn the_answer_never_changes_with_what_comes_behind(bytes in proptest::collection::vec(any::<u8>(), 0..64), more in any::<u8>()) {
        for start in [&b""[..], b"PROXY ", SIGNATURE] {
            let mut seen = [start, &bytes].concat();
            if let Some(known) = beginning(&seen) {
                seen.push(more);
                prop_assert_eq!(beginning(&seen), Some(known));
            }
        }
    }

    #[test]
    fn as_many_bytes_as_a_header_may_have_are_enough_to_know(bytes in proptest::collection::vec(any::<u8>(), MAX_HEADER)) {
        for start in [&b""[..], b"PROXY ", SIGNATURE] {
            let seen = [start, &bytes].concat();
            prop_assert!(beginning(&seen[..MAX_HEADER]).is_some());
        }
    }
}
