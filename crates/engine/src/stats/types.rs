//! What happens to runs and activities, by namespace and type. There are at most [`TYPES_MAX`] of each; what comes later is
//! counted together under a name that no type has.
//!
//! A shard knows the counters of the types it has seen and counts without a lock.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use sempre_core::NamespaceId;

use super::{
    Counter,
    histogram::{Histogram, LIVES},
};

/// Types that are told apart, of workflows and of activities each.
pub const TYPES_MAX: usize = 200;
/// What all other types are called.
pub const OTHER: &str = "other types";
/// Types that a shard remembers.
const KNOWN_MAX: usize = 1000;
/// Numbers of `WorkflowExecutionStatus`.
const STATUSES: usize = 9;

/// What has a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Typed {
    /// Runs of workflows.
    Workflow,
    /// Activities.
    Activity,
}

/// Counters of one type.
#[derive(Debug)]
pub struct TypeStats {
    /// `None` for all types that are not told apart.
    pub namespace: Option<NamespaceId>,
    /// Of what.
    pub of: Typed,
    /// Its name.
    pub name: String,
    /// Runs started, or attempts of activities handed to workers.
    pub begun: Counter,
    /// Attempts that were not the first.
    pub retried: Counter,
    /// How long closed runs took.
    pub lives: Histogram,
    closed: [Counter; STATUSES],
}

impl TypeStats {
    fn new(namespace: Option<NamespaceId>, of: Typed, name: &str) -> Arc<Self> {
        Arc::new(Self {
            namespace,
            of,
            name: name.to_owned(),
            begun: Counter::default(),
            retried: Counter::default(),
            lives: Histogram::new(LIVES),
            closed: Default::default(),
        })
    }

    /// Runs closed with this `WorkflowExecutionStatus`.
    pub fn closed(&self, status: i32) -> u64 {
        self.counter(status).map_or(0, Counter::get)
    }

    pub(crate) fn count_closed(&self, status: i32) {
        if let Some(counter) = self.counter(status) {
            counter.add(1);
        }
    }

    fn counter(&self, status: i32) -> Option<&Counter> {
        usize::try_from(status).ok().and_then(|at| self.closed.get(at))
    }
}

/// All types of an engine.
#[derive(Debug)]
pub struct Types {
    all: Mutex<Vec<Arc<TypeStats>>>,
    other: [Arc<TypeStats>; 2],
}

impl Default for Types {
    fn default() -> Self {
        let other = [Typed::Workflow, Typed::Activity].map(|of| TypeStats::new(None, of, OTHER));
        Self { all: Mutex::default(), other }
    }
}

impl Types {
    /// The types that were seen, and the others if there are any.
    pub fn all(&self) -> Vec<Arc<TypeStats>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.extend(self.other.iter().filter(|other| other.begun.get() > 0 || other.lives.read().count > 0).cloned());
        all
    }

    fn find(&self, namespace: NamespaceId, of: Typed, name: &str) -> Arc<TypeStats> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.iter().find(|stats| stats.namespace == Some(namespace) && stats.of == of && stats.name == name) {
            return found.clone();
        }
        if all.iter().filter(|stats| stats.of == of).count() >= TYPES_MAX {
            return self.other[usize::from(of == Typed::Activity)].clone();
        }
        let new = TypeStats::new(Some(namespace), of, name);
        all.push(new.clone());
        new
    }
}

/// The types that one shard has seen.
#[derive(Debug, Default)]
pub(crate) struct KnownTypes {
    known: HashMap<(NamespaceId, Typed), HashMap<String, Arc<TypeStats>>>,
    count: usize,
}

impl KnownTypes {
    /// The counters of a type.
    pub(crate) fn get<'a>(&'a mut self, types: &'a Types, namespace: NamespaceId, of: Typed, name: &str) -> &'a TypeStats {
        let is_known = self.known.get(&(namespace, of)).is_some_and(|known| known.contains_key(name));
        if !is_known {
            if self.count >= KNOWN_MAX {
                return &types.other[usize::from(of == Typed::Activity)];
            }
            self.count += 1;
            self.known.entry((namespace, of)).or_default().insert(name.to_owned(), types.find(namespace, of, name));
        }
        &self.known[&(namespace, of)][name]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_end_to_types() {
        let types = Types::default();
        let (mut one, mut two) = (KnownTypes::default(), KnownTypes::default());
        let namespace = NamespaceId::default();
        for shard in [&mut one, &mut two] {
            shard.get(&types, namespace, Typed::Activity, "T0").begun.add(1);
            for number in 0..KNOWN_MAX + 10 {
                shard.get(&types, namespace, Typed::Workflow, &format!("T{number}")).begun.add(1);
            }
        }
        let all = types.all();
        assert_eq!(all.len(), TYPES_MAX + 2);
        assert!(all.iter().filter(|stats| stats.namespace.is_some()).all(|stats| stats.begun.get() == 2));
        let other = all.last().expect("the others");
        assert_eq!((other.name.as_str(), other.begun.get()), (OTHER, 2 * (KNOWN_MAX + 10 - TYPES_MAX) as u64));
        assert!(one.count <= KNOWN_MAX);
        let namespaces = one.known.len();
        for number in 1..10 {
            one.get(&types, NamespaceId(sempre_core::ids::Uuid([number; 16])), Typed::Workflow, "T");
        }
        assert_eq!(one.known.len(), namespaces, "no room is made for what is not remembered");
    }
}
