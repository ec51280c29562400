//! Why a connection could not be had, in words that say what to do. tonic and hyper show most of these as
//! "transport error" or "broken pipe": a client without a certificate, for one, connects, and is refused only when it
//! first speaks.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use super::verify::NotControlPlane;

/// Why the control plane could not be reached, or did not take us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The host name has no address.
    #[error("the host name cannot be resolved ({0}); check it, and the resolver of this machine")]
    Unresolved(String),
    /// Nobody listens there.
    #[error("nobody listens there; check host and port, and that the control plane runs")]
    Refused,
    /// No answer.
    #[error("no answer in time; check the network and any firewall between here and there")]
    TimedOut,
    /// Something answers, and it is not TLS.
    #[error("what answers there does not speak TLS; check the port")]
    NotTls,
    /// TLS, but no HTTP/2 inside.
    #[error("what answers there is not a control plane (it does not offer HTTP/2); check the port")]
    NotOurs,
    /// The server's certificate is not of the authority that we were given.
    #[error("its certificate is not issued by the authority in the `ca` file; give the `ca` of that fleet")]
    ServerUntrusted,
    /// The server's certificate is out of date.
    #[error("its certificate has expired; issue a new one with `mailswitchctl pki issue control-plane`")]
    ServerExpired,
    /// The server's certificate is not valid yet.
    #[error("its certificate is not valid yet; check the clocks of both machines")]
    ServerNotYetValid,
    /// The server's certificate has other names.
    #[error(
        "its certificate is not for this name; use a name that it has ({0}), or issue it anew with `--san`"
    )]
    ServerName(String),
    /// The server's certificate is a node's or an operator's.
    #[error(
        "its certificate is not a control plane's; issue one with `mailswitchctl pki issue control-plane`"
    )]
    ServerNotControlPlane,
    /// We sent no certificate.
    #[error("it wants a client certificate; give one with `cert` and `key`")]
    NoClientCertificate,
    /// Our certificate is of another authority.
    #[error("it does not trust our certificate: another authority issued it; issue one from the fleet's")]
    ClientUntrusted,
    /// Our certificate is out of date.
    #[error("our certificate has expired; issue a new one with `mailswitchctl pki issue`")]
    ClientExpired,
    /// Our certificate has no role, or cannot be used by a client.
    #[error("our certificate has no role in this fleet; issue one with `mailswitchctl pki issue`")]
    ClientWithoutRole,
    /// Anything else, in the words of whoever said it.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// From an error of a socket or of TLS.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Self {
        if let Some(tls) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Self::of_tls(tls);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Other(error.to_string()),
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(why) => Self::of_server_certificate(why),
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::NoApplicationProtocol => Self::NotOurs,
            other => Self::Other(other.to_string()),
        }
    }

    fn of_server_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::ServerUntrusted,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::ServerExpired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::ServerNotYetValid
            }
            CertificateError::NotValidForName => Self::ServerName("unknown".to_owned()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::ServerName(presented.join(", "))
            }
            CertificateError::Other(other) if other.0.downcast_ref::<NotControlPlane>().is_some() => {
                Self::ServerNotControlPlane
            }
            other => Self::Other(format!("its certificate cannot be used: {other}")),
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired => Self::NoClientCertificate,
            AlertDescription::UnknownCA | AlertDescription::DecryptError => Self::ClientUntrusted,
            AlertDescription::CertificateExpired => Self::ClientExpired,
            AlertDescription::AccessDenied
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::BadCertificate => Self::ClientWithoutRole,
            AlertDescription::NoApplicationProtocol => Self::NotOurs,
            other => Self::Other(format!("it ended the handshake with the alert {other:?}")),
        }
    }

    /// Finds the failure in an error's chain of sources, where one is left in it.
    #[must_use]
    pub fn in_chain(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(failure) = error.downcast_ref::<Self>() {
                return Some(failure.clone());
            }
            if let Some(io) = error.downcast_ref::<io::Error>() {
                // An io::Error hides its inner error from `source`: look inside.
                return match io.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
                    Some(failure) => Some(failure.clone()),
                    None => Some(Self::of_io(io)),
                };
            }
            next = error.source();
        }
        None
    }
}
