//! Who answers: by an authority and the name in the URL, by a pin, or, if told so, anybody.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;
use sha2::{Digest as _, Sha256};

use super::NodeApiArguments;
use crate::exit::Failure;
use crate::output::hex;

pub(super) fn config(arguments: &NodeApiArguments) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| Failure::usage(error.to_string()))?;
    if let Some(path) = &arguments.node_ca {
        return Ok(builder.with_root_certificates(roots(path)?).with_no_client_auth());
    }
    let known = match (&arguments.node_pin, arguments.accept_any_certificate) {
        (Some(pin), _) => Some(Known::Pin(pin_of(pin)?)),
        (None, true) => Some(Known::Anybody),
        (None, false) => None,
    };
    let verifier: Arc<dyn ServerCertVerifier> = match known {
        Some(known) => Arc::new(Believed { known, provider }),
        None => Arc::new(Verifier::new(provider).map_err(|error| {
            Failure::usage(format!(
                "the system's trusted certificates cannot be loaded: {error}"
            ))
            .remedy("install ca-certificates, or give --node-ca or --node-pin")
        })?),
    };
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

fn roots(path: &Path) -> Result<RootCertStore, Failure> {
    let wrong = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| wrong(format!("it cannot be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(wrong("there is no certificate in it".to_owned())),
        false => Ok(roots),
    }
}

/// Colons and blanks are how tools print it.
fn pin_of(text: &str) -> Result<String, Failure> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    match digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(digits.to_ascii_lowercase()),
        false => {
            Err(Failure::usage("--node-pin is not 64 hex digits").remedy("`mailswitchctl check` prints it"))
        }
    }
}

#[derive(Debug)]
enum Known {
    Pin(String),
    Anybody,
}

/// Instead of chain, name and dates. Signatures are checked in any case.
#[derive(Debug)]
struct Believed {
    known: Known,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Believed {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Known::Pin(pin) = &self.known else {
            return Ok(ServerCertVerified::assertion());
        };
        let shown = hex(&Sha256::digest(leaf));
        match shown == *pin {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::General(format!(
                "its certificate is another one: sha256 {shown}"
            ))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
