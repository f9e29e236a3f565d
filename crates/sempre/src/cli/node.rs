//! Being one of several servers over one database: where the others reach this one.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use clap::Args;
use sempre_server::NodeSettings;
use sempre_store::postgres::PostgresOptions;

use super::{Failure, network};

#[derive(Args, Clone)]
#[command(next_help_heading = "Several servers over one database (experimental, see docs/cluster.md for what does not work yet)")]
pub(crate) struct NodeFlags {
    /// Be one of several servers that share the database of --store: a name or address of this machine by which the others reach it, and
    /// a port for them alone, where 0 takes a free one. Each server has a key of its own, which the others find in the database
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    node_address: Option<NodeAddress>,
    /// What this server is called among them, its address if it is not given
    #[arg(long, value_name = "NAME", requires = "node_address")]
    node_name: Option<String>,
    /// Address to listen on for them, where it is not that of --node-address, as in a container
    #[arg(long, value_name = "ADDRESS", requires = "node_address", value_parser = network::parse_ip)]
    node_ip: Option<IpAddr>,
}

/// Where the others reach this one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NodeAddress {
    /// A name, or an address, in brackets if it is one of IPv6.
    host: String,
    port: u16,
}

impl NodeFlags {
    /// This server is to be one of several.
    pub(crate) fn is_given(&self) -> bool {
        self.node_address.is_some()
    }

    /// What the server is told. `None`: it has its data alone.
    pub(crate) fn settings(self, store: PostgresOptions) -> Result<Option<NodeSettings>, Failure> {
        let Some(NodeAddress { host, port }) = self.node_address else { return Ok(None) };
        let listen = match self.node_ip {
            Some(ip) => (ip, port).into(),
            None => found(&host, port)?,
        };
        Ok(Some(NodeSettings { store, name: self.node_name, host, listen }))
    }
}

fn parse_address(text: &str) -> Result<NodeAddress, String> {
    let (host, port) = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).ok_or("it must look like HOST:PORT")?;
    let port = port.parse().map_err(|_| format!("`{port}` is no port"))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare.unwrap_or(host).parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
            Err(format!("others cannot reach {ip}: give the address that this machine has for them"))
        }
        Ok(IpAddr::V6(ip)) if bare.is_none() => Err(format!("write [{ip}]:{port}")),
        Err(_) if bare.is_some() || host.contains(':') || host.contains('/') => Err(format!("`{host}` is neither a name nor an address")),
        Ok(_) | Err(_) => Ok(NodeAddress { host: host.to_owned(), port }),
    }
}

/// Where to listen: at the address that the host has.
fn found(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let named = host.parse::<IpAddr>().is_err() && !host.starts_with('[') && !host.eq_ignore_ascii_case("localhost");
    let mut addresses = format!("{host}:{port}").to_socket_addrs().map_err(|error| {
        Failure::new(format_args!("cannot find the address of {host}: {error}. Give another name with --node-address, or its address."))
    })?;
    match addresses.next() {
        Some(address) if named && address.ip().is_loopback() => Err(Failure::new(format_args!(
            "{host} is {} on this machine, where others cannot reach it. Give the address that they reach with --node-address or --node-ip.",
            address.ip()
        ))),
        Some(address) => Ok(address),
        None => Err(Failure::new(format_args!("{host} has no address. Give another name with --node-address."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_others_can_reach() {
        let address = |host: &str, port| Ok(NodeAddress { host: host.into(), port });
        assert_eq!(parse_address("db-1.example:7400"), address("db-1.example", 7400));
        assert_eq!(parse_address("10.0.0.1:0"), address("10.0.0.1", 0));
        assert_eq!(parse_address("[fe80::1]:7400"), address("[fe80::1]", 7400));
        for text in ["0.0.0.0:7400", "[::]:7400", "224.0.0.1:7400"] {
            assert!(parse_address(text).is_err_and(|told| told.starts_with("others cannot reach ")), "{text}");
        }
        assert_eq!(parse_address("fe80::1:7400"), Err("write [fe80::1]:7400".into()));
        for text in ["", "host", ":7400", "host:", "host:70000", "[host]:1", "http://host:1"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn it_listens_at_the_address_that_the_host_has() {
        let at = |host, port| found(host, port).map_err(|failure| failure.to_string());
        assert_eq!(at("127.0.0.1", 0), Ok(SocketAddr::from(([127, 0, 0, 1], 0))));
        assert_eq!(at("[::1]", 9).map(|address| address.to_string()).as_deref(), Ok("[::1]:9"));
        assert!(found("no-such-host.invalid", 1).is_err_and(|failure| failure.to_string().contains("no-such-host.invalid")));
    }
}
