//! What is Nexus' own on the wire: failures in its form, and in the form of workers of yesterday; requests over HTTP, both ways.

pub(crate) mod answers;
pub(crate) mod client;
pub(crate) mod content;
pub(crate) mod failure;
#[cfg(feature = "http")]
pub(crate) mod routes;
