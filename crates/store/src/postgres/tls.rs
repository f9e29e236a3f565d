//! TLS on the way to the database: whom to believe.

use std::path::Path;

use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::StoreError;

/// A connector that believes the authorities of `file`, or those of the system. Where nothing is verified nothing is read.
pub(super) fn connector(verify: bool, file: Option<&Path>) -> Result<MakeRustlsConnect, StoreError> {
    let wrong = |what: String| StoreError::Options { what };
    let mut roots = RootCertStore::empty();
    match file {
        _ if !verify => {}
        Some(path) => {
            let what = |error: &dyn std::fmt::Display| wrong(format!("sslrootcert {} cannot be used: {error}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| what(&error))? {
                roots.add(certificate.map_err(|error| what(&error))?).map_err(|error| what(&error))?;
            }
            if roots.is_empty() {
                return Err(what(&"it holds no certificate"));
            }
        }
        None => {
            // Those that cannot be read vouch for nobody.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(wrong(
                    "this system has no certificate authorities: give sslrootcert=FILE, or sslmode=disable where nobody else can listen"
                        .into(),
                ));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(format!("TLS cannot be used: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
