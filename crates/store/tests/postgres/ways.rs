//! Ways to the database: TLS, and a pooler that gives every transaction another connection.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use sempre_postgres_cluster::Cluster;

use crate::{
    ledger::{Ledger, load},
    support::postgres::{cluster, open_at},
};

#[test]
fn tls_makes_sure_who_answers() {
    let Some(cluster) = Cluster::start() else { return };
    let cluster = cluster.unwrap();
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let pem = cluster.write("server.pem", &certificate.cert.pem()).unwrap();
    let key = cluster.write("server.key", &certificate.signing_key.serialize_pem()).unwrap();
    cluster
        .sql(&format!(
            "ALTER SYSTEM SET ssl_cert_file = '{}'; ALTER SYSTEM SET ssl_key_file = '{}'; ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf()",
            pem.display(),
            key.display()
        ))
        .unwrap();
    let folder = crate::support::TestFolder::new();
    let (ours, other) = (folder.path().join("ours.pem"), folder.path().join("other.pem"));
    std::fs::write(&ours, certificate.cert.pem()).unwrap();
    std::fs::write(&other, rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap().cert.pem()).unwrap();
    let address = |host: &str, roots: &std::path::Path| {
        let plain = cluster.address_at(cluster.port(), "tls").replace("127.0.0.1", host);
        format!("{plain}&sslmode=verify-full&sslrootcert={}", roots.display())
    };
    // Until the server has read its settings again.
    let mut opened = open_at(&address("localhost", &ours));
    for _ in 0..50 {
        if opened.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        opened = open_at(&address("localhost", &ours));
    }
    let store = opened.unwrap();
    let mut ledger = Ledger::open(&store, 1);
    ledger.commit(&store).unwrap();
    ledger.check(&store);
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.application_name = 'sempre'";
    assert_eq!(cluster.sql(encrypted).unwrap(), "t");
    let text = open_at(&address("localhost", &other)).unwrap_err().to_string();
    assert!(text.contains("invalid peer certificate"), "{text}");
    let text = open_at(&address("127.0.0.1", &ours)).unwrap_err().to_string();
    assert!(text.contains("invalid peer certificate"), "another name: {text}");
}

/// Ends when the test does.
struct Bouncer(Child);

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// PgBouncer with fewer connections than the store has, each transaction on another.
#[test]
fn a_pooler_of_transactions_may_stand_between() {
    let Some(cluster) = cluster() else { return };
    let Some(program) = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|path| std::path::Path::new(path).exists()) else {
        eprintln!("skipped: PgBouncer is not installed (Debian: apt-get install pgbouncer)");
        return;
    };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let users = cluster.write("users.txt", "\"plain\" \"\"\n").unwrap();
    let settings = format!(
        "[databases]\nwork = host=127.0.0.1 port={} dbname=work user=plain\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = 3\nserver_round_robin = 1\n",
        cluster.port(),
        users.display()
    );
    let settings = cluster.write("pgbouncer.ini", &settings).unwrap();
    let started = cluster.command(program).arg(settings).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _bouncer = Bouncer(started);
    let mut opened = open_at(&cluster.address_at(port, "pooled"));
    for _ in 0..50 {
        if opened.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        opened = open_at(&cluster.address_at(port, "pooled"));
    }
    let store = opened.unwrap();
    let count = load(&store, 6, Duration::from_secs(2), || {});
    println!("{count} batches acknowledged");
}
