//! Temporal's public API: messages, and with feature `grpc` the services.
//!
//! Everything here is generated at build time from the descriptor set of `temporalio-protos`
//! (`build.rs`). Bytes fields are [`bytes::Bytes`], maps are `BTreeMap`s, so that encoding is the
//! same everywhere. The only code of ours is the short paths below; behaviour belongs elsewhere.
#![cfg_attr(not(feature = "grpc"), no_std)]

extern crate alloc;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::allow_attributes_without_reason, rustdoc::all, reason = "generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/api.rs"));
}

#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "json")]
pub mod json;

mod history;
pub use history::{History, encode_event, frame_body, next_frame};

include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// Encoded `FileDescriptorSet` of everything here, for server reflection.
#[cfg(feature = "grpc")]
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use generated::{google, grpc, sempre, temporal};
pub use prost_types::{Any, Duration, FieldMask, Timestamp};

/// `temporal.api.*.v1` under one short name each.
pub mod v1 {
    pub use super::generated::temporal::api::{
        activity::v1 as activity, batch::v1 as batch, callback::v1 as callback, command::v1 as command, common::v1 as common,
        deployment::v1 as deployment, enums::v1 as enums, errordetails::v1 as errordetails, failure::v1 as failure, filter::v1 as filter,
        history::v1 as history, namespace::v1 as namespace, nexus::v1 as nexus, nexusoperation::v1 as nexusoperation,
        operatorservice::v1 as operatorservice, protocol::v1 as protocol, query::v1 as query, replication::v1 as replication,
        rules::v1 as rules, schedule::v1 as schedule, sdk::v1 as sdk, taskqueue::v1 as taskqueue, testservice::v1 as testservice,
        update::v1 as update, version::v1 as version, worker::v1 as worker, workflow::v1 as workflow,
        workflowservice::v1 as workflowservice,
    };
}
