//! Each rule of configuration section 6, and what an operator reads when a file breaks it. Named and ordered by the
//! rules' numbers, which is how they are looked up: that is why this is one long file.

mod support;

use insta::assert_snapshot;
use mailswitch_config::NodeConfig;
use mailswitch_config::node::Environment;
use support::{Files, NODE, and, with};

fn said(toml: &str) -> String {
    Files::new().about_node(toml)
}

#[test]
fn a_file_in_order_gives_no_finding() {
    assert_eq!(said(NODE), "");
}

#[test]
fn v1_a_destination_that_is_not_declared_is_named_with_the_declared_ones() {
    assert_snapshot!(said(&with(
        "= \"legacy\"",
        "= \"legcay\"\nsmtp_passthrough_destination = \"mx\""
    )));
}

#[test]
fn v1_a_route_is_pinned_to_a_declared_destination() {
    assert_snapshot!(said(&and(
        "[[http.route]]\nmatch = \"/**\"\ndestination = \"newer\"\n"
    )));
}

#[test]
fn v2_a_listener_needs_an_address_of_its_own() {
    let twice = "
[listener.other]
protocol = \"imap\"
bind = [\"127.0.0.1:1143\"]
tls = \"plain\"
[listener.none]
protocol = \"imap\"
bind = []
tls = \"plain\"
[metrics]
bind = \"127.0.0.1:1143\"
";
    assert_snapshot!(said(&and(twice)));
}

#[test]
fn v2_the_management_api_needs_an_address_of_its_own() {
    let files = Files::new();
    let said = files.about_node(&and(
        "[admin]\nbind = \"127.0.0.1:1143\"\nbearer_token_file = \"/etc/mailswitch/admin.token\"\n",
    ));
    assert_snapshot!(said);
}

#[test]
fn v3_a_proxy_header_needs_somebody_who_may_send_it() {
    assert_snapshot!(said(&with(
        "tls = \"plain\"",
        "tls = \"plain\"\nproxy_protocol = \"required\""
    )));
}

#[test]
fn v4_v5_smtp_lmtp_and_http_listeners_have_no_starttls() {
    let listeners = "
[listener.mx]
protocol = \"smtp\"
bind = [\"127.0.0.1:25\"]
tls = \"starttls\"
[listener.web]
protocol = \"http\"
bind = [\"127.0.0.1:80\"]
tls = \"starttls\"
[tls.certificate.public]
cert = \"/etc/mailswitch/chain.pem\"
key = \"/etc/mailswitch/key.pem\"
[destination.legacy.protocol.http]
port = 443
tls = \"implicit\"
[destination.mail]
host = \"mail.example.org\"
protocol.smtp = { port = 25, tls = \"plain\" }
[[http.route]]
match = \"/**\"
";
    let toml = with(
        "default_destination = \"legacy\"",
        "default_destination = \"legacy\"\nsmtp_passthrough_destination = \"mail\"",
    )
    .replace(
        "source = \"file\"",
        "source = \"file\"\nnormalize = \"lowercase\"",
    );
    assert_snapshot!(said(&format!("{toml}{listeners}")));
}

#[test]
fn v6_the_default_destination_serves_what_the_listeners_promise() {
    let listeners = "
[listener.pop3]
protocol = \"pop3\"
bind = [\"127.0.0.1:110\"]
tls = \"plain\"
[listener.web]
protocol = \"http\"
bind = [\"127.0.0.1:80\"]
tls = \"plain\"
[destination.new.protocol.pop3]
port = 995
tls = \"implicit\"
";
    assert_snapshot!(said(&and(listeners)));
}

#[test]
fn v7_v8_inbound_mail_needs_a_destination_that_takes_it() {
    let listeners = "
[listener.mx]
protocol = \"smtp\"
bind = [\"127.0.0.1:25\"]
tls = \"plain\"
[listener.local]
protocol = \"lmtp\"
bind = [\"127.0.0.1:24\"]
tls = \"plain\"
";
    let without = said(&and(listeners));
    let named = with(
        "default_destination = \"legacy\"",
        "default_destination = \"legacy\"\nsmtp_passthrough_destination = \"new\"",
    );
    let lacking = said(&format!("{named}{listeners}"));
    assert_snapshot!(format!("{without}\n\n{lacking}"));
}

#[test]
fn v9_passwords_go_in_clear_only_when_the_destination_says_so() {
    let plain = with("port = 993\ntls = \"implicit\"", "port = 143\ntls = \"plain\"");
    assert_snapshot!(said(&plain));
    let allowed = plain.replace(
        "host = \"legacy.example.org\"",
        "host = \"legacy.example.org\"\nallow_plaintext_auth = true",
    );
    assert_eq!(said(&allowed), "");
}

#[test]
fn v10_v11_a_tls_leg_needs_a_name_that_a_certificate_can_hold() {
    assert_snapshot!(said(
        &with("legacy.example.org", "192.0.2.1").replace("new.example.org", "new_server!")
    ));
    let named = with(
        "host = \"legacy.example.org\"",
        "host = \"192.0.2.1\"\ntls_server_name = \"legacy.example.org\"",
    );
    assert_eq!(said(&named), "");
}

#[test]
fn v12_a_client_certificate_has_both_halves_and_they_fit() {
    let files = Files::new();
    let other = rcgen::KeyPair::generate().unwrap();
    files.write("other.key", &other.serialize_pem());
    let toml = with(
        "host = \"legacy.example.org\"",
        "host = \"legacy.example.org\"\ntls_client_cert = \"/etc/mailswitch/chain.pem\"",
    )
    .replace(
        "host = \"new.example.org\"",
        "host = \"new.example.org\"
tls_client_cert = \"/etc/mailswitch/chain.pem\"
tls_client_key = \"/etc/mailswitch/other.key\"",
    );
    assert_snapshot!(files.about_node(&toml));
}

#[test]
fn v12_files_that_hold_no_certificate_or_no_key_are_named() {
    let files = Files::new();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    files.write("encrypted.key", encrypted);
    let toml = with(
        "host = \"legacy.example.org\"",
        "host = \"legacy.example.org\"
tls_client_cert = \"/nonexistent/client.pem\"
tls_client_key = \"/etc/mailswitch/encrypted.key\"",
    )
    .replace(
        "host = \"new.example.org\"",
        "host = \"new.example.org\"
tls_client_cert = \"/etc/mailswitch/key.pem\"
tls_client_key = \"/etc/mailswitch/chain.pem\"",
    );
    assert_snapshot!(files.about_node(&toml));
}

#[test]
fn v13_a_pin_has_64_digits() {
    let toml = with(
        "host = \"legacy.example.org\"",
        "host = \"legacy.example.org\"\ntls_pinned_cert_sha256 = \"3b:1f:00\"",
    );
    assert_snapshot!(said(&toml));
}

#[test]
fn v14_an_http_leg_has_no_starttls() {
    assert_snapshot!(said(&and(
        "[destination.new.protocol.http]\nport = 80\ntls = \"starttls\"\n"
    )));
}

#[test]
fn v15_the_selected_source_has_its_section() {
    let without = said(&with("source = \"file\"", "source = \"redis\""));
    let empty = said(&with("path = \"/etc/mailswitch/moved.tsv\"", "path = \"\""));
    let absent = said(&with(
        "path = \"/etc/mailswitch/moved.tsv\"",
        "path = \"/nonexistent/moved.tsv\"",
    ));
    assert_snapshot!(format!("{without}\n\n{empty}\n\n{absent}"));
}

#[test]
fn v15_what_the_source_needs_is_not_empty() {
    let redis = said(&with(
        "source = \"file\"",
        "source = \"redis\"\n[mapping.redis]\nurl = \"\"",
    ));
    let sql = said(&with(
        "source = \"file\"",
        "source = \"sql\"\n[mapping.sql]\nurl = \" \"\nquery = \"\"",
    ));
    let nothing = said(&with("source = \"file\"", "source = \"sql\"\n[mapping.sql]"));
    assert_snapshot!(format!("{redis}\n\n{sql}\n\n{nothing}"));
}

#[test]
fn v16_a_store_has_a_known_scheme_and_its_password_is_not_shown() {
    let toml = with(
        "source = \"file\"",
        "source = \"sql\"
[mapping.sql]
url = \"oracle://router:hunter2@db/mail\"
query = \"SELECT node FROM placement WHERE login = $1\"
upsert_query = \"INSERT\"",
    );
    let said = said(&toml);
    assert!(!said.contains("hunter2"));
    assert_snapshot!(said);
}

#[test]
fn v16_a_store_that_can_be_written_only_by_half_is_worth_a_warning() {
    let toml = with(
        "source = \"file\"",
        "source = \"sql\"
[mapping.sql]
url = \"postgres://db.example.org/mail\"
query = \"SELECT node FROM placement WHERE login = $1\"
delete_query = \"DELETE FROM placement WHERE login = $1\"",
    );
    assert_snapshot!(said(&toml));
}

#[test]
fn v17_v18_v26_the_lines_of_the_mapping_file_are_checked() {
    let files = Files::new();
    files.write(
        "moved.tsv",
        "# moved\nann@example.org\tnew\nbob@example.org\nCid@example.org new\ndan@example.org nwe\nann@example.org legacy\n",
    );
    let toml = with(
        "source = \"file\"",
        "source = \"file\"\nnormalize = \"lowercase\"",
    ) + "
[listener.sieve]
protocol = \"managesieve\"
bind = [\"127.0.0.1:4190\"]
tls = \"plain\"
[destination.legacy.protocol.managesieve]
port = 4190
tls = \"starttls\"
";
    assert_snapshot!(files.about_node(&toml));
}

#[test]
fn v18_what_a_changing_store_may_name_is_worth_a_warning() {
    let toml = with(
        "source = \"file\"",
        "source = \"redis\"\n[mapping.redis]\nurl = \"redis://127.0.0.1/0\"",
    ) + "
[listener.sieve]
protocol = \"managesieve\"
bind = [\"127.0.0.1:4190\"]
tls = \"plain\"
[destination.legacy.protocol.managesieve]
port = 4190
tls = \"starttls\"
";
    assert_snapshot!(said(&toml));
}

#[test]
fn v26_upper_case_is_kept_where_logins_are_compared_as_they_come() {
    let files = Files::new();
    files.write("moved.tsv", "Cid@example.org new\ncid@example.org legacy\n");
    assert_eq!(files.about_node(NODE), "");
}

#[test]
fn a_mapping_file_with_thousands_of_mistakes_shows_the_first_hundred() {
    let files = Files::new();
    files.write("moved.tsv", &"bob\n".repeat(5000));
    let said = files.about_node(NODE);
    assert_eq!(said.lines().count(), 101);
    assert!(said.contains("4900 more findings in this file"), "{said}");
}

#[test]
fn v19_v20_routes_have_patterns_that_work_and_destinations_that_answer() {
    let routes = "
[[http.route]]
match = \"/{a,b\"
destination = \"new\"
[[http.route]]
match = \"/b\"
extract = { from = \"body\" }
fallback = \"nowhere\"
[[http.route]]
match = \"/c\"
extract = { from = \"body\", regex = \"client_id=[^&]+\" }
[[http.route]]
match = \"/d\"
extract = { from = \"body\", regex = \"client_id=([^&]+\" }
[[http.route]]
match = \"/e\"
extract = { from = \"query\" }
fallback = \"default\"
[[http.route]]
match = \"/f\"
extract = { from = \"header\" }
[[http.route]]
match = \"/g\"
extract = { from = \"header\", header = \"X-Account:\" }
[[http.route]]
match = \"/[z-a]\"
destination = \"new\"
";
    assert_snapshot!(said(&and(routes)));
}

#[test]
fn v19_every_kind_of_pattern_that_cannot_be_read_says_why() {
    let routes: String = ["/a}", "/[ab", "/a\\\\", "", "/{a,{b}"]
        .iter()
        .map(|pattern| format!("[[http.route]]\nmatch = \"{pattern}\"\n"))
        .collect();
    assert_snapshot!(said(&and(&(routes + "[[http.route]]\ndestination = \"new\"\n"))));
}

/// Also where the pattern is wrong: everything is said in one run.
#[test]
fn v20_pinned_and_fallback_destinations_serve_http() {
    let routes = "
[[http.route]]
match = \"/{a\"
destination = \"new\"
[[http.route]]
match = \"/b\"
extract = { from = \"authorization\" }
fallback = \"new\"
[[http.route]]
match = \"/c\"
fallback = \"default\"
";
    assert_snapshot!(said(&and(routes)));
    let serves = and(routes).replace("/{a", "/a")
        + "[destination.new.protocol]\nhttp = { port = 443, tls = \"implicit\" }\n";
    assert_eq!(said(&serves), "");
}

#[test]
fn v21_a_mechanism_is_one_of_four_and_named_once() {
    assert_snapshot!(said(&and(
        "[capabilities.imap]\nsasl = [\"PLAIN\", \"CRAM-MD5\", \"plain\"]\nbanner = \"two\\nlines\"\n"
    )));
}

#[test]
fn v21_each_protocol_has_its_own_list_and_case_does_not_matter() {
    let tables = "
[capabilities.pop3]
sasl = [\"plain\", \"xoauth2\"]
[capabilities.submission]
sasl = [\"LOGIN\", \"SCRAM-SHA-256\"]
[capabilities.managesieve]
sasl = [\"OAUTHBEARER\", \"OAuthBearer\"]
implementation = \"a\\u0000b\"
sieve = \"fileinto\\r\\nOK\"
[capabilities.imap]
sasl = []
";
    assert_snapshot!(said(&and(tables)));
}

#[test]
fn v22_the_management_api_is_tls_with_a_long_token_that_is_never_shown() {
    let files = Files::new();
    let short = files.about_node(&and(
        "[admin]\nbind = \"127.0.0.1:9443\"\ntls = \"plain\"\nbearer_token = \"hunter2\"\n",
    ));
    let none = files.about_node(&and("[admin]\nbind = \"127.0.0.1:9443\"\n"));
    let unreadable = files.about_node(&and(
        "[admin]\nbind = \"127.0.0.1:9443\"\nbearer_token_file = \"/nonexistent/token\"\nmin_token_len = 8\n",
    ));
    let all = format!("{short}\n\n{none}\n\n{unreadable}");
    assert!(!all.contains("hunter2"));
    assert_snapshot!(all);
}

#[test]
fn v22_a_short_token_is_refused_wherever_it_stands() {
    let files = Files::new();
    files.write("short.token", "hunter2\n");
    let toml = files.here(&and(
        "[admin]\nbind = \"127.0.0.1:9443\"\nbearer_token_file = \"/etc/mailswitch/short.token\"\nmin_token_len = 16\n",
    ));
    let file = files.shown(NodeConfig::parse(&toml, "proxy.toml", &Environment::default()));
    let environment = Environment {
        admin_token: Some("hunter3".to_owned()),
    };
    let environment = files.shown(NodeConfig::parse(&toml, "proxy.toml", &environment));
    let both = format!("{file}\n\n{environment}");
    assert!(!both.contains("hunter"));
    assert_snapshot!(both);
}

#[test]
fn the_token_of_the_environment_wins_over_the_file_and_the_file_over_the_key() {
    let files = Files::new();
    let toml = files.here(&and(
        "[admin]\nbind = \"127.0.0.1:9443\"\nbearer_token_file = \"/etc/mailswitch/admin.token\"
bearer_token = \"inline-inline-inline-inline-inline\"\n",
    ));
    let token = |environment: &Environment| {
        let checked = NodeConfig::parse(&toml, "proxy.toml", environment).unwrap();
        checked.config.admin.unwrap().token.expose().to_owned()
    };
    assert_eq!(token(&Environment::default()), "0123456789abcdef0123456789abcdef");
    let environment = Environment {
        admin_token: Some("from-the-environment-0123456789abcdef".to_owned()),
    };
    assert_eq!(token(&environment), "from-the-environment-0123456789abcdef");
}

#[test]
fn v23_tls_keeps_a_version_and_a_suite() {
    let old = said(&and(
        "[tls.protocols]\nmin_version = \"1.1\"\ndisable_cipher_suites = [\"TLS_AES_128_GCM_SHA265\"]\n",
    ));
    let nothing = said(&and(
        "[tls.protocols]\nmin_version = \"1.3\"
disable_cipher_suites = [\"tls_aes_128_gcm_sha256\", \"TLS13_AES_256_GCM_SHA384\", \"TLS_CHACHA20_POLY1305_SHA256\"]\n",
    ));
    assert_snapshot!(format!("{old}\n\n{nothing}"));
}

#[test]
fn v23_without_any_suite_of_either_version_nothing_is_left() {
    let suites = [
        "TLS_AES_256_GCM_SHA384",
        "TLS_AES_128_GCM_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ];
    let toml = |suites: &[&str]| and(&format!("[tls.protocols]\ndisable_cipher_suites = {suites:?}\n"));
    assert_eq!(said(&toml(&suites[1..])), "");
    let said = said(&toml(&suites));
    assert!(
        said.contains("error: tls.protocols.disable_cipher_suites = ")
            && said.ends_with("no suite is left for TLS 1.2 and later; remove some of them"),
        "{said}"
    );
}

#[test]
fn v24_certificates_are_readable_fit_their_key_and_one_is_the_default() {
    let files = Files::new();
    files.write("other.key", &rcgen::KeyPair::generate().unwrap().serialize_pem());
    files.write("empty.pem", "");
    let mut expired = rcgen::CertificateParams::new(["mail.example.org".to_owned()]).unwrap();
    expired.not_before = rcgen::date_time_ymd(2019, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    files.write("expired.pem", &expired.self_signed(&key).unwrap().pem());
    files.write("expired.key", &key.serialize_pem());
    let toml = and("
[tls.certificate.a]
cert = \"/etc/mailswitch/chain.pem\"
key = \"/etc/mailswitch/other.key\"
default = true
[tls.certificate.b]
cert = \"/etc/mailswitch/missing.pem\"
key = \"/etc/mailswitch/key.pem\"
default = true
[tls.certificate.c]
cert = \"/etc/mailswitch/empty.pem\"
key = \"/etc/mailswitch/chain.pem\"
[tls.certificate.d]
cert = \"/etc/mailswitch/expired.pem\"
key = \"/etc/mailswitch/expired.key\"
[tls.certificate.e]
key = \"/etc/mailswitch/key.pem\"
");
    let said = files.about_node(&toml);
    assert_snapshot!(said);
}

#[test]
fn v24_tls_without_a_certificate_is_worth_a_warning() {
    assert_snapshot!(said(&with("tls = \"plain\"", "tls = \"implicit\"")));
}

#[test]
fn v24_a_subject_of_a_star_is_a_default_and_a_leaf_from_the_future_is_worth_a_warning() {
    let files = Files::new();
    let mut future = rcgen::CertificateParams::new(["mail.example.org".to_owned()]).unwrap();
    future.not_before = rcgen::date_time_ymd(2999, 1, 1);
    future.not_after = rcgen::date_time_ymd(3000, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    files.write("future.pem", &future.self_signed(&key).unwrap().pem());
    files.write("future.key", &key.serialize_pem());
    let toml = and("
[tls.certificate.a]
cert = \"/etc/mailswitch/chain.pem\"
key = \"/etc/mailswitch/key.pem\"
default = true
[tls.certificate.b]
cert = \"/etc/mailswitch/future.pem\"
key = \"/etc/mailswitch/future.key\"
subjects = [\"b.example.org\", \"*\"]
");
    assert_snapshot!(files.about_node(&toml));
}

#[test]
fn v24_a_name_that_two_certificates_have_is_worth_a_warning() {
    let files = Files::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = ["MAIL.example.org".to_owned(), "imap.example.org".to_owned()];
    let old = rcgen::CertificateParams::new(names).unwrap();
    files.write("old.pem", &old.self_signed(&key).unwrap().pem());
    files.write("old.key", &key.serialize_pem());
    let toml = and("
[tls.certificate.a]
cert = \"/etc/mailswitch/chain.pem\"
key = \"/etc/mailswitch/key.pem\"
default = true
[tls.certificate.b]
cert = \"/etc/mailswitch/old.pem\"
key = \"/etc/mailswitch/old.key\"
[tls.certificate.c]
cert = \"/etc/mailswitch/old.pem\"
key = \"/etc/mailswitch/old.key\"
subjects = [\"c.example.org\", \"imap.example.org\"]
");
    assert_snapshot!(files.about_node(&toml));
}

#[test]
fn v25_http2_on_a_mail_leg_is_said_to_have_no_effect() {
    let said = said(&with(
        "host = \"new.example.org\"",
        "host = \"new.example.org\"
protocol.submission = { port = 25, tls = \"starttls\", http2 = true }",
    ));
    assert!(
        said.contains("warning: destination.new.protocol.submission.http2 = true: http2 has no effect"),
        "{said}"
    );
}

#[test]
fn v25_what_has_no_effect_or_no_safety_is_said() {
    let toml = with(
        "host = \"new.example.org\"",
        "host = \"new.example.org\"
tls_allow_invalid_certs = true
forwarding = \"xclient\"
protocol.smtp = { port = 25, tls = \"starttls\" }",
    ) + "
[listener.web]
protocol = \"http\"
bind = [\"127.0.0.1:80\"]
tls = \"plain\"
[destination.legacy.protocol.http]
port = 443
tls = \"implicit\"
";
    assert_snapshot!(said(&toml));
}

#[test]
fn v25_a_pin_wins_over_no_verification_and_that_is_said() {
    let pin = "ab".repeat(32);
    let toml = with(
        "host = \"new.example.org\"",
        &format!(
            "host = \"new.example.org\"\ntls_allow_invalid_certs = true\ntls_pinned_cert_sha256 = \"{pin}\""
        ),
    );
    assert_snapshot!(said(&toml));
}

#[test]
fn v25_announcing_by_xclient_and_starttls_have_no_effect_where_bytes_pass_unread() {
    let toml = with(
        "host = \"new.example.org\"",
        "host = \"new.example.org\"
protocol.lmtp = { port = 24, tls = \"starttls\", forwarding = \"xclient\" }
protocol.http = { port = 443, tls = \"implicit\", forwarding = \"xclient\" }",
    );
    assert_snapshot!(said(&toml));
}

#[test]
fn mail_is_not_routed_by_recipient_and_whoever_asks_for_it_reads_what_happens() {
    let toml = with(
        "default_destination = \"legacy\"",
        "default_destination = \"legacy\"\nsmtp_routing = \"recipient\"",
    );
    assert_snapshot!(said(&toml));
}

#[test]
fn a_line_that_is_no_toml_has_one_error_and_nothing_else_is_said_of_it() {
    let toml = with("bind = [\"127.0.0.1:1143\"]", "bind = [\"127.0.0.1:1143\"");
    assert_snapshot!("a_list_that_is_not_closed", said(&toml));
    assert_snapshot!("a_list_that_is_not_begun", said(&and("[server]\nthreads = [\n")));
    assert_snapshot!("a_value_that_is_missing", said(&and("[server]\nhostname =\n")));
}

#[test]
fn a_listener_that_lets_nobody_in_is_worth_a_warning_and_no_attempts_mean_one() {
    let toml = with(
        "tls = \"plain\"",
        "tls = \"plain\"\nmax_connections = 0\nmax_auth_attempts = 0",
    );
    assert_snapshot!(said(&toml));
    let listeners = Files::new().node(&toml).unwrap().config.listeners;
    assert_eq!(
        (listeners[0].max_connections, listeners[0].max_auth_attempts),
        (0, 1)
    );
}

#[test]
fn a_time_of_zero_in_which_nothing_can_happen_is_worth_a_warning() {
    let zero = with("tls = \"plain\"", "tls = \"plain\"\npreauth_timeout = \"0s\"")
        .replace("[mapping]\n", "[mapping]\nlookup_timeout = \"0s\"\n");
    assert_snapshot!(said(&format!(
        "{zero}[server]\nbackend_timeout = \"0s\"\nbridge_idle = \"0ms\"\n[http]\nrelay_idle = \"0s\"\n"
    )));
}

#[test]
fn a_word_that_is_no_level_does_not_silence_the_log_and_is_worth_a_warning() {
    let level = |word: &str| said(&and(&format!("[server]\nlog_level = \"{word}\"\n")));
    assert_snapshot!("a_level_with_a_typing_error", level("wran"));
    assert_snapshot!("a_word_that_is_no_level", level("verbose"));
    for good in [
        "WARN",
        "off",
        "info,mailswitch=debug",
        "mailswitch_data_plane=trace",
    ] {
        assert_eq!(level(good), "", "{good}");
    }
    let verbose = and("[server]\nlog_level = \"verbose\"\n");
    assert_eq!(
        Files::new().node(&verbose).unwrap().config.server.log_level,
        "info"
    );
}
