//! The errors of TLS in one line: the party at fault, and the way out.

use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage, PeerIncompatible};

use crate::error::{Error, Fault};

/// The other side, as errors show it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) url: String,
    /// Whether the trusted CAs come from a file.
    pub(super) has_own_ca: bool,
    /// Whether this client has a certificate.
    pub(super) has_certificate: bool,
}

/// Makes a certificate that rustls, OpenSSL and their users accept.
const USABLE_CERTIFICATE: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
    -keyout key.pem -out cert.pem -subj /CN=HOST -addext subjectAltName=DNS:HOST \
    -addext basicConstraints=critical,CA:FALSE";

/// The error of a connection that rustls ended.
pub(super) fn explain(error: &TlsError, peer: &Peer, is_open: bool) -> Error {
    let url = &peer.url;
    let (fault, text) = match error {
        TlsError::InvalidCertificate(error) => explain_certificate(error, peer),
        TlsError::AlertReceived(alert) => explain_alert(*alert, peer),
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion)
            if !is_open =>
        {
            (Fault::Caller, format!("{url} answers without TLS: use mqtt:// or ws://, or its port for TLS"))
        }
        TlsError::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => (Fault::Broker, format!("{url} has only versions of TLS before 1.2, which are not secure")),
        error => (Fault::Broker, format!("TLS with {url} failed: {error}")),
    };
    Error::Tls { fault, text }
}

/// The error of a connection that ended during the handshake.
pub(super) fn handshake_ended(peer: &Peer) -> Error {
    let text = format!(
        "{} ended the connection during the TLS handshake: if its port is not for TLS, use mqtt:// or ws://",
        peer.url
    );
    Error::Tls { fault: Fault::Broker, text }
}

fn explain_certificate(error: &CertificateError, peer: &Peer) -> (Fault, String) {
    let whose = format!("the certificate of {}", peer.url);
    match error {
        CertificateError::UnknownIssuer if peer.has_own_ca => {
            (Fault::Caller, format!("{whose} is not signed by a CA of the CA file"))
        }
        CertificateError::UnknownIssuer => {
            (Fault::Caller, format!("{whose} is not signed by a CA of this machine: name its CA (--cafile FILE)"))
        }
        CertificateError::BadSignature => {
            let text = "is signed by another CA of the same name as a trusted one: the CA was made anew";
            (Fault::Caller, format!("{whose} {text}"))
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            (Fault::Broker, format!("{whose} names no host in its subjectAltName, and a CN does not count"))
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            (Fault::Caller, format!("{whose} is for {}: connect by that name", names(presented)))
        }
        CertificateError::NotValidForName => (Fault::Caller, format!("{whose} is for another name")),
        CertificateError::ExpiredContext { time, not_after } => {
            let ago = elapsed(time.as_secs().saturating_sub(not_after.as_secs()));
            (Fault::Broker, format!("{whose} expired {ago} ago, if this machine's clock is right"))
        }
        CertificateError::Expired => (Fault::Broker, format!("{whose} has expired, if this machine's clock is right")),
        CertificateError::NotValidYetContext { time, not_before } => {
            let ahead = elapsed(not_before.as_secs().saturating_sub(time.as_secs()));
            (Fault::Host, format!("{whose} is valid only in {ahead}, or this machine's clock is slow"))
        }
        CertificateError::NotValidYet => {
            (Fault::Host, format!("{whose} is not valid yet, or this machine's clock is slow"))
        }
        error => explain_form(&error.to_string(), &whose),
    }
}

/// Errors in the form of a certificate, which rustls passes on from another crate as texts.
fn explain_form(error: &str, whose: &str) -> (Fault, String) {
    let text = if error.contains("CaUsedAsEndEntity") {
        format!(
            "{whose} is a CA's own, as plain openssl req -x509 makes it, and a CA cannot be a server: make one with \
             wisp cert, or with {USABLE_CERTIFICATE}"
        )
    } else if error.contains("UnsupportedCertVersion") {
        format!(
            "{whose} is of X.509 version 1 and cannot name a host: sign it again with extensions (openssl x509 -req \
             -copy_extensions copy), or make one with wisp cert"
        )
    } else {
        format!("{whose} is not acceptable: {error}")
    };
    (Fault::Broker, text)
}

fn explain_alert(alert: AlertDescription, peer: &Peer) -> (Fault, String) {
    let url = &peer.url;
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure if !peer.has_certificate => {
            (Fault::Caller, format!("{url} asks for a client certificate (--cert FILE --key FILE): {alert:?}"))
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError if peer.has_certificate => {
            (Fault::Caller, format!("{url} does not trust the CA of the client certificate"))
        }
        AlertDescription::CertificateExpired => {
            (Fault::Caller, format!("{url} refuses the client certificate: it has expired"))
        }
        AlertDescription::CertificateRevoked => {
            (Fault::Caller, format!("{url} refuses the client certificate: it is revoked"))
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
            if peer.has_certificate =>
        {
            (Fault::Caller, format!("{url} refuses the client certificate: {alert:?}"))
        }
        alert => (Fault::Broker, format!("{url} ended TLS with the alert {alert:?}")),
    }
}

/// The names in a certificate; rustls writes them as in its own debug output.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
        inner.trim_matches('"').to_owned()
    };
    presented.iter().map(plain).collect::<Vec<_>>().join(", ")
}

fn elapsed(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
