//! TLS and authentication of a server that is started: flags, and reading its files again at a signal.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sempre_server::{AuditTo, AuthSettings, ClientCertificates, Server, ServerSettings, TlsSettings};

use super::Failure;

/// How connections are secured.
#[derive(Args, Clone)]
#[command(next_help_heading = "Security")]
pub(crate) struct SecurityOptions {
    /// File with the server's certificate and those between it and its authority, PEM; all ports speak TLS then. Read
    /// again when it changes, and at SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key_file")]
    tls_cert_file: Option<PathBuf>,
    /// File with the certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    tls_key_file: Option<PathBuf>,
    /// File with certificates of the authorities whose clients are let in, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    tls_client_ca_file: Option<PathBuf>,
    /// Whether clients must show a certificate; one that is shown must be good in any case
    #[arg(long, value_enum, value_name = "WHETHER", default_value_t = ClientAuth::Required, requires = "tls_client_ca_file")]
    tls_client_auth: ClientAuth,
    /// File of a key whose holder may do everything; made with a new key if it is not there. From then on every caller is
    /// asked who he is
    #[arg(long, value_name = "FILE")]
    admin_key_file: Option<PathBuf>,
    /// File with rules for JWTs and certificates of clients (docs/security.md), TOML. From then on every caller is asked who
    /// he is. Read again when it changes, and at SIGHUP
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    /// File to whose end it is written who did what, a line of JSON each; `-` is standard output. Opened anew at SIGHUP
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ClientAuth {
    Required,
    Optional,
}

impl SecurityOptions {
    /// True if connections are under TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.tls_cert_file.is_some()
    }

    /// Writes what was given into the settings. What cannot be used is told before the data are touched.
    pub(crate) fn apply(self, settings: &mut ServerSettings) -> Result<(), Failure> {
        settings.audit = self.audit_log.map(|path| if path.as_os_str() == "-" { AuditTo::Stdout } else { AuditTo::File(path) });
        let optional = self.tls_client_auth == ClientAuth::Optional;
        let clients = self.tls_client_ca_file.map(|authorities| ClientCertificates { authorities, optional });
        if let (Some(certificate), Some(key)) = (self.tls_cert_file, self.tls_key_file) {
            let tls = TlsSettings { certificate, key, clients };
            tls.check().map_err(|error| Failure::new(format_args!("no TLS: {error}")))?;
            settings.tls = Some(tls);
        }
        if self.admin_key_file.is_some() || self.auth_file.is_some() {
            let auth = AuthSettings { admin_key_file: self.admin_key_file, rules_file: self.auth_file };
            auth.check().map_err(|error| Failure::new(format_args!("no authentication: {error}")))?;
            settings.auth = Some(auth);
        }
        Ok(())
    }
}

/// From now on SIGHUP makes the server read its files again, if it has any. It ends the process otherwise, as when a
/// terminal is closed.
#[cfg(unix)]
pub(crate) fn reload_at_signal(server: &Server) -> std::io::Result<impl Future<Output = ()> + use<>> {
    use tokio::signal::unix::{SignalKind, signal};
    let told = server.reloader().map(|reloader| Ok::<_, std::io::Error>((reloader, signal(SignalKind::hangup())?))).transpose()?;
    Ok(async move {
        let Some((reloader, mut hangup)) = told else { return std::future::pending().await };
        while hangup.recv().await.is_some() {
            reloader.reload();
        }
    })
}

/// There is no such signal: files are read again when they change.
#[cfg(not(unix))]
pub(crate) fn reload_at_signal(_: &Server) -> std::io::Result<impl Future<Output = ()> + use<>> {
    Ok(std::future::pending())
}
