//! The client under TLS: a proxy of the test's own takes TLS off in front of a server.
#![expect(clippy::disallowed_methods, reason = "the proxy ends with the test's runtime")]

use std::{net::SocketAddr, path::PathBuf, process::Output, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
    },
};

use super::{Server, isolate};
use crate::{
    certificates::Authority,
    support::{Scratch, command},
};

/// Takes TLS off in front of `server`; with `clients`, only for those that it vouches for.
async fn proxy(server: &Server, authority: &Authority, name: &str, clients: Option<&Authority>) -> SocketAddr {
    let (certificate, key) = authority.vouch(name);
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).expect("PEM")).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("roots");
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(vec![certificate], key).expect("they fit");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let behind = server.0.address.clone();
    tokio::task::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::task::spawn(async move {
                // Who does not trust or is not trusted is gone.
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let mut plain = TcpStream::connect(behind).await.expect("the server is there");
                let _ = copy_bidirectional(&mut client, &mut plain).await;
            });
        }
    });
    address
}

/// Runs beside the proxy.
async fn run(line: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = command(line);
    isolate(&mut command);
    command.envs(variables.iter().copied());
    tokio::task::spawn_blocking(move || command.output().expect("the binary runs")).await.expect("no panic")
}

async fn good(line: &[&str], variables: &[(&str, &str)]) {
    let output = run(line, variables).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "SERVING\n", "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn bad(line: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(line, variables).await;
    let told = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code() == Some(1) && !told.contains("panicked"), "{line:?}: {told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    told
}

fn write(scratch: &Scratch, name: &str, text: &str) -> PathBuf {
    let path = scratch.path(name);
    std::fs::write(&path, text).expect("writable");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_believed_when_somebody_trusted_vouches_for_its_name() {
    let (server, authority, scratch) = (Server::start(), Authority::new(), Scratch::new());
    let ca = write(&scratch, "ca.pem", &authority.pem());
    let ca = ca.to_str().expect("text");
    let address = proxy(&server, &authority, "127.0.0.1", None).await.to_string();
    let health = |more: &[&'static str]| [&["operator", "cluster", "health"], more].concat();
    let at = [("TEMPORAL_ADDRESS", address.as_str())];
    let with_ca = [at[0], ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", ca)];
    good(&["operator", "cluster", "health", "--address", &address, "--tls-ca-path", ca], &[]).await;
    good(&health(&[]), &with_ca).await;
    let text = authority.pem();
    good(&health(&[]), &[at[0], ("TEMPORAL_TLS_SERVER_CA_CERT_DATA", &text)]).await;
    good(&health(&["--tls", "--tls-disable-host-verification"]), &at).await;
    good(&health(&[]), &[at[0], ("TEMPORAL_TLS", "true"), ("TEMPORAL_TLS_DISABLE_HOST_VERIFICATION", "true")]).await;
    good(&health(&["--api-key", "secret"]), &with_ca).await;

    let profile = format!("[profile.default]\naddress = \"{address}\"\n[profile.default.tls]\nserver_ca_cert_path = \"{ca}\"\n");
    let file = write(&scratch, "temporal.toml", &profile);
    good(&health(&[]), &[("TEMPORAL_CONFIG_FILE", file.to_str().expect("text"))]).await;
    // A flag wins over the profile: no TLS, where TLS is wanted.
    bad(&health(&["--tls=false"]), &[("TEMPORAL_CONFIG_FILE", file.to_str().expect("text"))]).await;

    let other = write(&scratch, "other.pem", &Authority::new().pem());
    let told = bad(&health(&[]), &[at[0], ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", other.to_str().expect("text"))]).await;
    assert!(told.starts_with(&format!("error: no TLS with {address}: invalid peer certificate: ")), "{told}");
    // It answers, but not in plain text.
    bad(&health(&[]), &at).await;
    let named = proxy(&server, &authority, "till.example", None).await.to_string();
    let named = [("TEMPORAL_ADDRESS", named.as_str()), with_ca[1]];
    let told = bad(&health(&[]), &named).await;
    assert!(told.contains("invalid peer certificate: certificate not valid for name \"127.0.0.1\""), "{told}");
    good(&health(&["--tls-server-name", "till.example"]), &named).await;
    good(&health(&[]), &[named[0], named[1], ("TEMPORAL_TLS_SERVER_NAME", "till.example")]).await;
    let told = bad(&health(&["--tls"]), &[("TEMPORAL_ADDRESS", server.0.address.as_str()), with_ca[1]]).await;
    assert!(told.starts_with(&format!("error: no TLS with {}: ", server.0.address)), "a server without TLS: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_shows_its_certificate_where_one_is_wanted() {
    let (server, authority, clients, scratch) = (Server::start(), Authority::new(), Authority::new(), Scratch::new());
    let ca = write(&scratch, "ca.pem", &authority.pem());
    let (certificate, key) = clients.vouch("worker.example");
    let (certificate_file, key_file) = (write(&scratch, "client.pem", &certificate), write(&scratch, "client.key", &key));
    let address = proxy(&server, &authority, "127.0.0.1", Some(&clients)).await.to_string();
    let base = [("TEMPORAL_ADDRESS", address.as_str()), ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", ca.to_str().expect("text"))];
    let health = ["operator", "cluster", "health"];
    let files = ["--tls-cert-path", certificate_file.to_str().expect("text"), "--tls-key-path", key_file.to_str().expect("text")];
    good(&[&health[..], &files].concat(), &base).await;
    let data = [base[0], base[1], ("TEMPORAL_TLS_CLIENT_CERT_DATA", &certificate), ("TEMPORAL_TLS_CLIENT_KEY_DATA", &key)];
    good(&health, &data).await;

    let told = bad(&health, &base).await;
    assert!(told.starts_with("error: the connection to the server broke: "), "{told}");
    assert!(told.ends_with("; it may want a client certificate: --tls-cert-path and --tls-key-path.\n"), "{told}");
    let (stranger, key) = Authority::new().vouch("worker.example");
    let data = [base[0], base[1], ("TEMPORAL_TLS_CLIENT_CERT_DATA", &stranger), ("TEMPORAL_TLS_CLIENT_KEY_DATA", &key)];
    let told = bad(&health, &data).await;
    assert!(told.ends_with("; it may not trust the client's certificate.\n"), "{told}");
    let told = bad(&[&health[..], &files[..2]].concat(), &base).await;
    assert_eq!(told, "error: a client certificate needs its key: give --tls-cert-path and --tls-key-path.\n");
    let told =
        bad(&[&health[..], &["--tls-cert-path", ca.to_str().expect("text"), "--tls-key-path", "/nonexistent"]].concat(), &base).await;
    assert!(told.starts_with("error: cannot read /nonexistent: "), "{told}");
}
