//! Certificates that are replaced on the disk while they are presented.

use super::*;

/// Two looks, between which nothing changes.
fn look(server: &ServerTls) -> Vec<Replaced> {
    assert!(
        server.look_again().is_empty(),
        "what has just changed may be half of a change"
    );
    server.look_again()
}

fn taken(found: &[Replaced]) -> Vec<&str> {
    found
        .iter()
        .map(|one| match one {
            Replaced::Taken { name, .. } => name.as_str(),
            Replaced::Refused { error, .. } => panic!("{error}"),
        })
        .collect()
}

#[tokio::test]
async fn a_certificate_that_is_replaced_on_disk_is_shown_to_the_next_client() {
    let files = Files::new();
    let (certificate, old) = files.certificate("mail", &["mail.test"]);
    let server = server(std::slice::from_ref(&certificate));
    assert!(shows(&server, "mail.test", old).await);
    assert!(server.look_again().is_empty() && server.look_again().is_empty());
    let (_, new) = files.certificate("mail", &["mail.test"]);
    assert_eq!(taken(&look(&server)), ["mail"]);
    assert!(shows(&server, "mail.test", new).await);
    assert!(!shows(&server, "mail.test", old).await);
    assert!(server.look_again().is_empty());
}

#[tokio::test]
async fn one_with_other_names_is_shown_for_those() {
    let files = Files::new();
    let (a, _) = files.certificate("a", &["a.test"]);
    let (b, b_print) = files.certificate("b", &["b.test"]);
    let server = server(&[a, b]);
    let (_, new) = files.certificate("a", &["b.example", "c.test"]);
    assert_eq!(taken(&look(&server)), ["a"]);
    assert!(shows(&server, "c.test", new).await);
    assert!(!shows(&server, "a.test", new).await);
    assert!(shows(&server, "b.test", b_print).await);
}

#[tokio::test]
async fn what_cannot_be_used_is_said_once_and_the_one_before_stays() {
    let files = Files::new();
    let (a, a_print) = files.certificate("a", &["a.test"]);
    let (b, _) = files.certificate("b", &["b.test"]);
    let server = server(&[a.clone(), b]);
    let (other, _) = files.certificate("other", &["a.test"]);
    // The chain is new, its key is still the old one.
    std::fs::copy(&other.cert, &a.cert).expect("copied");
    let (_, b_new) = files.certificate("b", &["b.test"]);
    let found = look(&server);
    assert!(
        matches!(
            &found[..],
            [Replaced::Refused { name, error: CertificateError::Mismatch { key, .. } }, Replaced::Taken { .. }]
                if name.as_str() == "a" && *key == a.key
        ),
        "{found:?}"
    );
    assert!(server.look_again().is_empty(), "it was said");
    assert!(shows(&server, "a.test", a_print).await);
    assert!(shows(&server, "b.test", b_new).await, "the other is not held up");
    std::fs::remove_file(&a.cert).expect("removed");
    let found = look(&server);
    assert!(
        matches!(
            &found[..],
            [Replaced::Refused {
                error: CertificateError::Chain { .. },
                ..
            }]
        ),
        "{found:?}"
    );
    let (_, repaired) = files.certificate("a", &["a.test"]);
    assert_eq!(taken(&look(&server)), ["a"]);
    assert!(shows(&server, "a.test", repaired).await);
}

#[tokio::test]
async fn the_time_of_what_is_presented_is_known() {
    let files = Files::new();
    let until = |year: i32| {
        let mut params = CertificateParams::new(["mail.test".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        files.sign("mail", params).0
    };
    let server = server(&[until(2021)]);
    let known = |server: &ServerTls| server.validities()[0].1;
    assert_eq!(known(&server).not_before, 1_577_836_800);
    assert_eq!(known(&server).not_after, 1_609_459_200);
    until(2040);
    assert_eq!(taken(&look(&server)), ["mail"]);
    assert_eq!(known(&server).not_after, 2_208_988_800);
}

#[tokio::test]
async fn other_settings_replace_certificates_and_versions_together() {
    let files = Files::new();
    let (old, _) = files.certificate("old", &["mail.test"]);
    let (new, new_print) = files.certificate("new", &["mail.test"]);
    let server = server(&[old]);
    server
        .replace(&settings(std::slice::from_ref(&new), TlsProtocols::default()))
        .expect("replaced");
    assert!(shows(&server, "mail.test", new_print).await);
    let gone = Certificate {
        cert: PathBuf::from("/nowhere"),
        ..new
    };
    let refused = server.replace(&settings(&[gone], TlsProtocols::default()));
    assert!(refused.is_err());
    assert!(shows(&server, "mail.test", new_print).await, "nothing changes");
}
