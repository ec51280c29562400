//! Certificates for a test.

use mailswitch_proto::channel::{Credentials, Files};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use tempfile::TempDir;

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    pub fn control_plane(&self) -> Credentials {
        self.issue("urn:mailswitch:control-plane:cp-1")
    }

    pub fn client(&self, urn: &str) -> Credentials {
        self.issue(urn)
    }

    /// The files of a certificate for this name.
    pub fn files(&self, urn: &str) -> Files {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::URI(urn.try_into().unwrap()),
            SanType::IpAddress("127.0.0.1".parse().unwrap()),
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let stem = urn.replace(':', "-");
        let path = |file: String| self.folder.path().join(file);
        let files = Files {
            ca: path("ca.pem".to_owned()),
            cert: path(format!("{stem}.pem")),
            key: path(format!("{stem}.key")),
        };
        std::fs::write(&files.cert, cert.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn issue(&self, urn: &str) -> Credentials {
        Credentials::load(self.files(urn)).unwrap()
    }
}
