//! Executions in memory, by workflow, with a byte budget.
//!
//! Eviction is by second chance: a hand goes round, clears the mark of what was used since its last visit and
//! takes what was not. Workflows with commits in flight, with loads under way or with state that only memory
//! has (buffered queries, updates, speculative tasks) stay; updates that nobody waits for do not count.

use std::collections::{HashMap, VecDeque};

use sempre_core::{Execution, RunId, Timestamp, WorkflowKey, transition::CurrentRecord};

use super::message::{ReplyTo, RunMessage};
use crate::{history::tail::Tail, usage::Counted};

/// What an entry weighs beside its executions.
const ENTRY_BYTES: usize = 512;

/// One run of a workflow.
pub(crate) struct Run {
    pub(crate) id: RunId,
    /// `None`: the store has no such run.
    pub(crate) execution: Option<Box<Execution>>,
    pub(crate) tail: Tail,
    /// Bytes of state rows that a change of the run is likely to write: those of the last time.
    pub(crate) row_bytes: usize,
    /// Number of the batch that has the run on its list.
    pub(crate) batch: u64,
    /// Number of the batch that has its picture for lists on its list.
    pub(crate) listed_batch: u64,
    /// The status that notices have told last; `None`: the run is new.
    pub(crate) noticed: Option<i32>,
    /// The deadline row as it was before the open batch, and as it shall be.
    pub(crate) deadline: Option<(Option<Timestamp>, Option<Timestamp>)>,
    /// When the run is to be woken for what it has in memory only.
    pub(crate) memory_deadline: Option<Timestamp>,
    /// When to see whether somebody still waits for the updates that only memory has.
    pub(crate) updates_look: Option<Timestamp>,
    /// What it counts for in its namespace, as far as that was added up.
    pub(crate) counted: Counted,
}

impl Run {
    pub(crate) fn new(id: RunId, execution: Option<Box<Execution>>, row_bytes: usize) -> Self {
        Self {
            id,
            execution,
            tail: Tail::default(),
            row_bytes,
            batch: 0,
            listed_batch: 0,
            noticed: None,
            deadline: None,
            memory_deadline: None,
            updates_look: None,
            counted: Counted::default(),
        }
    }
}

/// What is known of the current-run pointer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Current {
    Unknown,
    None,
    Is(CurrentRecord),
}

/// Everything in memory of one workflow id.
pub(crate) struct Workflow {
    pub(crate) key: WorkflowKey,
    pub(crate) current: Current,
    /// The pointer is to be written with the open batch of this number.
    pub(crate) current_batch: u64,
    pub(crate) runs: Vec<Run>,
    /// Messages that wait for a read of the store; `Some` while one is under way.
    pub(crate) waiting: Option<VecDeque<Box<RunMessage>>>,
    /// Commits in flight that have rows of this workflow.
    pub(crate) in_flight: u32,
    /// Number of the batch that counts as in flight for this workflow.
    pub(crate) batch: u64,
    /// Runs to delete once nothing is in flight, and who waits for that.
    pub(crate) purge: Vec<(RunId, Option<ReplyTo>)>,
    used: bool,
    weight: usize,
}

impl Workflow {
    fn new(key: WorkflowKey) -> Self {
        Self {
            key,
            current: Current::Unknown,
            current_batch: 0,
            runs: Vec::new(),
            waiting: None,
            in_flight: 0,
            batch: 0,
            purge: Vec::new(),
            used: true,
            weight: ENTRY_BYTES,
        }
    }

    pub(crate) fn run(&mut self, id: RunId) -> Option<&mut Run> {
        // The newest run is asked for most.
        self.runs.iter_mut().rev().find(|r| r.id == id)
    }

    /// Nothing is on its way that concerns the entry as a whole.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.in_flight == 0 && self.waiting.is_none() && self.purge.is_empty()
    }

    fn weigh(&self) -> usize {
        let runs: usize = self.runs.iter().map(|r| r.tail.bytes() + r.execution.as_ref().map_or(64, |e| e.weight())).sum();
        ENTRY_BYTES + self.key.workflow_id.len() + runs
    }

    fn is_pinned(&self) -> bool {
        !self.is_at_rest() || self.runs.iter().any(|r| r.deadline.is_some() || r.execution.as_ref().is_some_and(|e| e.has_memory_state()))
    }

    /// Forgets closed runs that are not current: chains would pile them up.
    pub(crate) fn forget_old_runs(&mut self) {
        if self.runs.len() > 2 && self.in_flight == 0 && self.purge.is_empty() {
            let current = match &self.current {
                Current::Is(record) => Some(record.run()),
                _ => None,
            };
            self.runs.retain(|r| Some(r.id) == current || r.deadline.is_some() || r.execution.as_ref().is_some_and(|e| e.is_open()));
        }
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Cache {
    places: HashMap<WorkflowKey, usize>,
    entries: Vec<Option<Box<Workflow>>>,
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// The place of a workflow; a new entry if there was none.
    pub(crate) fn place(&mut self, key: &WorkflowKey) -> usize {
        if let Some(&place) = self.places.get(key) {
            self.at(place).used = true;
            return place;
        }
        let workflow = Box::new(Workflow::new(key.clone()));
        self.bytes += workflow.weight;
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place] = Some(workflow);
                place
            }
            None => {
                self.entries.push(Some(workflow));
                self.entries.len() - 1
            }
        };
        self.places.insert(key.clone(), place);
        place
    }

    /// The entry at a place that [`Cache::place`] gave; places stay while an entry is pinned or no eviction ran.
    pub(crate) fn at(&mut self, place: usize) -> &mut Workflow {
        self.entries[place].as_mut().expect("a place is used only while its entry is pinned or before the next eviction")
    }

    /// The place of a workflow that is in memory.
    pub(crate) fn find(&self, key: &WorkflowKey) -> Option<usize> {
        self.places.get(key).copied()
    }

    /// Takes the new weight of an entry into account.
    pub(crate) fn reweigh(&mut self, place: usize) {
        let Some(workflow) = self.entries[place].as_mut() else { return };
        let weight = workflow.weigh();
        self.bytes = self.bytes - workflow.weight + weight;
        workflow.weight = weight;
    }

    /// Brings the cache back into its budget, as far as pinned entries allow. Gives the number of entries evicted.
    /// `relieve` drops what keeps an entry in memory without need; says whether there was any.
    pub(crate) fn evict(&mut self, mut relieve: impl FnMut(&mut Workflow) -> bool) -> u64 {
        let mut evicted = 0;
        let mut looks = 2 * self.entries.len();
        while self.bytes > self.bytes_max && looks > 0 {
            looks -= 1;
            self.hand = if self.hand + 1 < self.entries.len() { self.hand + 1 } else { 0 };
            let Some(workflow) = &mut self.entries[self.hand] else { continue };
            if std::mem::take(&mut workflow.used) {
                continue;
            }
            if workflow.is_pinned() {
                if !workflow.is_at_rest() || !relieve(workflow) {
                    continue;
                }
                let weight = workflow.weigh();
                self.bytes = self.bytes - workflow.weight + weight;
                workflow.weight = weight;
                if workflow.is_pinned() {
                    continue;
                }
            }
            self.bytes -= workflow.weight;
            self.places.remove(&workflow.key);
            self.entries[self.hand] = None;
            self.free.push(self.hand);
            evicted += 1;
        }
        evicted
    }

    #[allow(clippy::vec_box, reason = "they are boxed already; moving them out would copy")]
    /// Forgets everything; gives the messages that waited for loads.
    pub(crate) fn clear(&mut self) -> Vec<Box<RunMessage>> {
        let bytes_max = self.bytes_max;
        let old = std::mem::replace(self, Self::new(bytes_max));
        old.entries.into_iter().flatten().filter_map(|w| w.waiting).flatten().collect()
    }
}
