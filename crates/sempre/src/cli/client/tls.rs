//! TLS as the user's flags want it. Our own connector, for tonic's cannot leave out the check of the server.

use std::{fs, sync::Arc};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    },
};
use tower::util::BoxCloneSyncService;

use crate::cli::{
    Failure,
    settings::{Pem, Tls},
};

type Connection = TokioIo<TlsStream<TcpStream>>;

/// Connects to `address` under TLS.
pub(super) fn connector(tls: &Tls, address: &str) -> Result<BoxCloneSyncService<http::Uri, Connection, std::io::Error>, Failure> {
    let config = Arc::new(config(tls)?);
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name.clone()).map_err(|_| Failure::new(format_args!("{name} is no name of a server")))?;
    let address = address.to_owned();
    Ok(BoxCloneSyncService::new(tower::service_fn(move |_: http::Uri| {
        let (config, name, address) = (Arc::clone(&config), name.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(TlsConnector::from(config).connect(name, stream).await?))
        }
    })))
}

/// Why there is no connection: nobody is there, or both sides do not trust each other.
pub(super) fn failure(address: &str, error: &tonic::transport::Error) -> Failure {
    match cause(error) {
        Some(tls) => {
            Failure::new(format_args!("no TLS with {address}: {tls}; --tls-ca-path names certificates to trust, --tls=false asks for none"))
        }
        None => Failure::new(format_args!("no server answers at {address} with TLS")),
    }
}

/// What TLS says, behind what others say of it.
fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if let Some(tls) = io.and_then(|error| error.get_ref()).and_then(|inner| inner.downcast_ref::<Error>()) {
            return Some(tls);
        }
        cause = error.source();
    }
    None
}

fn config(tls: &Tls) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(ring::default_provider());
    let unusable = |error| Failure::new(format_args!("TLS cannot be used: {error}"));
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().map_err(unusable)?;
    let builder = if tls.disable_host_verification {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
    } else {
        builder.with_root_certificates(roots(tls.server_ca.as_ref())?)
    };
    let mut config = match (&tls.client_cert, &tls.client_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| Failure::new("the client's private key is not PEM"))?;
            let wrong = |error| Failure::new(format_args!("the client's certificate and key cannot be used: {error}"));
            builder.with_client_auth_cert(certificates(certificate)?, key).map_err(wrong)?
        }
        _ => return Err(Failure::new("a client certificate needs its key: give --tls-cert-path and --tls-key-path")),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The given authorities, or those that the system trusts.
fn roots(given: Option<&Pem>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let found = match given {
        Some(pem) => certificates(pem)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let (added, _) = roots.add_parsable_certificates(found);
    if added == 0 {
        return Err(Failure::new("there is no certificate to trust servers by; give --tls-ca-path"));
    }
    Ok(roots)
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bytes = read(pem)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    certificates.ok().filter(|found| !found.is_empty()).ok_or_else(|| match pem {
        Pem::File(path) => Failure::new(format_args!("{} holds no certificate in PEM", path.display())),
        Pem::Text(_) => Failure::new("the certificate given as text is not PEM"),
    })
}

fn read(pem: &Pem) -> Result<Vec<u8>, Failure> {
    match pem {
        Pem::File(path) => fs::read(path).map_err(|error| Failure::new(format_args!("cannot read {}: {error}", path.display()))),
        Pem::Text(text) => Ok(text.clone().into_bytes()),
    }
}

/// Takes any server for the right one, as the user asked; signatures are still checked.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
