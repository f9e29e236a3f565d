//! The address of the data: which database, which schema in it, and how it is reached.

use std::{fmt, path::Path, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, LoadBalanceHosts, SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    limits::{CONNECT_MAX, KEEPALIVE},
    tls,
};
use crate::StoreError;

/// The schema unless another is named.
const SCHEMA: &str = "sempre";
/// Connections for commits unless another number is given.
const CONNECTIONS: usize = 8;
/// How long a server that does not show up any more keeps the data to itself.
const LEASE: Duration = Duration::from_secs(5);
/// The same of one of several nodes: another has its shards, and serves them, 5 s after its end.
const LEASE_OF_NODE: Duration = Duration::from_secs(3);
/// Bounds of that, in milliseconds.
const LEASE_MS: std::ops::RangeInclusive<u64> = 100..=600_000;
/// The longest name in PostgreSQL.
const NAME_MAX: usize = 63;

/// Where the data is and how it is reached; made of an address (`postgres://user@host:port/database?key=value&…`).
///
/// | key | meaning | unless given |
/// |---|---|---|
/// | `schema` | the schema that holds everything; lower-case letters, digits, `_` | `sempre` |
/// | `connections` | connections for commits; reads take two more | 8 |
/// | `sslmode` | `disable` or `verify-full` | `disable` to this machine, else `verify-full` |
/// | `sslrootcert` | PEM file of the authorities that may vouch for the server | those of the system |
/// | `password_file` | file whose first line is the password | |
/// | `lease_ms` | how long a server that has died keeps others out | 5000 |
///
/// Others are those of the client library: `application_name`, `connect_timeout`, `target_session_attrs`, …; several hosts
/// may be given. `Debug` and [`PostgresOptions::place`] never show the password.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    pub(super) schema: String,
    pub(super) connections: usize,
    lease: Option<Duration>,
    place: String,
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PostgresOptions").field("place", &self.place).finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// Reads an address. `password` is taken unless the address names one.
    pub fn parse(address: &str, password: Option<&str>) -> Result<Self, StoreError> {
        let wrong = |what: String| StoreError::Options { what };
        if !address.starts_with("postgres://") && !address.starts_with("postgresql://") {
            return Err(wrong("the address of a database begins with postgres://".into()));
        }
        let (base, query) = address.split_once('?').unwrap_or((address, ""));
        if !is_clear(base, query) {
            return Err(wrong(AMBIGUOUS.into()));
        }
        let mut ours = Ours::default();
        let mut theirs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            // What is not understood may be a part of a password, and is not shown.
            let (key, value) =
                pair.split_once('=').ok_or_else(|| wrong(format!("what follows ? in the address is not key=value. {AMBIGUOUS}")))?;
            if !ours.take(key, &decode(key, value)?)? {
                theirs.push(pair);
            }
        }
        let mut config: Config = [base, &theirs.join("&")].join("?").parse().map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            wrong(format!("the address of the database is not understood: {why}"))
        })?;
        if config.get_hosts().is_empty() {
            config.host("localhost");
        }
        if config.get_password().is_none()
            && let Some(password) = ours.password.as_deref().or(password)
        {
            config.password(password);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_MAX);
        }
        if config.get_application_name().is_none() {
            config.application_name("sempre");
        }
        config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(3).tcp_user_timeout(KEEPALIVE * 3);
        // After a failover the old primary may be a standby.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let tls = ours.tls(&mut config)?;
        let schema = ours.schema.unwrap_or_else(|| SCHEMA.into());
        let place = place(&config, &schema);
        Ok(Self { config, tls, schema, connections: ours.connections.unwrap_or(CONNECTIONS), lease: ours.lease, place })
    }

    /// Whether a password is within an address, for everybody to see who sees the address.
    #[must_use]
    pub fn shows_password(address: &str) -> bool {
        let (base, query) = address.split_once('?').unwrap_or((address, ""));
        let in_base = base.split_once('@').is_some_and(|(credentials, _)| credentials.matches(':').count() > 1);
        in_base || query.split('&').any(|pair| pair.starts_with("password="))
    }

    /// How each host is asked, one after the other: the client library would wait for ever for one that takes the connection and says
    /// nothing.
    pub(super) fn each_host(&self) -> Vec<Config> {
        let whole = &self.config;
        if whole.get_hosts().len() < 2 || whole.get_load_balance_hosts() == LoadBalanceHosts::Random {
            return vec![whole.clone()];
        }
        let one = |(at, host): (usize, &Host)| {
            let mut config = Config::new();
            match host {
                #[cfg(unix)]
                Host::Unix(path) => config.host_path(path),
                Host::Tcp(name) => config.host(name),
            };
            if let Some(address) = whole.get_hostaddrs().get(at) {
                config.hostaddr(*address);
            }
            if let Some(port) = whole.get_ports().get(at).or(whole.get_ports().first()) {
                config.port(*port);
            }
            if let Some(user) = whole.get_user() {
                config.user(user);
            }
            if let Some(password) = whole.get_password() {
                config.password(password);
            }
            if let Some(name) = whole.get_dbname() {
                config.dbname(name);
            }
            if let Some(options) = whole.get_options() {
                config.options(options);
            }
            if let Some(name) = whole.get_application_name() {
                config.application_name(name);
            }
            if let Some(timeout) = whole.get_connect_timeout() {
                config.connect_timeout(*timeout);
            }
            if let Some(timeout) = whole.get_tcp_user_timeout() {
                config.tcp_user_timeout(*timeout);
            }
            if let Some(interval) = whole.get_keepalives_interval() {
                config.keepalives_interval(interval);
            }
            if let Some(retries) = whole.get_keepalives_retries() {
                config.keepalives_retries(retries);
            }
            config.ssl_mode(whole.get_ssl_mode()).ssl_negotiation(whole.get_ssl_negotiation());
            config.keepalives(whole.get_keepalives()).keepalives_idle(whole.get_keepalives_idle());
            config.target_session_attrs(whole.get_target_session_attrs()).channel_binding(whole.get_channel_binding());
            config
        };
        whole.get_hosts().iter().enumerate().map(one).collect()
    }

    /// How many of them there are.
    pub(super) fn hosts(&self) -> u32 {
        u32::try_from(self.each_host().len()).unwrap_or(u32::MAX).max(1)
    }

    /// How long a server that has the schema alone is waited for.
    pub(super) fn lease_alone(&self) -> Duration {
        self.lease.unwrap_or(LEASE)
    }

    /// How long a node is waited for.
    pub(super) fn lease_of_node(&self) -> Duration {
        self.lease.unwrap_or(LEASE_OF_NODE)
    }

    /// What people are told of it: hosts, database, schema.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// What the client library does not know.
#[derive(Default)]
struct Ours {
    schema: Option<String>,
    connections: Option<usize>,
    lease: Option<Duration>,
    verify: Option<bool>,
    roots: Option<String>,
    password: Option<String>,
}

impl Ours {
    /// False: it is not one of ours.
    fn take(&mut self, key: &str, value: &str) -> Result<bool, StoreError> {
        let wrong = |what: String| Err(StoreError::Options { what });
        match key {
            "schema" => {
                let letters = value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
                let begins = value.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
                if !letters || !begins || value.len() > NAME_MAX || value.starts_with("pg_") {
                    return wrong(format!(
                        "`{value}` cannot be the schema: give up to {NAME_MAX} lower-case letters, digits and _, not beginning with a digit or pg_"
                    ));
                }
                self.schema = Some(value.into());
            }
            "connections" => match value.parse() {
                Ok(connections @ 1..=1000) => self.connections = Some(connections),
                _ => return wrong(format!("connections is a number from 1 to 1000, not `{value}`")),
            },
            "lease_ms" => match value.parse() {
                Ok(millis) if LEASE_MS.contains(&millis) => self.lease = Some(Duration::from_millis(millis)),
                _ => return wrong(format!("lease_ms is a number from {} to {}, not `{value}`", LEASE_MS.start(), LEASE_MS.end())),
            },
            "sslmode" => match value {
                "disable" => self.verify = Some(false),
                "verify-full" => self.verify = Some(true),
                _ => {
                    return wrong(format!(
                        "sslmode={value} does not make sure who answers. Give verify-full, with sslrootcert=FILE for an authority of your own, or disable where nobody else can listen"
                    ));
                }
            },
            "sslrootcert" => self.roots = Some(value.into()),
            "password_file" => {
                let text = std::fs::read_to_string(value).map_err(|source| StoreError::Io {
                    action: "read the password in",
                    path: value.into(),
                    source,
                })?;
                self.password = Some(text.lines().next().unwrap_or_default().to_owned());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn tls(&self, config: &mut Config) -> Result<MakeRustlsConnect, StoreError> {
        // An address is what is dialled, whatever the host beside it is called.
        let here = config.get_hosts().iter().all(is_here) && config.get_hostaddrs().iter().all(|address| address.is_loopback());
        let verify = self.verify.unwrap_or(!here);
        config.ssl_mode(if verify { SslMode::Require } else { SslMode::Disable });
        tls::connector(verify, self.roots.as_deref().map(Path::new))
    }
}

/// Whether the way to a host does not leave this machine.
fn is_here(host: &Host) -> bool {
    match host {
        #[cfg(unix)]
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
    }
}

fn place(config: &Config, schema: &str) -> String {
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let port = config.get_ports().get(index).or(config.get_ports().first()).copied().unwrap_or(5432);
        match host {
            #[cfg(unix)]
            Host::Unix(path) => format!("{}:{port}", path.display()),
            Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
            Host::Tcp(name) => format!("{name}:{port}"),
        }
    });
    let hosts: Vec<_> = hosts.collect();
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("schema {schema} of postgres://{}/{database}", hosts.join(","))
}

const AMBIGUOUS: &str = "in a user or password within the address, write % as %25, / as %2F, : as %3A, ? as %3F and @ as %40, or give the password in \
    PGPASSWORD or by password_file=FILE";

/// Whether it can be told where a password in the address ends: else a part of it would be taken for a name, and shown as such.
fn is_clear(base: &str, query: &str) -> bool {
    let rest = base.split_once("://").map_or("", |(_, rest)| rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let credentials = authority.split_once('@').map_or("", |(credentials, _)| credentials);
    let is_cut_off = !authority.contains('@') && query.contains('@');
    authority.matches('@').count() <= 1 && credentials.matches(':').count() <= 1 && !path.contains('@') && !is_cut_off
}

/// `%xx` undone.
fn decode(key: &str, text: &str) -> Result<String, StoreError> {
    let wrong = || StoreError::Options { what: format!("the value of `{key}` in the address is not well encoded") };
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
        out.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    String::from_utf8(out).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(address: &str) -> String {
        PostgresOptions::parse(address, None).expect_err(address).to_string()
    }

    #[test]
    fn an_address_is_read() {
        let options =
            PostgresOptions::parse("postgres://user@db.example:6432/work?schema=my_own&connections=3&sslmode=disable", None).unwrap();
        assert_eq!((options.schema.as_str(), options.connections), ("my_own", 3));
        assert_eq!(options.place(), "schema my_own of postgres://db.example:6432/work");
        assert_eq!(options.config.get_ssl_mode(), SslMode::Disable);
        let options = PostgresOptions::parse("postgresql://user@/work?host=/run/pg&port=5433", None).unwrap();
        assert_eq!(options.place(), "schema sempre of postgres:///run/pg:5433/work");
        assert_eq!(options.config.get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn each_of_several_hosts_is_asked_in_the_same_way() {
        let rest = "sslmode=disable&application_name=name&connect_timeout=3&options=-c%20geqo%3Doff&keepalives_idle=7&hostaddr=";
        let both = format!("postgres://u:p@one:1,two:2/d?{rest}10.0.0.1,10.0.0.2");
        let each = PostgresOptions::parse(&both, None).unwrap().each_host();
        let alone = |host, address| PostgresOptions::parse(&format!("postgres://u:p@{host}/d?{rest}{address}"), None).unwrap().config;
        assert_eq!(each, [alone("one:1", "10.0.0.1"), alone("two:2", "10.0.0.2")]);
    }

    #[test]
    fn the_way_to_other_machines_is_encrypted_unless_somebody_says_otherwise() {
        for (address, mode) in [
            ("postgres://u@localhost/d", SslMode::Disable),
            ("postgres://u@127.0.0.1/d", SslMode::Disable),
            ("postgres://u@[::1]/d", SslMode::Disable),
            ("postgres://u@127.0.0.1/d?sslmode=verify-full", SslMode::Require),
            ("postgres://u@10.0.0.1/d", SslMode::Require),
            ("postgres://u@localhost,db.example/d", SslMode::Require),
            ("postgres://u@db.example/d?sslmode=disable", SslMode::Disable),
            ("postgres://u@localhost/d?hostaddr=192.0.2.1", SslMode::Require),
            ("postgres://u@localhost/d?hostaddr=127.0.0.1", SslMode::Disable),
        ] {
            assert_eq!(PostgresOptions::parse(address, None).unwrap().config.get_ssl_mode(), mode, "{address}");
        }
    }

    #[test]
    fn passwords_are_taken_and_never_shown() {
        let file = std::env::temp_dir().join(format!("sempre-password-{}", std::process::id()));
        std::fs::write(&file, "from the file\n").unwrap();
        let with_file = format!("postgres://u@localhost/d?password_file={}", file.display());
        for (address, given, expected) in [
            ("postgres://u@localhost/d", Some("secret"), "secret"),
            ("postgres://u:own@localhost/d", Some("secret"), "own"),
            (with_file.as_str(), Some("secret"), "from the file"),
        ] {
            let options = PostgresOptions::parse(address, given).unwrap();
            assert_eq!(options.config.get_password(), Some(expected.as_bytes()));
            assert!(!format!("{options:?} {}", options.place()).contains(expected));
        }
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_password_that_is_not_well_encoded_is_not_shown_either() {
        for address in [
            "postgres://u:hid?den@localhost/d",
            "postgres://u:hid?d=en@localhost/d",
            "postgres://u:hid/den@localhost/d",
            "postgres://u:123/den@localhost/d",
            "postgres://u:hid@den@localhost/d",
            "postgres://u:hid:den@localhost/d",
            "postgres://u:hidden@localhost:x/d",
            "postgres://u@localhost/d?password=hid%zzden",
            "postgres://u@localhost/d?password=hid&den",
            "postgres://u@localhost/d?password=hid&nonsense=den",
        ] {
            let text = refusal(address);
            assert!(!text.contains("hid") && !text.contains("den"), "{address}: {text}");
        }
        let encoded = PostgresOptions::parse("postgres://u:hid%2Fd%40e%3An%3F@localhost/d", None).unwrap();
        assert_eq!(encoded.config.get_password(), Some("hid/d@e:n?".as_bytes()));
        assert_eq!(encoded.place(), "schema sempre of postgres://localhost:5432/d");
        for (address, shows) in [
            ("postgres://u:p@localhost/d", true),
            ("postgres://u@localhost/d?password=p", true),
            ("postgres://u@localhost:5432/d?password_file=/p", false),
            ("postgres:///d?host=/run&user=u", false),
        ] {
            assert_eq!(PostgresOptions::shows_password(address), shows, "{address}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (address, part) in [
            ("mysql://u@localhost/d", "begins with postgres://"),
            ("postgres://u@localhost/d?schema=A", "cannot be the schema"),
            ("postgres://u@localhost/d?schema=1a", "cannot be the schema"),
            ("postgres://u@localhost/d?schema=pg_x", "cannot be the schema"),
            ("postgres://u@localhost/d?schema=", "cannot be the schema"),
            ("postgres://u@localhost/d?schema=a%22b", "cannot be the schema"),
            ("postgres://u@localhost/d?connections=0", "connections is a number"),
            ("postgres://u@localhost/d?lease_ms=5", "lease_ms is a number"),
            ("postgres://u@localhost/d?sslmode=require", "does not make sure who answers"),
            ("postgres://u@localhost/d?nonsense=1", "not understood"),
            ("postgres://u@localhost/d?schema", "not key=value"),
            ("postgres://u@localhost/d?schema=%zz", "not well encoded"),
            ("postgres://u@localhost:x/d", "not understood"),
            ("postgres://u@localhost/d?sslmode=verify-full&sslrootcert=/nowhere", "/nowhere"),
            ("postgres://u@localhost/d?password_file=/nowhere", "/nowhere"),
        ] {
            let text = refusal(address);
            assert!(text.contains(part), "{address}: {text}");
        }
    }
}
