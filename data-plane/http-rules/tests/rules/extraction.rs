//! Behaviour 8.2 and 3: the login that a request names, and whom it acts for.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use mailswitch_config::table::http::{Extract, Http, HttpRoute, RouteFallback, RouteTarget};
use mailswitch_http_rules::{Extracted, Extractor, Identity, Needs, Received, Refusal, Routes, Target};
use mailswitch_proto::identifier::{InvalidIdentifier, Normalization, Rules};
use proptest::prelude::*;

use crate::scene::{HOST, received};

fn extractor(extract: Extract) -> Extractor {
    let routes = Routes::compile(&Http {
        routes: vec![HttpRoute {
            index: 0,
            pattern: "/**".to_owned(),
            target: RouteTarget::Extracted(extract, RouteFallback::Default),
        }],
        ..Http::default()
    })
    .expect("a route");
    match &routes.find("/").expect("the route").target {
        Target::ByAccount(extractor, RouteFallback::Default) => extractor.clone(),
        other => panic!("{other:?}"),
    }
}

fn login(text: &str) -> Extracted {
    Extracted::Login(text.to_owned())
}

fn basic(pair: &[u8]) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

fn by_authorization(value: &str) -> Result<Extracted, Refusal> {
    extractor(Extract::Authorization).from_head(&received("GET /", &[("authorization", value)]), "email")
}

#[test]
fn basic_names_what_stands_before_the_first_colon_trimmed_and_in_lower_case() {
    for (pair, expected) in [
        (&b"ann@x.example:secret"[..], "ann@x.example"),
        (b"ann:se:cr:et", "ann"),
        (b"ann", "ann"),
        (b" Ann@X.Example \t:pw", "ann@x.example"),
        (b"ann%root:pw", "ann%root"),
        (b"ann:\xff\xfe", "ann"),
        ("J\u{d6}RG:pw".as_bytes(), "j\u{f6}rg"),
        // No UTF-8: as browsers wrote it before.
        (b"j\xf6rg:pw", "j\u{f6}rg"),
        (b":pw", ""),
    ] {
        assert_eq!(by_authorization(&basic(pair)), Ok(login(expected)), "{pair:?}");
    }
}

#[test]
fn the_scheme_is_read_in_any_case_and_padding_may_be_missing() {
    let pair = STANDARD_NO_PAD.encode("ann:pw12");
    for value in [
        format!("basic {pair}"),
        format!("BASIC   {pair}="),
        format!("bAsIc\t{pair}"),
    ] {
        assert_eq!(by_authorization(&value), Ok(login("ann")), "{value}");
    }
}

#[test]
fn a_basic_credential_that_a_lenient_backend_could_read_is_refused() {
    let pair = STANDARD.encode("ann:pw");
    for value in [
        format!("Basic {}*{}", &pair[..4], &pair[4..]),
        format!("Basic {pair}, Bearer x"),
        "Basic YW5u=OnB3".to_owned(),
        "Basic !".to_owned(),
    ] {
        assert_eq!(by_authorization(&value), Err(Refusal::BasicCredential), "{value}");
    }
}

#[test]
fn bearer_names_the_footer_or_the_claim_of_its_token_and_an_opaque_one_nobody() {
    let token = format!(
        "Bearer h.{}.s",
        URL_SAFE_NO_PAD.encode(r#"{"email":"Ann@x.example"}"#)
    );
    let footer = format!("bearer sw1.b.{}", URL_SAFE_NO_PAD.encode("ann@x.example"));
    assert_eq!(by_authorization(&token), Ok(login("Ann@x.example")));
    assert_eq!(by_authorization(&footer), Ok(login("ann@x.example")));
    for value in ["Bearer opaque", "Bearer", "Bearer sw1.b.!!"] {
        assert_eq!(by_authorization(value), Ok(Extracted::Absent), "{value}");
    }
}

#[test]
fn the_claim_of_the_configuration_is_looked_at_first() {
    let token = format!(
        "Bearer h.{}.s",
        URL_SAFE_NO_PAD.encode(r#"{"email":"e@x.example","login":"l@x.example"}"#)
    );
    let request = received("GET /", &[("authorization", &token)]);
    assert_eq!(
        Extractor::Authorization.from_head(&request, "login"),
        Ok(login("l@x.example"))
    );
}

#[test]
fn other_schemes_and_no_authorization_name_nobody() {
    for value in [
        "Digest username=\"ann\"",
        "Negotiate YW5uOnB3",
        "",
        "ann@x.example",
    ] {
        assert_eq!(by_authorization(value), Ok(Extracted::Absent), "{value}");
    }
    let request = received("GET /", &[]);
    assert_eq!(
        Extractor::Authorization.from_head(&request, "email"),
        Ok(Extracted::Absent)
    );
}

#[test]
fn the_first_parameter_of_the_name_counts_decoded() {
    let extractor = extractor(Extract::Query {
        param: "acc ount".to_owned(),
    });
    for (query, expected) in [
        ("acc+ount=ann", login("ann")),
        ("acc%20ount=ann%40x.example&acc+ount=bob", login("ann@x.example")),
        ("x=1&acc+ount=a+b", login("a b")),
        ("acc+ount=%FF%41", login("\u{fffd}A")),
        ("acc+ount=%zz", login("%zz")),
        ("acc+ount=", login("")),
        ("acc+ount", login("")),
        ("account=ann", Extracted::Absent),
        ("Acc+ount=ann", Extracted::Absent),
        ("", Extracted::Absent),
    ] {
        let request = received(&format!("GET /x?{query}"), &[]);
        assert_eq!(extractor.from_head(&request, "email"), Ok(expected), "{query}");
    }
    assert_eq!(
        extractor.from_head(&received("GET /x", &[]), "email"),
        Ok(Extracted::Absent)
    );
}

#[test]
fn the_first_field_of_the_name_counts_as_it_is() {
    let extractor = extractor(Extract::Header {
        header: "X-Account".to_owned(),
    });
    let request = received("GET /", &[("x-account", "Ann@X.example"), ("X-ACCOUNT", "bob")]);
    assert_eq!(extractor.from_head(&request, "email"), Ok(login("Ann@X.example")));
    assert_eq!(
        extractor.from_head(&received("GET /", &[]), "email"),
        Ok(Extracted::Absent)
    );
}

#[test]
fn the_first_group_over_a_body_counts_form_decoded_and_binary_does_not_spoil_it() {
    let extractor = extractor(Extract::Body {
        regex: "client_id=([^&]+)".to_owned(),
    });
    assert_eq!(extractor.needs(), Needs::Body);
    for (body, expected) in [
        (&b"grant=x&client_id=webadmin&y"[..], login("webadmin")),
        (b"client_id=ann%40x.example", login("ann@x.example")),
        (b"client_id=a+b%26c=d", login("a b&c=d")),
        (b"\xff\xfe\x00client_id=ann", login("ann")),
        // The buffer ended inside of a character.
        (b"client_id=ann&n=\xc3", login("ann")),
        (b"client_id=%C3", login("\u{fffd}")),
        (b"client_id=&client_id=bob", login("bob")),
        (b"", Extracted::Absent),
    ] {
        assert_eq!(extractor.from_body(body), expected, "{body:?}");
    }
}

#[test]
fn a_group_that_takes_no_part_names_nobody() {
    let extractor = extractor(Extract::Body {
        regex: "a|(b)".to_owned(),
    });
    assert_eq!(extractor.from_body(b"a"), Extracted::Absent);
}

fn rules() -> Rules {
    Rules {
        master_user_separators: vec!["%".to_owned()],
        normalization: Normalization::Fleet {
            bare_domain: Some("x.example".to_owned()),
        },
    }
}

fn who(extracted: &Extracted, request: &Received) -> Result<(Option<String>, Option<String>), Refusal> {
    let text = |identifier: mailswitch_proto::identifier::Identifier| identifier.as_str().to_owned();
    Identity::of(extracted, request, "email", &rules()).map(|identity| {
        let mut also = identity.also.into_iter().map(text);
        (identity.routed_by.map(text), also.next())
    })
}

#[test]
fn a_request_acts_for_everybody_that_is_named_where_the_first_one_routes_it() {
    let twice = [("x-account", "ann"), ("x-account", "bob"), ("x-account", "Ann")];
    let request = received("GET /?u=ann&u=bob&v=eve&u=bob", &twice);
    for (extract, body) in [
        (
            Extract::Header {
                header: "x-account".to_owned(),
            },
            "",
        ),
        (
            Extract::Query {
                param: "u".to_owned(),
            },
            "",
        ),
        (
            Extract::Body {
                regex: "u=([^&]*)".to_owned(),
            },
            "u=ann&u=bob&u=a%20b",
        ),
    ] {
        let extractor = extractor(extract);
        let besides = extractor.besides(&request, body.as_bytes()).expect("a few");
        let identity = Identity::of(&login("ann"), &request, "email", &rules()).expect("ann");
        let identity = identity.and(&besides, &rules());
        let also: Vec<_> = identity.also.iter().map(|who| who.as_str()).collect();
        assert_eq!(also, ["bob@x.example"], "{extractor:?}");
        let many = "u=x&".repeat(17);
        let fields: Vec<_> = (0..17).map(|_| ("x-account", "x")).collect();
        let refused = extractor.besides(&received(&format!("GET /?{many}"), &fields), many.as_bytes());
        assert_eq!(refused, Err(Refusal::TooManyNames), "{extractor:?}");
    }
}

#[test]
fn better_than_the_reference_an_http_login_is_cut_checked_and_normalised_as_a_mail_login() {
    let request = received("GET /", &[]);
    assert_eq!(
        who(&login("Ann%root"), &request),
        Ok((Some("ann@x.example".to_owned()), None))
    );
    assert_eq!(who(&Extracted::Absent, &request), Ok((None, None)));
    for (text, why) in [
        ("", InvalidIdentifier::Empty),
        ("%root", InvalidIdentifier::Empty),
        ("a b", InvalidIdentifier::ForbiddenByte),
        ("a\"b", InvalidIdentifier::ForbiddenByte),
        ("a\u{7f}", InvalidIdentifier::ForbiddenByte),
        (&"a".repeat(1025), InvalidIdentifier::TooLong),
    ] {
        let refusal = who(&login(text), &request).expect_err("no identifier");
        assert_eq!(refusal, Refusal::Identifier(why), "{text:?}");
        assert_eq!(refusal.status().as_u16(), 400);
    }
}

#[test]
fn a_request_acts_for_whom_its_credential_names_too() {
    let credential = basic(b"Ann:pw");
    let request = received("GET /", &[("authorization", &credential)]);
    let ann = Some("ann@x.example".to_owned());
    let bob = Some("bob@x.example".to_owned());
    assert_eq!(who(&login("bob"), &request), Ok((bob, ann.clone())));
    assert_eq!(who(&Extracted::Absent, &request), Ok((None, ann.clone())));
    assert_eq!(who(&login("ann@x.example"), &request), Ok((ann, None)));
    let nobody = received("GET /", &[("authorization", &basic(b"a b:pw"))]);
    assert_eq!(who(&Extracted::Absent, &nobody), Ok((None, None)));
}

#[test]
fn no_login_and_no_credential_is_shown_by_debug_or_an_error() {
    let secret = "hunter2";
    let shown = format!("{:?}", login(secret));
    assert!(!shown.contains(secret), "{shown}");
    let value = basic(format!("ann:{secret}").as_bytes());
    let request = received(
        &format!("GET /x?token={secret}"),
        &[
            ("authorization", &value),
            ("cookie", secret),
            ("proxy-authorization", secret),
        ],
    );
    let shown = format!("{request:?}");
    assert!(!shown.contains(secret), "{shown}");
    assert!(!shown.contains(&value["Basic ".len()..]), "{shown}");
    let shown = format!("{:?}", crate::scene::sent(&request).headers);
    assert!(
        !shown.contains(secret) && !shown.contains(&value["Basic ".len()..]),
        "{shown}"
    );
    let refused = Received::read(
        crate::scene::head(
            "GET /",
            &[HOST, ("authorization", &value), ("authorization", &value)],
        ),
        mailswitch_http_rules::Opening::Http1,
        &crate::scene::ours(),
    )
    .expect_err("two of them");
    assert!(!format!("{refused} {refused:?}").contains(&value));
}

proptest! {
    #[test]
    fn whatever_is_in_the_places_that_are_read_nothing_panics_and_all_of_it_is_an_identifier_or_refused(
        value in prop::collection::vec(0x20..=0xff_u8, 0..60),
        query in "[!-~]{0,40}",
        body in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let value = http::HeaderValue::from_bytes(&value);
        prop_assume!(value.is_ok() && !query.contains('#'));
        let mut head = crate::scene::head("GET /", &[HOST]);
        if let Ok(uri) = format!("/?{query}").parse() {
            head.uri = uri;
        }
        if let Ok(value) = value {
            head.headers.insert("authorization", value.clone());
            head.headers.insert("x-account", value);
        }
        let request = Received::read(head, mailswitch_http_rules::Opening::Http1, &crate::scene::ours());
        let request = request.expect("nothing is wrong with its frame");
        for extract in [
            Extract::Authorization,
            Extract::Query { param: "a".to_owned() },
            Extract::Header { header: "x-account".to_owned() },
            Extract::Body { regex: "a=([^&]*)".to_owned() },
        ] {
            let extractor = extractor(extract);
            let found = match extractor.needs() {
                Needs::Head => extractor.from_head(&request, "email"),
                Needs::Body => Ok(extractor.from_body(&body)),
            };
            if let Ok(found) = found {
                let _ = who(&found, &request);
            }
        }
    }

    #[test]
    fn what_a_form_encodes_is_what_is_read(name in "\\PC{0,20}") {
        let encoded: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let query = received(&format!("GET /?x=1&a={encoded}"), &[]);
        let by_query = extractor(Extract::Query { param: "a".to_owned() });
        prop_assert_eq!(by_query.from_head(&query, "email"), Ok(login(&name)));
        let by_body = extractor(Extract::Body { regex: "a=([^&]*)".to_owned() });
        prop_assert_eq!(by_body.from_body(format!("x=1&a={encoded}&z").as_bytes()), login(&name));
    }
}
