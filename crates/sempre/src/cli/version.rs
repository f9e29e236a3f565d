//! What the program says it is.

/// Sempre's version and the version of Temporal's server that clients may take it for.
pub(crate) fn text() -> String {
    format!("{} (Temporal API, server version {})", env!("CARGO_PKG_VERSION"), sempre_server::SERVER_VERSION)
}

/// The same with the name.
pub(crate) fn line() -> String {
    format!("sempre {}", text())
}
