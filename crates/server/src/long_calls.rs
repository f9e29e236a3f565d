//! How many calls that may take long a namespace has open at once, of each method (`frontend.namespaceCount`).
//!
//! Long are polls, and whatever waits for a worker: queries, updates, reads of history that wait for events. One method
//! cannot take the room of another. A namespace with no such call is not remembered.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sempre_api::v1::enums::ResourceExhaustedCause;
use sempre_core::Refusal;
use tonic::Status;

use crate::status;

/// What a client is told whose call is one too many.
const TOO_MANY: &str = "namespace concurrent poller limit exceeded";

type Open = HashMap<(String, &'static str), usize>;

/// See the module.
#[derive(Debug)]
pub(crate) struct LongCalls {
    max: usize,
    open: Mutex<Open>,
}

impl LongCalls {
    /// `max` of each method in each namespace.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, open: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins; it is over when what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>, namespace: &str, method: &'static str) -> Result<LongCall, Status> {
        let key = (namespace.to_owned(), method);
        let mut open = self.lock();
        let count = open.entry(key.clone()).or_default();
        if *count >= self.max {
            if *count == 0 {
                open.remove(&key);
            }
            let refusal = Refusal::ResourceExhausted { cause: ResourceExhaustedCause::ConcurrentLimit, message: TOO_MANY.into() };
            return Err(status::from_refusal(refusal));
        }
        *count += 1;
        Ok(LongCall { key, calls: self.clone() })
    }
}

/// A call that is open.
#[derive(Debug)]
pub(crate) struct LongCall {
    key: (String, &'static str),
    calls: Arc<LongCalls>,
}

impl Drop for LongCall {
    fn drop(&mut self) {
        let mut open = self.calls.lock();
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_of_each_namespace_has_its_own_room() {
        let calls = LongCalls::new(2);
        let first = calls.begin("a", "Poll").unwrap();
        let _second = calls.begin("a", "Poll").unwrap();
        let refused = calls.begin("a", "Poll").unwrap_err();
        assert_eq!((refused.code(), refused.message()), (tonic::Code::ResourceExhausted, TOO_MANY));
        let others = (calls.begin("b", "Poll").unwrap(), calls.begin("a", "Query").unwrap());
        drop(first);
        let third = calls.begin("a", "Poll").unwrap();
        drop((others, third));
        assert_eq!(calls.lock().len(), 1);
        drop(_second);
        assert!(calls.lock().is_empty());
        let none = LongCalls::new(0);
        assert!(none.begin("a", "Poll").is_err());
        assert!(none.lock().is_empty());
    }
}
