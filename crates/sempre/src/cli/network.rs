//! Addresses to listen on, and whether they are safe to.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use clap::Args;
use sempre_server::UiSettings;

use super::Failure;

/// How far the port of the web UI is above that for gRPC, unless it is given.
const UI_ABOVE: u16 = 1000;

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

/// The web UI: where it is served, and how.
#[derive(Args)]
pub(crate) struct UiOptions {
    /// Port of the web UI; 1000 above the port for gRPC if it is not given, 0 takes a free one, `off` none
    #[arg(long, value_name = "PORT", value_parser = parse_port)]
    pub(crate) ui_port: Option<OptionalPort>,
    /// Path in front of every path of the web UI, for proxies that serve other things as well
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    pub(crate) ui_public_path: String,
    /// Codec server that browsers have payloads decoded by; viewers may name another one
    #[arg(long, value_name = "URL")]
    pub(crate) ui_codec_endpoint: Option<String>,
    /// Folder with files of the web UI that are served instead of those in the binary
    #[arg(long, value_name = "FOLDER")]
    pub(crate) ui_asset_path: Option<PathBuf>,
}

impl UiOptions {
    /// The server's settings. `ip` is where it listens, `grpc` the port of gRPC.
    pub(crate) fn settings(self, ip: IpAddr, grpc: u16) -> Option<UiSettings> {
        // It stays the same when the server starts again: links to pages are kept.
        let usual = || OptionalPort::Port(if grpc == 0 { 0 } else { grpc.checked_add(UI_ABOVE).unwrap_or(0) });
        let port = self.ui_port.unwrap_or_else(usual).port()?;
        Some(UiSettings {
            address: (ip, port).into(),
            public_path: self.ui_public_path,
            codec_endpoint: self.ui_codec_endpoint,
            asset_path: self.ui_asset_path,
        })
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
    fn the_port_of_the_ui_follows_that_for_grpc() {
        let port = |ui_port, grpc| {
            let options = UiOptions { ui_port, ui_public_path: String::new(), ui_codec_endpoint: None, ui_asset_path: None };
            options.settings(IpAddr::from([127, 0, 0, 1]), grpc).map(|ui| ui.address.port())
        };
        let given = |port| Some(OptionalPort::Port(port));
        assert_eq!([port(None, 7233), port(None, 0), port(None, 65_000), port(given(3), 7233)], [Some(8233), Some(0), Some(0), Some(3)]);
        assert_eq!(port(Some(OptionalPort::Off), 7233), None);
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
