#![no_main]
//! Whatever a query, a field or a body is: a login, none or a refusal, never a panic; and the identity of it is never longer
//! than an identifier may be.

use std::sync::LazyLock;

use http::{HeaderValue, Request, Uri};
use libfuzzer_sys::fuzz_target;
use mailswitch_config::table::http::{Extract, Http, HttpRoute, RouteFallback, RouteTarget};
use mailswitch_http_rules::{Extractor, Identity, Needs, Opening, Pseudonym, Received, Routes, Target};
use mailswitch_proto::identifier::{MAX_BYTES, Normalization, Rules};

static EXTRACTORS: LazyLock<Vec<Extractor>> = LazyLock::new(|| {
    [
        Extract::Authorization,
        Extract::Query {
            param: "a".to_owned(),
        },
        Extract::Header {
            header: "x-account".to_owned(),
        },
        Extract::Body {
            regex: "a=([^&]*)".to_owned(),
        },
    ]
    .into_iter()
    .map(|extract| {
        let routes = Routes::compile(&Http {
            routes: vec![HttpRoute {
                index: 0,
                pattern: "/**".to_owned(),
                target: RouteTarget::Extracted(extract, RouteFallback::Default),
            }],
            ..Http::default()
        })
        .expect("a route");
        match &routes.find("/").expect("it matches").target {
            Target::ByAccount(extractor, _) => extractor.clone(),
            other => panic!("{other:?}"),
        }
    })
    .collect()
});

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules {
    master_user_separators: vec!["%".to_owned()],
    normalization: Normalization::Fleet {
        bare_domain: Some("example.org".to_owned()),
    },
});

fuzz_target!(|data: &[u8]| {
    let uri = [b"/?", data].concat();
    let (mut head, ()) = Request::new(()).into_parts();
    head.uri = Uri::try_from(uri).unwrap_or_default();
    head.headers.insert("host", HeaderValue::from_static("a.example"));
    if let Ok(value) = HeaderValue::from_bytes(data) {
        head.headers.insert("authorization", value.clone());
        head.headers.insert("x-account", value);
    }
    let Ok(request) = Received::read(head, Opening::Http1, &Pseudonym::of(1)) else {
        return;
    };
    for extractor in EXTRACTORS.iter() {
        let found = match extractor.needs() {
            Needs::Head => extractor.from_head(&request, "email"),
            Needs::Body => Ok(extractor.from_body(data)),
        };
        let Ok(found) = found else { continue };
        let besides = extractor.besides(&request, data).unwrap_or_default();
        if let Ok(identity) = Identity::of(&found, &request, "email", &RULES) {
            let identity = identity.and(&besides, &RULES);
            for identifier in identity.routed_by.iter().chain(&identity.also) {
                assert!(!identifier.as_str().is_empty() && identifier.as_str().len() <= MAX_BYTES);
                assert!(
                    !identifier
                        .as_str()
                        .bytes()
                        .any(|byte| byte <= b' ' || byte == b'"')
                );
            }
        }
    }
});
