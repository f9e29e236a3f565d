//! Runs tasks on one thread; which of those that are ready goes on next is drawn by chance.
//!
//! Tasks belong to groups. A group is a process: [`Executor::kill`] drops its tasks wherever they are, as a crash does.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use futures::future::BoxFuture;
use sempre_engine::Spawner;

use crate::random::Random;

/// A process.
pub type Group = u64;

/// The group of all that is no server: clients, workers, the one who makes faults.
pub const WORLD: Group = 0;

struct Task {
    group: Group,
    name: &'static str,
    /// `None` while it is polled.
    future: Option<BoxFuture<'static, ()>>,
    waker: Waker,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<u64, Task>,
    /// Groups that stand still.
    still: BTreeSet<Group>,
    next: u64,
    panics: Vec<String>,
}

type Ready = Arc<Mutex<BTreeSet<u64>>>;

struct Wakes {
    task: u64,
    ready: Ready,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        lock(&self.ready).insert(self.task);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module. Clones are the same executor.
#[derive(Clone, Default)]
pub struct Executor {
    state: Arc<Mutex<State>>,
    ready: Ready,
}

/// One turn of a task, for the trace.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// The task.
    pub task: u64,
    /// What it is.
    pub name: &'static str,
    /// How many could have gone on.
    pub ready: usize,
}

impl Executor {
    /// Starts a task.
    pub fn spawn(&self, group: Group, name: &'static str, future: BoxFuture<'static, ()>) {
        let mut state = lock(&self.state);
        state.next += 1;
        let task = state.next;
        let waker = Waker::from(Arc::new(Wakes { task, ready: self.ready.clone() }));
        state.tasks.insert(task, Task { group, name, future: Some(future), waker });
        lock(&self.ready).insert(task);
    }

    /// A spawner of tasks of one group.
    #[must_use]
    pub fn spawner(&self, group: Group) -> GroupSpawner {
        GroupSpawner { executor: self.clone(), group }
    }

    /// Lets one ready task go on; `None` when none is ready.
    pub fn turn(&self, random: &mut Random) -> Option<Turn> {
        loop {
            let still = self.still_tasks();
            let (task, ready) = {
                let mut ready = lock(&self.ready);
                let count = ready.len() - still.iter().filter(|task| ready.contains(task)).count();
                let place = random.below(count as u64) as usize;
                let task = *ready.iter().filter(|task| !still.contains(task)).nth(place)?;
                ready.remove(&task);
                (task, count)
            };
            let Some((mut future, waker, name)) =
                lock(&self.state).tasks.get_mut(&task).and_then(|task| Some((task.future.take()?, task.waker.clone(), task.name)))
            else {
                // It has ended, or was killed.
                continue;
            };
            let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
            let mut state = lock(&self.state);
            match polled {
                Ok(Poll::Pending) => {
                    // Unless it has killed its own group.
                    if let Some(task) = state.tasks.get_mut(&task) {
                        task.future = Some(future);
                    }
                }
                Ok(Poll::Ready(())) => {
                    let gone = state.tasks.remove(&task);
                    drop(state);
                    drop((gone, future));
                }
                Err(panic) => {
                    let what = panic
                        .downcast_ref::<String>()
                        .cloned()
                        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                        .unwrap_or_default();
                    state.panics.push(format!("{name}: {what}"));
                    let gone = state.tasks.remove(&task);
                    drop(state);
                    drop(gone);
                }
            }
            return Some(Turn { task, name, ready });
        }
    }

    /// A group stands still, as a process does that gets no time, or goes on: what wakes its tasks meanwhile is not lost.
    pub fn set_still(&self, group: Group, still: bool) {
        let mut state = lock(&self.state);
        if still {
            state.still.insert(group);
        } else {
            state.still.remove(&group);
        }
    }

    /// A group stands still.
    #[must_use]
    pub fn is_still(&self, group: Group) -> bool {
        lock(&self.state).still.contains(&group)
    }

    fn still_tasks(&self) -> BTreeSet<u64> {
        let state = lock(&self.state);
        if state.still.is_empty() {
            return BTreeSet::new();
        }
        state.tasks.iter().filter(|(_, task)| state.still.contains(&task.group)).map(|(id, _)| *id).collect()
    }

    /// Drops all tasks of a group, wherever they are.
    pub fn kill(&self, group: Group) {
        let gone: Vec<Task> = {
            let mut state = lock(&self.state);
            state.still.remove(&group);
            let of_group: Vec<u64> = state.tasks.iter().filter(|(_, task)| task.group == group).map(|(id, _)| *id).collect();
            of_group.into_iter().filter_map(|id| state.tasks.remove(&id)).collect()
        };
        drop(gone);
    }

    /// Drops everything.
    pub fn clear(&self) {
        let tasks = std::mem::take(&mut lock(&self.state).tasks);
        drop(tasks);
    }

    /// Tasks that have panicked.
    pub fn take_panics(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).panics)
    }
}

/// See [`Executor::spawner`].
pub struct GroupSpawner {
    executor: Executor,
    group: Group,
}

impl Spawner for GroupSpawner {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.executor.spawn(self.group, name, task);
    }
}

/// Lets others go on.
pub async fn give_way() {
    let mut waited = false;
    futures::future::poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
