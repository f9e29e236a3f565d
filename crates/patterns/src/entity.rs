//! Entity: one workflow is one thing (an account, a cart, a device) for as long as it lives.
//!
//! ```no_run
//! # use sempre_patterns::entity::{Carried, Entity, EntityOptions, Message, Snapshot};
//! # use serde::{Deserialize, Serialize};
//! # use temporalio_macros::{workflow, workflow_methods};
//! # use temporalio_sdk::{SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult};
//! # #[derive(Clone, Debug, Default, Serialize, Deserialize)]
//! # pub struct Balance { cents: u64 }
//! #[workflow]
//! pub struct Account {
//!     entity: Entity<Balance>,
//! }
//!
//! #[workflow_methods]
//! impl Account {
//!     #[init]
//!     fn new(_ctx: &WorkflowContextView, carried: Carried<Balance>) -> Self {
//!         Self { entity: Entity::new(carried) }
//!     }
//!
//!     #[run]
//!     pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Balance> {
//!         let entity = ctx.state(|account| account.entity.clone());
//!         entity.live(ctx, EntityOptions::default()).await
//!     }
//!
//!     #[update]
//!     pub fn deposit(&mut self, _ctx: &mut SyncWorkflowContext<Self>, message: Message<u64>) -> u64 {
//!         self.entity.once(message, |balance, cents| {
//!             balance.cents += cents;
//!             balance.cents
//!         })
//!     }
//!
//!     #[query]
//!     pub fn snapshot(&self, _ctx: &WorkflowContextView) -> Snapshot<Balance> {
//!         self.entity.snapshot()
//!     }
//! }
//! ```
//!
//! - Its history stays bounded: after so many messages, or when the server suggests it, the entity continues as new, with its state
//!   and its memory of messages, and after all handlers have ended. What arrives meanwhile goes to the next run, or the server
//!   gives the task again with it: no message is lost. Closed or cancelled while it waits for its handlers, it ends instead.
//! - A message that is sent twice has its effect once: it carries an id, and the last [`EntityOptions::ids_kept`] of them are known
//!   with what was answered, also to later runs. (The update id that the server knows is forgotten at continue-as-new.)
//! - State and memory travel as one payload: keep it far below 2 MB. Big things live elsewhere and are named in the state.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    num::NonZeroU32,
    rc::Rc,
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use temporalio_common::WorkflowDefinition;
use temporalio_sdk::{
    ContinueAsNewOptions, WaitConditionOptions, WorkflowCancellationToken, WorkflowContext, WorkflowResult, WorkflowTermination, workflows,
};
use temporalio_workflow::workflows::WorkflowImplementation;

/// When an entity continues as new, and when it ends.
#[derive(Clone, Debug)]
pub struct EntityOptions {
    /// After so many messages it continues as new, if the server has not suggested it before.
    pub messages_per_run: NonZeroU32,
    /// After so long without a message it ends, and its last state is the workflow's result. `None`: it waits for ever.
    pub idle: Option<Duration>,
    /// How many ids of messages are known, the newest ones. A message that is repeated later than so many others is new.
    pub ids_kept: usize,
}

impl Default for EntityOptions {
    /// 1,000 messages a run, 1,000 ids, for ever.
    fn default() -> Self {
        Self { messages_per_run: NonZeroU32::new(1000).expect("it is not zero"), idle: None, ids_kept: 1000 }
    }
}

/// What a run of the entity begins with. A client makes it of a state (`state.into()`), a run of its end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Carried<S> {
    state: S,
    /// Messages in all runs before.
    #[serde(default)]
    messages: u64,
    /// Ids and answers, oldest first.
    #[serde(default)]
    answers: Vec<(String, Value)>,
}

impl<S> From<S> for Carried<S> {
    fn from(state: S) -> Self {
        Self { state, messages: 0, answers: Vec::new() }
    }
}

/// What is sent to an entity: the id names it, whoever sends it again uses the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<T> {
    /// Unique among the messages of this entity.
    pub id: String,
    /// What is asked.
    pub body: T,
}

impl<T> Message<T> {
    /// A message.
    pub fn new(id: impl Into<String>, body: T) -> Self {
        Self { id: id.into(), body }
    }
}

/// What a query gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot<S> {
    /// The state.
    pub state: S,
    /// How many messages have had their effect, in all runs.
    pub messages: u64,
    /// How many of them in this run.
    pub messages_of_run: u32,
    /// It takes its last messages.
    pub closing: bool,
}

struct Inner<S> {
    state: RefCell<S>,
    answers: RefCell<Answers>,
    messages_before: u64,
    messages: Cell<u32>,
    closing: Cell<bool>,
}

/// The heart of an entity, kept in the state of the workflow. Clones are the same one.
pub struct Entity<S> {
    inner: Rc<Inner<S>>,
}

impl<S> Clone for Entity<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<S> Entity<S> {
    /// One that goes on from what was carried: in `#[init]`, so that it is there before the first message.
    pub fn new(carried: Carried<S>) -> Self {
        let Carried { state, messages, answers } = carried;
        let inner = Inner {
            state: RefCell::new(state),
            answers: RefCell::new(answers.into_iter().collect()),
            messages_before: messages,
            messages: Cell::new(0),
            closing: Cell::new(false),
        };
        Self { inner: Rc::new(inner) }
    }

    /// Applies a message, unless one with its id has been applied: then gives what that one gave.
    ///
    /// # Panics
    /// If the answer cannot be JSON, or an id comes again with another type of answer: the workflow task fails and is tried again until
    /// the code is mended.
    pub fn once<T, R>(&self, message: Message<T>, apply: impl FnOnce(&mut S, T) -> R) -> R
    where
        R: Serialize + DeserializeOwned,
    {
        let applied = self.try_once(message, |state, body| Ok::<R, std::convert::Infallible>(apply(state, body)));
        match applied {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }

    /// [`once`](Self::once) of a message that may be refused. A refusal is not remembered (sent again, it is asked again), and `apply` must
    /// have left the state as it was.
    ///
    /// # Panics
    /// As `once`.
    pub fn try_once<T, R, E>(&self, message: Message<T>, apply: impl FnOnce(&mut S, T) -> Result<R, E>) -> Result<R, E>
    where
        R: Serialize + DeserializeOwned,
    {
        if let Some(answer) = self.inner.answers.borrow().by_id.get(&message.id) {
            return Ok(serde_json::from_value(answer.clone()).expect("one id is one kind of message"));
        }
        let answer = apply(&mut self.inner.state.borrow_mut(), message.body)?;
        let kept = serde_json::to_value(&answer).expect("an answer is made of what JSON has");
        self.inner.answers.borrow_mut().push(message.id, kept);
        self.inner.messages.set(self.inner.messages.get() + 1);
        Ok(answer)
    }

    /// Looks at the state.
    pub fn look<R>(&self, look: impl FnOnce(&S) -> R) -> R {
        look(&self.inner.state.borrow())
    }

    /// Lets it end when its handlers have: [`live`](Self::live) gives the last state.
    pub fn close(&self) {
        self.inner.closing.set(true);
    }

    /// What a query gives.
    pub fn snapshot(&self) -> Snapshot<S>
    where
        S: Clone,
    {
        let messages = self.inner.messages.get();
        Snapshot {
            state: self.look(S::clone),
            messages: self.inner.messages_before + u64::from(messages),
            messages_of_run: messages,
            closing: self.inner.closing.get(),
        }
    }

    /// Lives until it is closed or idle; the body of `#[run]`. Cancelled, the workflow ends as cancelled, after its handlers, with the
    /// last state as details.
    pub async fn live<W>(&self, ctx: &WorkflowContext<W>, options: EntityOptions) -> WorkflowResult<S>
    where
        W: WorkflowImplementation,
        W::Run: WorkflowDefinition<Input = Carried<S>>,
        S: Clone + Serialize + Send + Sync + 'static,
    {
        self.inner.answers.borrow_mut().keep(options.ids_kept);
        let end = self.until_the_end(ctx, &options).await;
        // Whatever ends it: messages that are being handled get their answer.
        let (handled, detached) = (ctx.clone(), WorkflowCancellationToken::new());
        let waits = WaitConditionOptions::builder().cancellation_token(detached).build();
        let done = ctx.wait_condition_with_options(move |_| handled.all_handlers_finished(), waits).await;
        done.expect("nobody has the token");
        let state = self.look(S::clone);
        // It may have been told to end in that wait; the next run would not hear of it.
        let end = match end {
            End::Rolls if self.inner.closing.get() => End::Closed,
            End::Rolls if ctx.cancellation_token().is_cancelled() => End::Cancelled,
            end => end,
        };
        match end {
            End::Closed => Ok(state),
            End::Cancelled => Err(WorkflowTermination::cancelled_with_details(state)),
            End::Rolls => {
                let answers = self.inner.answers.borrow().in_order();
                let carried = Carried { messages: self.snapshot().messages, state, answers };
                match ctx.continue_as_new(carried, ContinueAsNewOptions::default())? {}
            }
        }
    }

    async fn until_the_end<W: 'static>(&self, ctx: &WorkflowContext<W>, options: &EntityOptions) -> End {
        let rolls = || self.inner.messages.get() >= options.messages_per_run.get() || ctx.continue_as_new_suggested();
        let ends = || self.inner.closing.get() || rolls();
        let verdict = || if self.inner.closing.get() { End::Closed } else { End::Rolls };
        let Some(idle) = options.idle else {
            return ctx.wait_condition(|_| ends()).await.map_or(End::Cancelled, |()| verdict());
        };
        let (mut seen, mut last) = (self.inner.messages.get(), ctx.workflow_time());
        let mut left = idle;
        // One timer per idle span, not per message: it is looked at when it fires.
        loop {
            let timer = ctx.timer(left);
            futures::pin_mut!(timer);
            loop {
                let known = seen;
                let waits = ctx.wait_condition(move |_| ends() || self.inner.messages.get() != known);
                futures::pin_mut!(waits);
                workflows::select! {
                    waited = waits => match waited {
                        Err(_) => return End::Cancelled,
                        Ok(()) if ends() => return verdict(),
                        Ok(()) => (seen, last) = (self.inner.messages.get(), ctx.workflow_time()),
                    },
                    _ = timer => break,
                }
            }
            let quiet = last.zip(ctx.workflow_time()).and_then(|(last, now)| now.duration_since(last).ok()).unwrap_or_default();
            left = idle.saturating_sub(quiet);
            if left.is_zero() {
                return End::Closed;
            }
        }
    }
}

/// How a run ends.
enum End {
    Closed,
    Rolls,
    Cancelled,
}

/// Answers by id, and in which order they came.
#[derive(Default)]
struct Answers {
    by_id: BTreeMap<String, Value>,
    order: VecDeque<String>,
    /// How many are kept; all, until the run has said.
    kept: Option<usize>,
}

impl Answers {
    fn push(&mut self, id: String, answer: Value) {
        self.order.push_back(id.clone());
        self.by_id.insert(id, answer);
        self.shrink();
    }

    fn keep(&mut self, kept: usize) {
        self.kept = Some(kept);
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.kept.is_some_and(|kept| self.order.len() > kept) {
            let oldest = self.order.pop_front().expect("there are more than are kept");
            self.by_id.remove(&oldest);
        }
    }

    fn in_order(&self) -> Vec<(String, Value)> {
        self.order.iter().map(|id| (id.clone(), self.by_id[id].clone())).collect()
    }
}

impl FromIterator<(String, Value)> for Answers {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(answers: I) -> Self {
        let mut all = Self::default();
        for (id, answer) in answers {
            all.push(id, answer);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_applied_once_also_after_it_was_carried() {
        let entity = Entity::new(Carried::from(10));
        let add = |entity: &Entity<i64>, id: &str, n: i64| {
            entity.once(Message::new(id, n), |sum, n| {
                *sum += n;
                *sum
            })
        };
        assert_eq!([add(&entity, "a", 1), add(&entity, "b", 2), add(&entity, "a", 1)], [11, 13, 11]);
        let carried = Carried { state: 13, messages: 2, answers: entity.inner.answers.borrow().in_order() };
        let carried = serde_json::to_string(&carried).unwrap();
        let next: Entity<i64> = Entity::new(serde_json::from_str(&carried).unwrap());
        assert_eq!([add(&next, "b", 2), add(&next, "c", 4)], [13, 17]);
        assert_eq!(next.snapshot(), Snapshot { state: 17, messages: 3, messages_of_run: 1, closing: false });
    }

    #[test]
    fn a_refusal_is_asked_again_and_only_the_newest_ids_are_known() {
        let entity = Entity::new(Carried::from(0));
        let take = |id: &str, n: i64| {
            entity.try_once(Message::new(id, n), |sum, n| {
                if *sum < n {
                    Err("too little")
                } else {
                    *sum -= n;
                    Ok(())
                }
            })
        };
        assert_eq!(take("a", 5), Err("too little"));
        entity.once(Message::new("b", 5), |sum, n| *sum += n);
        assert_eq!(take("a", 5), Ok(()));
        entity.inner.answers.borrow_mut().keep(2);
        entity.once(Message::new("c", 5), |sum, n| *sum += n);
        assert_eq!(entity.inner.answers.borrow().in_order().into_iter().map(|(id, _)| id).collect::<Vec<_>>(), ["a", "c"]);
    }
}
