//! The web UI: pages made on the server, over the API's own calls, with a little script where a page lives.
//!
//! ```text
//! request ─► visit (path, query, cookies, form) ─► route ─► page ─► calls (the API, in process) ─► markup ─► response
//! ```
//! Opens no socket and knows no engine: whoever serves it hands in a [`Backend`]. All that users wrote is escaped by the
//! templates; there is no script or style inside of a page, and the policy that browsers are told forbids any. What changes
//! something is a form with a token, sent from a page of this origin (`token`).

mod answer;
mod assets;
mod backend;
mod json;
mod layout;
mod pages;
mod route;
mod show;
mod token;
mod visit;
pub mod why;

use std::{io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use http::{Response, request::Parts};

pub use backend::{Backend, QueueSummary};

/// How the pages are served.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// In front of every path, such as `/sempre`; empty: nothing.
    pub public_path: String,
    /// Where browsers have payloads decoded, unless the viewer says otherwise.
    pub codec_endpoint: Option<String>,
    /// Where workers find the server, for the page that shows how to write one.
    pub grpc_address: String,
    /// A folder whose files are served instead of those in the program, as far as it has them: for who works on them.
    pub asset_path: Option<PathBuf>,
}

/// The pages of one server; cheap to clone.
#[derive(Clone)]
pub struct Ui(Arc<Inner>);

struct Inner {
    backend: Arc<dyn Backend>,
    settings: Settings,
    assets: assets::Assets,
}

impl Ui {
    /// Pages over `backend`. Fails when a file of the settings' folder cannot be read.
    pub fn new(backend: Arc<dyn Backend>, mut settings: Settings) -> io::Result<Self> {
        let inside = settings.public_path.trim_matches('/');
        settings.public_path = if inside.is_empty() { String::new() } else { format!("/{inside}") };
        let assets = assets::Assets::load(settings.asset_path.as_deref())?;
        Ok(Self(Arc::new(Inner { backend, settings, assets })))
    }

    /// True of paths that this answers; others are the API's.
    pub fn is_for(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix(self.0.settings.public_path.as_str()) else { return path == "/" };
        matches!(path.split('/').nth(1).unwrap_or_default(), "" | "namespaces" | "ui" | "settings" | "favicon.ico")
    }

    /// Answers one request, whose body has been read. Dropping the future gives it up.
    pub async fn answer(&self, parts: &Parts, body: Bytes) -> Response<Bytes> {
        route::answer(self, parts, &body).await
    }
}
