//! The routes of the API over HTTP, as the `google.api.http` options of the protos name them.

/// One binding of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Full name of the service.
    pub service: &'static str,
    /// Name of the method.
    pub method: &'static str,
    /// HTTP method, in capitals.
    pub verb: &'static str,
    /// Template of the path: literals, and names of request fields in braces.
    pub path: &'static str,
    /// Field of the request that the body is; `*`: the request itself; empty: there is no body.
    pub body: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/routes.rs"));
