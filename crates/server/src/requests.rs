//! Calls by method: how many, how they ended, how long they took.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use sempre_core::Span;
use sempre_engine::Histogram;
use tonic::Code;

use crate::classes::Kind;

/// Codes that a call can end with.
const CODES: usize = 17;

/// Counters of one method.
#[derive(Debug)]
pub(crate) struct MethodStats {
    /// `/service/method`; empty for all that there is not.
    pub(crate) path: String,
    /// What it is for.
    pub(crate) kind: Kind,
    /// Number of the field of its request that names a namespace.
    pub(crate) namespace_field: Option<u32>,
    pub(crate) latency: Histogram,
    begun: AtomicU64,
    ended: [AtomicU64; CODES],
}

/// Counters of all methods. Counting takes no lock and allocates nothing.
#[derive(Debug)]
pub(crate) struct Requests {
    methods: Vec<MethodStats>,
    places: HashMap<&'static str, HashMap<&'static str, usize>>,
}

/// A call under way; counted as given up unless it [ends](CallCount::end).
pub(crate) struct CallCount<'r> {
    method: &'r MethodStats,
    code: Code,
}

impl Requests {
    pub(crate) fn new() -> Self {
        let mut places: HashMap<_, HashMap<_, _>> = HashMap::new();
        let mut methods = Vec::with_capacity(sempre_api::METHODS.len() + 1);
        for (service, method) in sempre_api::METHODS {
            places.entry(*service).or_default().insert(*method, methods.len());
            methods.push(MethodStats::new(format!("/{service}/{method}"), Kind::of(service, method), namespace_field(service, method)));
        }
        methods.push(MethodStats::new(String::new(), Kind::OTHER, None));
        Self { methods, places }
    }

    /// A call has come.
    pub(crate) fn begin(&self, path: &str) -> CallCount<'_> {
        let method = self.method(path);
        method.begun.fetch_add(1, Ordering::Relaxed);
        CallCount { method, code: Code::Cancelled }
    }

    /// The method that a path is of. Counts nothing.
    pub(crate) fn method(&self, path: &str) -> &MethodStats {
        let place = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        let place = place.and_then(|(service, method)| self.places.get(service)?.get(method)).copied();
        &self.methods[place.unwrap_or(self.methods.len() - 1)]
    }

    /// The methods that have been called.
    pub(crate) fn called(&self) -> impl Iterator<Item = &MethodStats> {
        self.methods.iter().filter(|method| method.begun() > 0)
    }
}

impl MethodStats {
    fn new(path: String, kind: Kind, namespace_field: Option<u32>) -> Self {
        Self {
            path,
            kind,
            namespace_field,
            latency: Histogram::default(),
            begun: AtomicU64::new(0),
            ended: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Calls that have come.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Calls that ended so.
    pub(crate) fn ended(&self, code: Code) -> u64 {
        usize::try_from(i32::from(code)).ok().and_then(|at| self.ended.get(at)).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

fn namespace_field(service: &str, method: &str) -> Option<u32> {
    let service = sempre_api::json::descriptors().get_service_by_name(service)?;
    let method = service.methods().find(|found| found.name() == method)?;
    method.input().get_field_by_name("namespace").map(|field| field.number())
}

impl<'r> CallCount<'r> {
    /// Which method it is of.
    pub(crate) fn method(&self) -> &'r MethodStats {
        self.method
    }

    /// The call has ended.
    pub(crate) fn end(mut self, code: Code, took: std::time::Duration) {
        self.code = code;
        self.method.latency.observe(Span(i64::try_from(took.as_nanos()).unwrap_or(i64::MAX)));
    }
}

impl Drop for CallCount<'_> {
    fn drop(&mut self) {
        if let Some(count) = usize::try_from(i32::from(self.code)).ok().and_then(|at| self.method.ended.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_method_is_of_a_kind_and_names_a_namespace_if_it_is_about_one() {
        let requests = Requests::new();
        let method = |path: &str| requests.begin(path).method();
        let completed = method("/temporal.api.workflowservice.v1.WorkflowService/RespondWorkflowTaskCompleted");
        assert_eq!((completed.kind.class, completed.namespace_field), (sempre_engine::CallClass::Complete, Some(9)));
        let list = method("/sempre.v1.InspectService/ListPolledQueues");
        assert_eq!((list.kind.class, list.namespace_field), (sempre_engine::CallClass::Other, Some(1)));
        assert_eq!(method("/temporal.api.workflowservice.v1.WorkflowService/GetSystemInfo").namespace_field, None);
    }

    #[test]
    fn calls_are_counted_by_method_and_end() {
        let requests = Requests::new();
        let path = "/temporal.api.workflowservice.v1.WorkflowService/GetSystemInfo";
        requests.begin(path).end(Code::Ok, Duration::from_millis(3));
        requests.begin(path).end(Code::NotFound, Duration::from_millis(3));
        drop(requests.begin(path));
        requests.begin("/no/such").end(Code::Unimplemented, Duration::ZERO);
        let called: Vec<_> = requests.called().map(|method| (method.path.as_str(), method.begun())).collect();
        assert_eq!(called, [(path, 3), ("", 1)]);
        let method = requests.called().next().expect("one");
        assert_eq!([Code::Ok, Code::NotFound, Code::Cancelled, Code::Internal].map(|code| method.ended(code)), [1, 1, 1, 0]);
        assert_eq!(method.latency.read().count, 2);
    }
}
