//! What a session reads of the configuration that a fleet shares (or a lone node's file holds): made once when it
//! changes, so that a connection only clones pointers.

use std::net::IpAddr;
use std::sync::Arc;

use mailswitch_config::FleetConfig;
use mailswitch_config::table::capabilities::{Authentication, Pop3Capabilities, SaslMechanism};
use mailswitch_config::table::cutover::HeldReply as ConfiguredReply;
use mailswitch_dialogue::{AccessConfig, CleartextAuth, HeldReply, Mechanism, Presentation, Protocol};
use mailswitch_http_rules::Routes;

/// The policy in force.
#[derive(Debug)]
pub struct Policy {
    /// The tables as they are.
    pub fleet: Arc<FleetConfig>,
    imap: Front,
    pop3: Front,
    managesieve: Front,
    submission: Front,
    jwt_claim: Arc<str>,
    routes: Routes,
}

#[derive(Debug)]
struct Front {
    /// Or the name of the implementation.
    banner: Arc<str>,
    /// Capabilities, EHLO keywords or Sieve extensions.
    words: Arc<[String]>,
    sasl: Arc<[Mechanism]>,
    cleartext: CleartextAuth,
}

impl Policy {
    /// Of a configuration.
    #[must_use]
    pub fn new(fleet: Arc<FleetConfig>) -> Self {
        let imap = &fleet.capabilities.imap;
        let pop3 = &fleet.capabilities.pop3;
        let managesieve = &fleet.capabilities.managesieve;
        let submission = &fleet.capabilities.submission;
        Self {
            imap: Front::new(&imap.banner, &imap.advertise, &imap.authentication),
            pop3: Front::new(&pop3.banner, &[], &pop3.authentication),
            managesieve: Front::new(
                &managesieve.implementation,
                &managesieve.sieve,
                &managesieve.authentication,
            ),
            submission: Front::new(&submission.banner, &submission.ehlo, &submission.authentication),
            jwt_claim: fleet.oauth.jwt_username_claim.as_str().into(),
            routes: Routes::compile(&fleet.http).unwrap_or_else(|error| {
                // The validator takes nothing that does not compile (V19): a request without a route is answered 404.
                tracing::error!(error = crate::error_chain(&error), "no HTTP request is routed");
                Routes::default()
            }),
            fleet,
        }
    }

    /// Where HTTP requests go.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// What we say of ourselves. `local` is what the client connected to, for a greeting without a host name.
    #[must_use]
    pub fn presentation(
        &self,
        protocol: Protocol,
        hostname: Option<&Arc<str>>,
        local: IpAddr,
    ) -> Presentation {
        let front = self.front(protocol);
        let banner = Arc::clone(&front.banner);
        match protocol {
            Protocol::Imap => Presentation::Imap {
                banner,
                advertise: Arc::clone(&front.words),
            },
            Protocol::Pop3 => Presentation::Pop3 {
                banner,
                implementation: Pop3Capabilities::IMPLEMENTATION,
            },
            Protocol::ManageSieve => Presentation::ManageSieve {
                implementation: banner,
                sieve: Arc::clone(&front.words),
            },
            Protocol::Submission => Presentation::Submission {
                hostname: hostname.map_or_else(|| local.to_string().into(), Arc::clone),
                banner,
                ehlo: Arc::clone(&front.words),
            },
        }
    }

    /// Who may log in.
    #[must_use]
    pub fn access(&self, protocol: Protocol, max_failures: u32) -> AccessConfig {
        let front = self.front(protocol);
        AccessConfig {
            sasl: Arc::clone(&front.sasl),
            cleartext: front.cleartext,
            max_failures,
            jwt_claim: Arc::clone(&self.jwt_claim),
        }
    }

    /// How a login that waited too long is ended.
    #[must_use]
    pub fn held_reply(&self) -> HeldReply {
        match self.fleet.cutover.held_reply {
            ConfiguredReply::Bye => HeldReply::Bye,
            ConfiguredReply::No => HeldReply::No,
        }
    }

    const fn front(&self, protocol: Protocol) -> &Front {
        match protocol {
            Protocol::Imap => &self.imap,
            Protocol::Pop3 => &self.pop3,
            Protocol::ManageSieve => &self.managesieve,
            Protocol::Submission => &self.submission,
        }
    }
}

impl Front {
    fn new(banner: &str, words: &[String], authentication: &Authentication) -> Self {
        Self {
            banner: banner.into(),
            words: words.into(),
            sasl: authentication.sasl.iter().copied().map(mechanism).collect(),
            cleartext: if authentication.allow_plain_auth_without_tls {
                CleartextAuth::Allowed
            } else {
                CleartextAuth::Refused
            },
        }
    }
}

fn mechanism(configured: SaslMechanism) -> Mechanism {
    match configured {
        SaslMechanism::Plain => Mechanism::Plain,
        SaslMechanism::Login => Mechanism::Login,
        SaslMechanism::OauthBearer => Mechanism::OauthBearer,
        SaslMechanism::Xoauth2 => Mechanism::Xoauth2,
    }
}
