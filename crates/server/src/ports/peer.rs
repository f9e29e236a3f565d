//! The other side of a connection: its address, and what a certificate that TLS has checked says of it.

use std::net::SocketAddr;

use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::access::KnownByCertificate;

/// See the module.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// `None`: it has shown none.
    pub(crate) certificate: Option<Names>,
    /// Who that is, once it was asked.
    pub(crate) caller: KnownByCertificate,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, certificate: Option<Names>) -> Self {
        Self { address, certificate, caller: KnownByCertificate::default() }
    }
}

/// The names in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// The whole subject, such as `CN=worker, O=Example`.
    pub(crate) subject: String,
    pub(crate) common_name: Option<String>,
    pub(crate) dns: Vec<String>,
    pub(crate) uris: Vec<String>,
}

impl Names {
    /// Of a certificate in DER. `None`: it cannot be read.
    pub(crate) fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let common_name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned);
        let mut names = Self { subject: subject.to_string(), common_name, ..Self::default() };
        for name in certificate.subject_alternative_name().ok()?.map(|names| &names.value.general_names).into_iter().flatten() {
            match name {
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                _ => {}
            }
        }
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_are_read() {
        let mut params = CertificateParams::new(vec!["worker.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "worker-1");
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.subject_alt_names.push(SanType::URI("spiffe://example/worker".try_into().unwrap()));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let names = Names::of(certificate.der()).unwrap();
        assert_eq!(names.common_name.as_deref(), Some("worker-1"));
        assert!(names.subject.contains("CN=worker-1") && names.subject.contains("O=Example"), "{}", names.subject);
        assert_eq!((names.dns, names.uris), (vec!["worker.example".to_owned()], vec!["spiffe://example/worker".to_owned()]));
        assert_eq!(Names::of(b"no certificate"), None);
    }
}
