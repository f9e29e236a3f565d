//! What a client sees on the wire: real gRPC over TCP against a server in memory.

mod coverage;
mod messages;
mod namespaces;
mod polls;
mod services;
mod shutdown;
mod support;
