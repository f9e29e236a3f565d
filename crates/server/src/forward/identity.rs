//! How nodes know each other: a key pair that a node makes when it starts, and TLS 1.3 in which both sides show theirs.
//!
//! No authority vouches for anybody, and no name is looked at: a node publishes the hash of its public key in the picture, and each side
//! takes only a key that is in it (who calls: only that of the node which it means to call). Keys are shown as they are, without a
//! certificate around them (RFC 7250), and the protocol has a name of its own, so that nothing else comes to terms with this port.
//! The private key is in this process's memory and nowhere else.

use std::{fmt, str::FromStr, sync::Arc};

use ring::{
    digest,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig, SignatureScheme,
        client::{
            AlwaysResolvesClientRawPublicKeys, Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{WebPkiSupportedAlgorithms, ring as provider, verify_tls13_signature_with_raw_key},
        pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
        server::{
            AlwaysResolvesServerRawPublicKeys,
            danger::{ClientCertVerified, ClientCertVerifier},
        },
        sign::CertifiedKey,
        version::TLS13,
    },
};

use super::owners::Owners;

/// What nodes speak, as TLS names it: HTTP/2, which no other program offers under this name.
const PROTOCOL: &[u8] = b"sempre-nodes/1";

/// SHA-256 of a node's public key; what is published of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPrint([u8; 32]);

impl KeyPrint {
    fn of(public: &[u8]) -> Self {
        let mut print = [0; 32];
        print.copy_from_slice(digest::digest(&digest::SHA256, public).as_ref());
        Self(print)
    }
}

impl fmt::Display for KeyPrint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyPrint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A text that is no [`KeyPrint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the hash of a key is 64 hexadecimal digits")]
pub struct NoKeyPrint;

impl FromStr for KeyPrint {
    type Err = NoKeyPrint;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NoKeyPrint> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(NoKeyPrint);
        }
        let mut print = [0; 32];
        for (byte, pair) in print.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(NoKeyPrint);
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Ok(Self(print))
    }
}

/// The system gives no random bits, or its library of cryptography does not take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key can be made")]
pub(crate) struct NoKey;

/// The key pair of this node.
#[derive(Clone)]
pub(crate) struct NodeKey {
    pair: Arc<CertifiedKey>,
    print: KeyPrint,
}

impl NodeKey {
    /// A new one.
    pub(crate) fn generate() -> Result<Self, NoKey> {
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).map_err(|_| NoKey)?;
        let key = provider::sign::any_ecdsa_type(&PrivatePkcs8KeyDer::from(pair.as_ref()).into()).map_err(|_| NoKey)?;
        let public = key.public_key().ok_or(NoKey)?.as_ref().to_vec();
        let print = KeyPrint::of(&public);
        Ok(Self { pair: Arc::new(CertifiedKey::new(vec![CertificateDer::from(public)], key)), print })
    }

    /// What others know it by.
    pub(crate) fn print(&self) -> KeyPrint {
        self.print
    }

    /// Lets in who shows the key of a node.
    pub(crate) fn acceptor(&self, owners: Arc<dyn Owners>) -> Result<TlsAcceptor, Error> {
        let provider = Arc::new(provider::default_provider());
        let verifier = Nodes { believes: Believes::Nodes(owners), algorithms: provider.signature_verification_algorithms };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.pair))));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // A session of before would be let in without a look at its key.
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Calls the node with this key, and no other.
    pub(crate) fn connector(&self, node: KeyPrint) -> Result<TlsConnector, Error> {
        let provider = Arc::new(provider::default_provider());
        let verifier = Nodes { believes: Believes::One(node), algorithms: provider.signature_verification_algorithms };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.pair))));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// The key that the other side of a connection has shown, and proved to have.
pub(crate) fn shown(certificates: Option<&[CertificateDer<'_>]>) -> Option<KeyPrint> {
    certificates.and_then(|shown| shown.first()).map(|key| KeyPrint::of(key))
}

/// Both sides have agreed on what nodes speak.
pub(crate) fn is_of_nodes(protocol: Option<&[u8]>) -> bool {
    protocol == Some(PROTOCOL)
}

/// Whose keys are taken.
enum Believes {
    /// Those of all nodes of the picture.
    Nodes(Arc<dyn Owners>),
    One(KeyPrint),
}

/// Looks at keys instead of certificates.
struct Nodes {
    believes: Believes,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Nodes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Nodes")
    }
}

impl Nodes {
    fn check(&self, key: &CertificateDer<'_>) -> Result<(), Error> {
        let print = KeyPrint::of(key);
        let believed = match &self.believes {
            Believes::Nodes(owners) => owners.is_node(&print),
            Believes::One(node) => *node == print,
        };
        if believed { Ok(()) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
    }

    fn signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(key.as_ref()), signed, &self.algorithms)
    }
}

/// Only TLS 1.3 is spoken.
fn too_old() -> Error {
    PeerIncompatible::Tls12NotOffered.into()
}

impl ServerCertVerifier for Nodes {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(key).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Nodes {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(&self, key: &CertificateDer<'_>, _: &[CertificateDer<'_>], _: UnixTime) -> Result<ClientCertVerified, Error> {
        self.check(key).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Clients that are no nodes, each with what it lacks.
#[cfg(test)]
pub(crate) fn strangers(node: KeyPrint) -> Vec<(TlsConnector, &'static str)> {
    let config = |protocols: &[&[u8]]| {
        let provider = Arc::new(provider::default_provider());
        let verifier = Nodes { believes: Believes::One(node), algorithms: provider.signature_verification_algorithms };
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).expect("TLS 1.3");
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        (builder, protocols.iter().map(|protocol| protocol.to_vec()).collect::<Vec<_>>())
    };
    let without_key = |protocols: &[&[u8]]| {
        let (builder, protocols) = config(protocols);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = protocols;
        TlsConnector::from(Arc::new(config))
    };
    let other = NodeKey::generate().expect("a key").connector(node).expect("a connector");
    vec![
        (without_key(&[PROTOCOL]), "a key"),
        (without_key(&[b"h2"]), "the protocol"),
        (without_key(&[]), "any protocol"),
        (other, "a place in the picture"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_another_key_and_its_print_can_be_written_and_read() {
        let (one, other) = (NodeKey::generate().unwrap().print(), NodeKey::generate().unwrap().print());
        assert_ne!(one, other);
        assert_eq!(one.to_string().parse(), Ok(one));
        assert_eq!(one.to_string().len(), 64);
        for junk in [String::new(), one.to_string()[1..].to_owned(), format!("x{}", &one.to_string()[1..]), "é".repeat(32)] {
            assert_eq!(junk.parse::<KeyPrint>(), Err(NoKeyPrint), "{junk}");
        }
    }
}
