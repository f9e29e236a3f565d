//! The wire side of Sempre: gRPC in, engine calls out, refusals as statuses.
//!
//! ```text
//! port (TLS) ─► connection ─► router ─► frames ─► generated codec ─► frontend (checks before the body) ─► engine
//!                                ◄───────────────────── status (Refusal → code, detail, headers) ◄──┘
//! ```
//! HTTP/1 has a port of its own: port (TLS) ─► web::connection ─► web ─► the part that the path names ─► engine. That is the
//! feature `http`; a server inside a program does without.
//!
//! The server translates; it decides nothing about workflows. Methods that are not built answer
//! UNIMPLEMENTED by the generated default, are listed in [`coverage`], and are tested to do so.

#![cfg_attr(not(feature = "http"), allow(dead_code, reason = "some of what the parts share is for the HTTP ports alone"))]

mod access;
mod access_service;
mod alert_service;
mod alerts;
mod alerts_file;
mod answers;
mod audit;
mod callbacks;
mod classes;
mod client_version;
mod connection;
pub mod coverage;
mod deadline;
pub mod dynamic;
pub mod faults;
mod flow_service;
pub mod forward;
pub mod frames;
mod frontend;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod health;
mod http_client;
mod http_ports;
mod inspect_service;
mod long_calls;
mod meter;
mod metrics;
mod nexus;
#[cfg(feature = "postgres")]
mod node;
mod operate_service;
mod operator_service;
mod ports;
mod reflection;
mod reload;
mod requests;
mod room;
mod router;
pub mod server;
mod service;
mod start_gate;
pub mod status;
mod steer_service;
mod storage_service;
mod system;
mod telemetry;
mod test_service;
mod unread;
mod version_service;
#[cfg(feature = "http")]
mod web;
mod workflow_service;
mod worlds;

pub use access::{AuthError, AuthSettings};
pub use alerts_file::AlertsFileError;
pub use audit::AuditTo;
pub use connection::ConnectionSettings;
pub use faults::FaultSettings;
#[cfg(feature = "postgres")]
pub use node::NodeSettings;
pub use ports::tls::{ClientCertificates, TlsError, TlsSettings};
pub use reload::Reloader;
pub use server::{Server, ServerError, ServerSettings, TimeSkipping, UiSettings};
pub use service::Service;
pub use telemetry::{OtlpError, OtlpSettings};

/// The version of Temporal's server that clients may take this one for; they compare it with ranges.
pub const SERVER_VERSION: &str = "1.32.0";
