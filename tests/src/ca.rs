//! A certificate authority of the test's own, for the backends and for the nodes' listeners. (The fleet's own
//! authority, of the feed, is made by `mailswitchctl pki`.)

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use sha2::{Digest, Sha256};

pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pem: PathBuf,
}

/// Files of one issued certificate, and the SHA-256 of its DER in hex (as a destination pins it).
#[derive(Debug, Clone)]
pub struct Issued {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub fingerprint: String,
}

impl Ca {
    /// Makes one; its certificate is in `directory/test-ca.pem`.
    pub fn new(directory: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "Mailswitch test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let pem = directory.join("test-ca.pem");
        std::fs::write(&pem, issuer.pem())?;
        Ok(Self { issuer, pem })
    }

    #[must_use]
    pub fn pem(&self) -> &Path {
        &self.pem
    }

    /// A certificate for a name and an address, as `cert.pem` and `key.pem` in `directory`.
    pub fn issue(&self, directory: &Path, name: &str, address: IpAddr) -> Result<Issued> {
        let params = CertificateParams::new(vec![name.to_owned(), address.to_string()])?;
        self.sign(directory, name, params)
    }

    /// The same, with the address also as a DNS name: mbsync compares the text of its Host with nothing else.
    pub fn issue_for_mbsync(&self, directory: &Path, name: &str, address: IpAddr) -> Result<Issued> {
        let mut params = CertificateParams::new(vec![name.to_owned(), address.to_string()])?;
        params
            .subject_alt_names
            .push(SanType::DnsName(address.to_string().try_into()?));
        self.sign(directory, name, params)
    }

    fn sign(&self, directory: &Path, name: &str, mut params: CertificateParams) -> Result<Issued> {
        params.distinguished_name.push(DnType::CommonName, name);
        // Either end: a destination's `tls_client_cert` is one of these as well.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        let digest = Sha256::digest(cert.der());
        let issued = Issued {
            cert: directory.join("cert.pem"),
            key: directory.join("key.pem"),
            fingerprint: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        std::fs::write(&issued.cert, cert.pem())?;
        std::fs::write(&issued.key, key.serialize_pem())?;
        Ok(issued)
    }
}
