//! Which requests a browser may have been tricked into.
//!
//! The API asks for no password where only this machine can reach it. A page of the web that is open in a browser here can
//! reach it too: by posting to it (then `Origin` is not the host), or under a name of its own that it lets point here (then
//! the host is no address and not `localhost`). Both are refused. Programs are no browsers and notice nothing.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Uri, header};

/// Who may be asked for.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// Only this machine can reach the server.
    loopback: bool,
    /// Names that may be asked for as well.
    allowed: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(address: SocketAddr, allowed: Vec<String>) -> Self {
        Self { loopback: address.ip().is_loopback(), allowed }
    }

    /// Judged by the address at which a connection arrived: a server that listens at every address is reached at loopback by
    /// this machine alone, by others at the other ones.
    pub(crate) fn at(&self, address: SocketAddr) -> Self {
        Self { loopback: self.loopback || address.ip().to_canonical().is_loopback(), allowed: self.allowed.clone() }
    }

    /// Why a request is refused. The list of names is for the API: what only programs ask for (`of_programs`: Nexus, metrics)
    /// is asked for by other names and addresses as well, such as the one that callbacks are given.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap, of_programs: bool) -> Result<(), &'static str> {
        let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        let host = uri.authority().map(http::uri::Authority::as_str).or_else(|| text(header::HOST)).unwrap_or_default();
        if !self.is_allowed(host, of_programs) {
            return Err("Host not allowed");
        }
        match text(header::ORIGIN) {
            Some(origin) if origin.split_once("://").map(|(_, origin)| origin) != Some(host) => Err("Origin not allowed"),
            _ => Ok(()),
        }
    }

    fn is_allowed(&self, host: &str, of_programs: bool) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        if !self.allowed.is_empty() {
            let named = self.allowed.iter().any(|pattern| fits(pattern, host) || fits(pattern, name));
            if named || !of_programs {
                return named;
            }
        }
        let plain = name.trim_start_matches('[').trim_end_matches(']');
        let is_local = plain.eq_ignore_ascii_case("localhost") || plain.to_ascii_lowercase().ends_with(".localhost");
        // A request of HTTP/1.0 names no host; browsers send none.
        !self.loopback || name.is_empty() || is_local || plain.parse::<IpAddr>().is_ok()
    }
}

/// `*` in a pattern stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern.eq_ignore_ascii_case(text),
        Some((start, rest)) => {
            let Some((begin, mut text)) = text.split_at_checked(start.len()) else { return false };
            begin.eq_ignore_ascii_case(start)
                && loop {
                    if fits(rest, text) {
                        break true;
                    }
                    let mut chars = text.chars();
                    if chars.next().is_none() {
                        break false;
                    }
                    text = chars.as_str();
                }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn check(hosts: &Hosts, host: &'static str, origin: Option<&'static str>) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        hosts.check(&Uri::from_static("/"), &headers, false)
    }

    #[test]
    fn what_only_this_machine_reaches_is_asked_for_by_address() {
        let hosts = Hosts::new(([127, 0, 0, 1], 7243).into(), vec![]);
        for host in ["127.0.0.1:7243", "localhost", "LOCALHOST:1", "ui.localhost:7243", "[::1]:7243", "10.0.0.1"] {
            assert_eq!(check(&hosts, host, None), Ok(()), "{host}");
        }
        for host in ["evil.example", "evil.example:7243", "localhost.evil.example", "127.0.0.1.evil.example"] {
            assert_eq!(check(&hosts, host, None), Err("Host not allowed"), "{host}");
        }
        let open = Hosts::new(([0, 0, 0, 0], 7243).into(), vec![]);
        assert_eq!(check(&open, "sempre.example:7243", None), Ok(()));
        let named = Hosts::new(([127, 0, 0, 1], 7243).into(), vec!["*.example".into(), "a*z:1".into()]);
        assert_eq!(check(&named, "x.example:5", None), Ok(()));
        assert_eq!(check(&named, "abcz:1", None), Ok(()));
        assert_eq!(check(&named, "localhost", None), Err("Host not allowed"));
    }

    #[test]
    fn a_server_that_listens_everywhere_is_judged_by_where_it_was_reached() {
        let everywhere = Hosts::new(([0, 0, 0, 0], 7243).into(), vec![]);
        for local in ["127.0.0.1:7243", "[::1]:7243", "[::ffff:127.0.0.1]:7243"] {
            let near = everywhere.at(local.parse().unwrap());
            assert_eq!(check(&near, "evil.example:7243", None), Err("Host not allowed"), "{local}");
            assert_eq!(check(&near, "localhost:7243", None), Ok(()), "{local}");
        }
        let far = everywhere.at(([10, 0, 0, 7], 7243).into());
        assert_eq!(check(&far, "sempre.example:7243", None), Ok(()));
        let named = Hosts::new(([0, 0, 0, 0], 7243).into(), vec!["sempre.example".into()]).at(([127, 0, 0, 1], 7243).into());
        assert_eq!(check(&named, "sempre.example", None), Ok(()), "what a proxy on this machine asks for can be named");
    }

    #[test]
    fn a_list_of_names_does_not_shut_programs_out() {
        let check = |hosts: &Hosts, host: &'static str, origin: Option<&'static str>| {
            let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            hosts.check(&Uri::from_static("/"), &headers, true)
        };
        let near = Hosts::new(([127, 0, 0, 1], 7243).into(), vec!["sempre.example".into()]);
        for host in ["sempre.example", "127.0.0.1:7243", "localhost:7243", "10.0.0.1"] {
            assert_eq!(check(&near, host, None), Ok(()), "{host}");
        }
        assert_eq!(check(&near, "evil.example", None), Err("Host not allowed"));
        assert_eq!(check(&near, "127.0.0.1:7243", Some("http://evil.example")), Err("Origin not allowed"));
        let open = Hosts::new(([0, 0, 0, 0], 7243).into(), vec!["sempre.example".into()]);
        assert_eq!(check(&open, "other.example", None), Ok(()));
    }

    #[test]
    fn pages_of_other_hosts_are_refused() {
        let hosts = Hosts::new(([127, 0, 0, 1], 7243).into(), vec![]);
        assert_eq!(check(&hosts, "127.0.0.1:7243", Some("http://127.0.0.1:7243")), Ok(()));
        for origin in ["http://evil.example", "http://127.0.0.1:8000", "null"] {
            assert_eq!(check(&hosts, "127.0.0.1:7243", Some(origin)), Err("Origin not allowed"), "{origin}");
        }
    }
}
