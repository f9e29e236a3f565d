//! What answers at the ports of HTTP/1: the API as JSON, streams, Nexus, metrics, pages.
//!
//! Without the feature `http` nothing does, and a server that is asked for such a port does not start.

#[cfg(feature = "http")]
pub(crate) use built::{Web, serve};
#[cfg(not(feature = "http"))]
pub(crate) use left_out::{Web, serve};

use crate::{ServerError, ServerSettings};

/// Every port can be had; without the feature, none.
pub(crate) fn check(settings: &ServerSettings) -> Result<(), ServerError> {
    if cfg!(feature = "http") { Ok(()) } else { refuse(settings) }
}

fn refuse(settings: &ServerSettings) -> Result<(), ServerError> {
    let asked = settings.http_address.is_some() || settings.metrics_address.is_some() || settings.ui.is_some();
    let reason = || "this program was built without it".to_owned();
    if asked { Err(ServerError::Prepare { what: "HTTP".into(), reason: reason() }) } else { Ok(()) }
}

#[cfg(feature = "http")]
mod built {
    use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc};

    use tokio::sync::watch;

    use crate::{
        ServerError, ServerSettings, Service,
        ports::{Answers, Peer, Ports, Stream},
        web::{self, WebRouter, hosts::Hosts, ui::Pages},
    };

    /// What the ports need beside the service.
    pub(crate) struct Web {
        /// Names by which the server may be asked.
        hosts: Vec<String>,
        pages: Option<Pages>,
        /// The folder of the data, if there is one.
        folder: Option<PathBuf>,
    }

    impl Web {
        /// `settings` name the address of gRPC that was taken.
        pub(crate) fn new(service: &Service, settings: &ServerSettings) -> Result<Self, ServerError> {
            let pages = settings.ui.as_ref().map(|ui| Pages::new(service, ui, for_clients(settings.address))).transpose();
            let pages = pages.map_err(|reason| ServerError::Prepare { what: "the web UI".into(), reason })?;
            Ok(Self { hosts: settings.http_hosts.clone(), pages, folder: settings.folder() })
        }

        /// What answers at each port. `grpc` is where the server listens besides; `draining` turns true when it shuts down.
        pub(crate) fn open(self, service: &Service, ports: &Ports, grpc: SocketAddr, draining: watch::Receiver<bool>) -> Routers {
            let Self { hosts, pages, folder } = self;
            let hosts = |answers| Hosts::new(ports.address(answers).unwrap_or(grpc), hosts.clone());
            let (router, engine) = (service.router().clone(), service.engine().clone());
            let api = WebRouter::new(router, engine, hosts(Answers::Http), folder, draining.clone());
            let metrics = api.of_metrics(hosts(Answers::Metrics));
            let pages = pages.map(|pages| api.with_pages(hosts(Answers::Pages), pages));
            Routers { api, metrics, pages, draining }
        }
    }

    /// One for each port.
    pub(crate) struct Routers {
        api: WebRouter,
        metrics: WebRouter,
        pages: Option<WebRouter>,
        draining: watch::Receiver<bool>,
    }

    /// Serves a connection that has come to a port, once it is `secured`. Requests are told of its peer if anybody wants to know.
    pub(crate) fn serve<F>(
        routers: &Routers,
        answers: Answers,
        local: Option<SocketAddr>,
        secured: F,
        tells_peers: bool,
    ) -> impl Future<Output = ()> + Send + use<F>
    where
        F: Future<Output = Option<(Stream, Peer)>> + Send + 'static,
    {
        let router = match answers {
            Answers::Metrics => &routers.metrics,
            Answers::Pages => routers.pages.as_ref().unwrap_or(&routers.api),
            Answers::Http | Answers::Grpc => &routers.api,
        };
        let router = local.map_or_else(|| router.clone(), |local| router.at(local));
        let draining = routers.draining.clone();
        async move {
            let Some((stream, peer)) = secured.await else { return };
            web::connection::run(stream, tells_peers.then(|| Arc::new(peer)), router, draining).await;
        }
    }

    /// The address as clients on this machine write it.
    fn for_clients(address: SocketAddr) -> String {
        match address.ip().is_unspecified() {
            true => format!("localhost:{}", address.port()),
            false => address.to_string(),
        }
    }
}

#[cfg(not(feature = "http"))]
mod left_out {
    use std::{future::Future, net::SocketAddr};

    use tokio::sync::watch;

    use crate::{
        ServerError, ServerSettings, Service,
        ports::{Answers, Peer, Ports, Stream},
    };

    /// Nothing is needed.
    pub(crate) struct Web;

    impl Web {
        pub(crate) fn new(_: &Service, _: &ServerSettings) -> Result<Self, ServerError> {
            Ok(Self)
        }

        pub(crate) fn open(self, _: &Service, _: &Ports, _: SocketAddr, _: watch::Receiver<bool>) -> Self {
            self
        }
    }

    /// Closes a connection: there is no port that it can have come to.
    pub(crate) fn serve<F>(_: &Web, _: Answers, _: Option<SocketAddr>, secured: F, _: bool) -> impl Future<Output = ()> + Send + use<F>
    where
        F: Future<Output = Option<(Stream, Peer)>> + Send + 'static,
    {
        async move { drop(secured) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UiSettings;

    #[test]
    fn a_server_without_http_that_is_asked_for_a_port_of_it_does_not_start() {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let ui = UiSettings { address, public_path: String::new(), codec_endpoint: None, asset_path: None };
        let refused = |settings: ServerSettings| refuse(&settings).map_err(|error| error.to_string());
        let told = Err("cannot prepare HTTP: this program was built without it".to_owned());
        assert_eq!(refused(ServerSettings { http_address: Some(address), ..ServerSettings::default() }), told);
        assert_eq!(refused(ServerSettings { metrics_address: Some(address), ..ServerSettings::default() }), told);
        assert_eq!(refused(ServerSettings { ui: Some(ui), ..ServerSettings::default() }), told);
        assert_eq!(refused(ServerSettings::default()), Ok(()));
    }
}
