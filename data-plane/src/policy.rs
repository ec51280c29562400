//! What a session reads of the configuration that a fleet shares (or a lone node's file holds): made once when it
//! changes, so that a connection only clones pointers.

use std::net::IpAddr;
use std::sync::Arc;

use mailswitch_config::FleetConfig;
use mailswitch_config::table::capabilities::{Authentication, SaslMechanism};
use mailswitch_config::table::cutover::HeldReply as ConfiguredReply;
use mailswitch_dialogue::{AccessConfig, CleartextAuth, HeldReply, Mechanism, Presentation, Protocol};

/// The policy in force.
#[derive(Debug)]
pub struct Policy {
    /// The tables as they are.
    pub fleet: Arc<FleetConfig>,
    imap: Front,
    submission: Front,
    jwt_claim: Arc<str>,
}

#[derive(Debug)]
struct Front {
    banner: Arc<str>,
    /// Capabilities or EHLO keywords.
    words: Arc<[String]>,
    sasl: Arc<[Mechanism]>,
    cleartext: CleartextAuth,
}

impl Policy {
    /// Of a configuration.
    #[must_use]
    pub fn new(fleet: Arc<FleetConfig>) -> Self {
        let imap = &fleet.capabilities.imap;
        let submission = &fleet.capabilities.submission;
        Self {
            imap: Front::new(&imap.banner, &imap.advertise, &imap.authentication),
            submission: Front::new(&submission.banner, &submission.ehlo, &submission.authentication),
            jwt_claim: fleet.oauth.jwt_username_claim.as_str().into(),
            fleet,
        }
    }

    /// What we say of ourselves. `local` is what the client connected to, for a greeting without a host name.
    #[must_use]
    pub fn presentation(
        &self,
        protocol: Protocol,
        hostname: Option<&Arc<str>>,
        local: IpAddr,
    ) -> Presentation {
        match protocol {
            Protocol::Imap => Presentation::Imap {
                banner: Arc::clone(&self.imap.banner),
                advertise: Arc::clone(&self.imap.words),
            },
            Protocol::Submission => Presentation::Submission {
                hostname: hostname.map_or_else(|| local.to_string().into(), Arc::clone),
                banner: Arc::clone(&self.submission.banner),
                ehlo: Arc::clone(&self.submission.words),
            },
        }
    }

    /// Who may log in.
    #[must_use]
    pub fn access(&self, protocol: Protocol, max_failures: u32) -> AccessConfig {
        let front = match protocol {
            Protocol::Imap => &self.imap,
            Protocol::Submission => &self.submission,
        };
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
