//! Refusals of calls: every call about runs and tasks, with what it needs missing, too long, malformed or unknown.

mod activities;
mod clients;
mod every_call;
mod operators;
mod updates;
mod workers;

use bytes::Bytes;

use super::Script;

const RUN: &str = "00000000-0000-4000-8000-000000000001";

/// Calls, and writes down the answer.
macro_rules! ask {
    ($s:expr, $what:expr, $method:ident, $request:expr) => {
        let mut request = Request::new($request);
        request.set_timeout(std::time::Duration::from_secs(20));
        let answer = $s.client().$method(request).await;
        $s.record(&format!("{}: {}", stringify!($method), $what), answer).ok();
    };
}
use ask;

/// What is longer than names may be.
fn long() -> String {
    "x".repeat(1001)
}

/// What is no token.
fn tokens() -> [(&'static str, Bytes); 2] {
    [("no token", Bytes::new()), ("garbage", Bytes::from_static(b"garbage"))]
}

fn priority(key: i32, fairness: &str) -> sempre_api::v1::common::Priority {
    sempre_api::v1::common::Priority { priority_key: key, fairness_key: fairness.into(), fairness_weight: 0.0 }
}

pub(super) fn all() -> Vec<(&'static str, Script)> {
    [activities::all(), clients::all(), every_call::all(), operators::all(), updates::all(), workers::all()].concat()
}
