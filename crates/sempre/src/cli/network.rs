//! Addresses to listen on, and whether they are safe to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Failure;

/// Parses an address; `localhost` is the loopback.
pub(crate) fn parse_ip(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    text.trim_matches(['[', ']']).parse().map_err(|_| "it is not an IP address such as 127.0.0.1 or ::1".into())
}

/// A port that may be left shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OptionalPort {
    /// Nothing listens.
    Off,
    /// This one; 0 is a free one.
    Port(u16),
}

impl OptionalPort {
    /// The port that is to listen.
    pub(crate) fn port(self) -> Option<u16> {
        match self {
            Self::Off => None,
            Self::Port(port) => Some(port),
        }
    }
}

/// Parses a port or `off`.
pub(crate) fn parse_port(text: &str) -> Result<OptionalPort, String> {
    match text {
        "off" => Ok(OptionalPort::Off),
        text => text.parse().map(OptionalPort::Port).map_err(|_| "it is neither a port nor `off`".into()),
    }
}

/// Refuses addresses that others can reach, where what is said there could be read on the way.
pub(crate) fn refuse_open(address: SocketAddr, secure: bool, insecure: bool) -> Result<(), Failure> {
    if secure || insecure || address.ip().is_loopback() {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "refusing to listen on {} without TLS, for others can reach it. Give --tls-cert-file and --tls-key-file, \
         use a loopback address, or give --insecure if the network is yours alone.",
        address.ip()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(parse_ip("localhost"), Ok(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(parse_ip("0.0.0.0"), Ok(IpAddr::from([0, 0, 0, 0])));
        assert_eq!(parse_ip("[::1]"), parse_ip("::1"));
        assert!(parse_ip("example.org").is_err());
    }

    #[test]
    fn ports() {
        assert_eq!(parse_port("off").map(OptionalPort::port), Ok(None));
        assert_eq!(parse_port("0").map(OptionalPort::port), Ok(Some(0)));
        assert!(parse_port("70000").is_err() && parse_port("on").is_err());
    }

    #[test]
    fn only_loopback_is_safe() {
        let open = |ip: &str, insecure| refuse_open((parse_ip(ip).expect("an address"), 7233).into(), false, insecure).is_ok();
        assert!(open("127.0.0.1", false) && open("127.9.9.9", false) && open("::1", false));
        assert!(!open("0.0.0.0", false) && !open("192.168.1.1", false) && !open("::", false));
        assert!(open("0.0.0.0", true));
        assert!(refuse_open(([0, 0, 0, 0], 7233).into(), true, false).is_ok());
    }
}
