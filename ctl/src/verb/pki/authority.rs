//! The authority: made once, loaded to issue. Its certificates name their holder in a URI (`channel::PeerIdentity`).

use std::path::Path;

use chrono::{Datelike as _, Days, NaiveDate, Utc};
use mailswitch_proto::channel::{PeerIdentity, Role};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use crate::exit::{Exit, Failure};

/// A certificate and its key, as PEM.
pub(super) struct Made {
    pub(super) cert: String,
    pub(super) key: String,
    pub(super) not_after: String,
}

/// What a certificate is for.
pub(super) struct Request<'a> {
    pub(super) identity: &'a PeerIdentity,
    pub(super) sans: &'a [SanType],
    pub(super) days: u32,
}

/// An authority that can issue.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    pub(super) fn make(name: &str, days: u32) -> Result<Made, Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(name);
        // It issues end entities only: no authority below it.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let not_after = valid_for(&mut params, days);
        let issuer = KeyPair::generate()
            .and_then(|key| CertifiedIssuer::self_signed(params, key))
            .map_err(|error| failed(&error))?;
        Ok(Made {
            cert: issuer.pem(),
            key: issuer.key().serialize_pem(),
            not_after,
        })
    }

    /// The one in this folder.
    pub(super) fn load(folder: &Path) -> Result<Self, Failure> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map_err(|error| {
                Failure::new(
                    Exit::Precondition,
                    format!("{} cannot be read: {error}", path.display()),
                )
                .remedy("--dir is the folder of `mailswitchctl pki init`")
            })
        };
        let (cert, key) = (read("ca.pem")?, read("ca.key")?);
        let issuer = KeyPair::from_pem(&key)
            .and_then(|key| Issuer::from_ca_cert_pem(&cert, key))
            .map_err(|error| {
                Failure::new(
                    Exit::Precondition,
                    format!("the authority in {} cannot be used: {error}", folder.display()),
                )
            })?;
        Ok(Self { issuer })
    }

    /// Issues a certificate with a new key.
    pub(super) fn issue(&self, request: &Request<'_>) -> Result<Made, Failure> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(request.identity.name.as_str());
        let urn = request.identity.urn();
        let urn = SanType::URI(urn.as_str().try_into().map_err(|error| failed(&error))?);
        params.subject_alt_names = [urn].into_iter().chain(request.sans.iter().cloned()).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match request.identity.role {
            // A replica is also a client of the others.
            Role::ControlPlane => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            Role::Node | Role::Viewer | Role::Operator | Role::Admin => {
                vec![ExtendedKeyUsagePurpose::ClientAuth]
            }
        };
        params.use_authority_key_identifier_extension = true;
        let not_after = valid_for(&mut params, request.days);
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let cert = params
            .signed_by(&key, &self.issuer)
            .map_err(|error| failed(&error))?;
        Ok(Made {
            cert: cert.pem(),
            key: key.serialize_pem(),
            not_after,
        })
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// From yesterday, for clocks that are a little behind; to the end day in words.
fn valid_for(params: &mut CertificateParams, days: u32) -> String {
    let today = Utc::now().date_naive();
    let day = |date: NaiveDate| {
        // Months and days fit into a byte.
        rcgen::date_time_ymd(date.year(), date.month() as u8, date.day() as u8)
    };
    let last = today + Days::new(days.into());
    params.not_before = day(today - Days::new(1));
    params.not_after = day(last);
    last.to_string()
}

fn failed(error: &rcgen::Error) -> Failure {
    Failure::new(
        Exit::Precondition,
        format!("the certificate cannot be made: {error}"),
    )
}
