//! Reads of single rows: those that wait while others are under way go together in one statement.
//!
//! A workflow that begins asks for one row, whether its id is taken; hundreds may begin at once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::channel::oneshot;

use super::{
    limits::{GETS_MAX, READERS},
    read::{self, Source},
    writer::Shared,
};
use crate::{StoreError, Table};

type Answer = oneshot::Sender<Result<Option<Bytes>, StoreError>>;

/// The reads that wait.
#[derive(Default)]
pub(super) struct Gets(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    gets: VecDeque<Get>,
    /// Tasks that answer them, at most one per connection.
    tasks: usize,
}

struct Get {
    table: Table,
    key: Bytes,
    answer: Answer,
}

impl Gets {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next of one table, in their order; none: the task ends.
    fn next(&self) -> Vec<Get> {
        let mut waiting = self.waiting();
        let Some(table) = waiting.gets.front().map(|get| get.table) else {
            waiting.tasks -= 1;
            return Vec::new();
        };
        let mut group = Vec::new();
        while group.len() < GETS_MAX && waiting.gets.front().is_some_and(|get| get.table == table) {
            group.extend(waiting.gets.pop_front());
        }
        group
    }
}

/// Enqueues a read; its answer comes by the receiver.
pub(super) fn get(shared: &Arc<Shared>, table: Table, key: &[u8]) -> oneshot::Receiver<Result<Option<Bytes>, StoreError>> {
    let (answer, receiver) = oneshot::channel();
    let mut waiting = shared.gets.waiting();
    waiting.gets.push_back(Get { table, key: Bytes::copy_from_slice(key), answer });
    if waiting.tasks < READERS {
        waiting.tasks += 1;
        shared.connections.runtime().spawn(run(shared.clone()));
    }
    receiver
}

async fn run(shared: Arc<Shared>) {
    loop {
        let group = shared.gets.next();
        let Some(first) = group.first() else { return };
        let keys: Vec<&[u8]> = group.iter().map(|get| get.key.as_ref()).collect();
        let rows = read::get(Source::Any(&shared.connections), &shared.statements, first.table, &keys).await;
        // Who asked may have gone away.
        match rows {
            Ok(rows) => {
                let rows: HashMap<Bytes, Bytes> = rows.into_iter().collect();
                for get in group {
                    let _ = get.answer.send(Ok(rows.get(&get.key).cloned()));
                }
            }
            Err(error) => {
                let reason = match error {
                    StoreError::Rejected { reason } => reason,
                    other => other.to_string(),
                };
                for get in group {
                    let _ = get.answer.send(Err(StoreError::Rejected { reason: reason.clone() }));
                }
            }
        }
    }
}
