//! TLS of the ports: certificates out of files, read again while the server runs.
//!
//! | the files | then |
//! |---|---|
//! | are as they were | nothing happens |
//! | are others, and good | connections that come from now on get them; open ones keep what they have |
//! | are others, and not good | the old ones stay, and the log says why |
//!
//! A session of before a change is not resumed after it: who was let in by an authority that has gone must come anew.
#![expect(clippy::disallowed_methods, reason = "a client has so long to come to terms, by the wall clock")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring as provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};

use super::{Answers, peer::Names};
use crate::reload::{Print, Reloaded, print_of};

/// How long a client may take until both have come to terms.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Where the certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The server's certificate and those between it and its authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Whose certificates clients must show.
    pub clients: Option<ClientCertificates>,
}

impl TlsSettings {
    /// Reads the files and tells what is wrong with them.
    pub fn check(&self) -> Result<(), TlsError> {
        Files::read(self)?.config(self).map(drop)
    }
}

/// What is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Certificates of the authorities that vouch for clients, PEM.
    pub authorities: PathBuf,
    /// Clients without a certificate may come as well; one that is shown must be good all the same.
    pub optional: bool,
}

/// Certificates that cannot be used. The text is for an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// See the module.
pub(crate) struct Tls {
    settings: TlsSettings,
    current: RwLock<Arc<ServerConfig>>,
    /// Of the files that were looked at last.
    seen: Mutex<Print>,
}

/// What the files hold.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files.
    pub(crate) fn load(settings: TlsSettings) -> Result<Self, TlsError> {
        let files = Files::read(&settings)?;
        let current = RwLock::new(Arc::new(files.config(&settings)?));
        Ok(Self { settings, current, seen: Mutex::new(files.print()) })
    }

    /// Reads the files again. A bad file is told once, not each time it is looked at, unless somebody has `asked`.
    pub(crate) fn reload(&self, asked: bool) -> Reloaded<TlsError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::read(&self.settings);
        let print = match &files {
            Ok(files) => files.print(),
            Err(error) => print_of([error.0.as_bytes()]),
        };
        if std::mem::replace(&mut *seen, print) == print && !asked {
            return Reloaded::Unchanged;
        }
        match files.and_then(|files| files.config(&self.settings)) {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                Reloaded::Changed
            }
            Err(error) => Reloaded::Refused(error),
        }
    }

    /// Comes to terms with a client; gives the names in its certificate, if it has shown one.
    pub(crate) async fn accept(&self, stream: TcpStream, answers: Answers) -> Result<(TlsStream<TcpStream>, Option<Names>), String> {
        let mut config = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Sessions are kept beside the configuration and stay shared.
        Arc::make_mut(&mut config).alpn_protocols = vec![answers.protocol().to_vec()];
        let accepted = timeout(HANDSHAKE_MAX, TlsAcceptor::from(config).accept(stream)).await;
        let stream = accepted.map_err(|_| "the client took too long".to_owned())?.map_err(|error| error.to_string())?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        match shown.map(|certificate| Names::of(certificate)) {
            None => Ok((stream, None)),
            Some(Some(names)) => Ok((stream, Some(names))),
            Some(None) => Err("the client's certificate cannot be read".into()),
        }
    }
}

impl Files {
    fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let read = |path: &Path| fs::read(path).map_err(|error| TlsError(format!("cannot read {}: {error}", path.display())));
        let authorities = settings.clients.as_ref().map(|clients| read(&clients.authorities)).transpose()?;
        Ok(Self { certificate: read(&settings.certificate)?, key: read(&settings.key)?, authorities })
    }

    fn print(&self) -> Print {
        print_of([&self.certificate[..], &self.key, self.authorities.as_deref().unwrap_or_default()])
    }

    fn config(&self, settings: &TlsSettings) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(provider::default_provider());
        let certificates = certificates(&settings.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| TlsError(format!("{} holds no private key in PEM", settings.key.display())))?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(format!("TLS cannot be used: {error}")))?;
        let builder = match (&settings.clients, &self.authorities) {
            (Some(clients), Some(pem)) => {
                let wrong = |error: &dyn std::fmt::Display| {
                    TlsError(format!("the authorities in {} cannot be used: {error}", clients.authorities.display()))
                };
                let mut roots = RootCertStore::empty();
                for certificate in self::certificates(&clients.authorities, pem)? {
                    roots.add(certificate).map_err(|error| wrong(&error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if clients.optional { verifier.allow_unauthenticated() } else { verifier };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| wrong(&error))?)
            }
            _ => builder.with_no_client_auth(),
        };
        builder.with_single_cert(certificates, key).map_err(|error| {
            let (certificate, key) = (settings.certificate.display(), settings.key.display());
            TlsError(format!("the certificate in {certificate} and the key in {key} cannot be used together: {error}"))
        })
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| TlsError(format!("{} holds no certificate in PEM", path.display())))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("sempre-tls-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn settings(&self) -> TlsSettings {
            TlsSettings { certificate: self.0.join("cert.pem"), key: self.0.join("key.pem"), clients: None }
        }

        fn write_pair(&self) {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
            fs::write(self.0.join("cert.pem"), certificate.pem()).unwrap();
            fs::write(self.0.join("key.pem"), key.serialize_pem()).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_by_its_file() {
        let folder = Folder::new("bad");
        let told = || Tls::load(folder.settings()).map(drop).unwrap_err().to_string();
        assert!(told().contains("cannot read") && told().contains("cert.pem"), "{}", told());
        folder.write_pair();
        assert!(Tls::load(folder.settings()).is_ok());
        let key = fs::read(folder.0.join("key.pem")).unwrap();
        fs::write(folder.0.join("key.pem"), "nonsense").unwrap();
        assert!(told().ends_with("key.pem holds no private key in PEM"), "{}", told());
        folder.write_pair();
        fs::write(folder.0.join("key.pem"), key).unwrap();
        assert!(told().contains("cannot be used together"), "{}", told());
        folder.write_pair();
        let mut settings = folder.settings();
        settings.clients = Some(ClientCertificates { authorities: settings.key.clone(), optional: false });
        let told = Tls::load(settings).map(drop).unwrap_err().to_string();
        assert!(told.ends_with("key.pem holds no certificate in PEM"), "{told}");
    }

    #[test]
    fn new_files_come_into_force_and_bad_ones_do_not() {
        let folder = Folder::new("reload");
        folder.write_pair();
        let tls = Tls::load(folder.settings()).unwrap();
        let current = || tls.current.read().unwrap().clone();
        let first = current();
        assert_eq!(tls.reload(false), Reloaded::Unchanged);
        assert!(Arc::ptr_eq(&first, &current()));
        fs::write(folder.0.join("cert.pem"), "half a fi").unwrap();
        assert!(matches!(tls.reload(false), Reloaded::Refused(why) if why.0.ends_with("cert.pem holds no certificate in PEM")));
        // Told once, and to whoever asks; the old one stays.
        assert_eq!(tls.reload(false), Reloaded::Unchanged);
        assert!(matches!(tls.reload(true), Reloaded::Refused(_)));
        assert!(Arc::ptr_eq(&first, &current()));
        fs::remove_file(folder.0.join("cert.pem")).unwrap();
        assert!(matches!(tls.reload(false), Reloaded::Refused(_)));
        assert!(Arc::ptr_eq(&first, &current()));
        folder.write_pair();
        assert_eq!(tls.reload(false), Reloaded::Changed);
        assert!(!Arc::ptr_eq(&first, &current()));
    }
}
