//! Schedules: one task owns all their rows (`runner`), gathers many changes (`round`, `due`) in one commit (`commit`),
//! and carries out what they ask for only when it is durable (`effects`).
//!
//! What a schedule owes is in its rows, and there is a row that says so: after a restart or a failed commit it is
//! carried out again, under the same request ids. Reads of clients go to the store: it has what was answered.

mod commit;
mod due;
pub(crate) mod effects;
pub(crate) mod keeper;
mod round;
mod rows;
mod runner;

use bytes::Bytes;
use sempre_api::v1::{
    common::{Memo, SearchAttributes},
    schedule::{SchedulePatch, ScheduleState},
};
use sempre_core::{
    Refusal,
    keys::schedules::ScheduleKey,
    schedule::{
        Ended,
        state::{Definition, Watch},
    },
};
use sempre_store::StoreError;
use tokio::sync::{mpsc, oneshot};

pub(crate) use effects::{CLOSED, Found, chain};
pub(crate) use rows::{LoadError, damaged, load};
pub(crate) use runner::{OWNER, Runner};

use crate::{VirtualTime, shared::STOPPING};

/// A new schedule, and its initial patch.
pub(crate) type Create = (Definition, ScheduleState, Option<SchedulePatch>);

/// Messages that wait for the runner; one more is answered with RESOURCE_EXHAUSTED.
const INBOX_MAX: usize = 4096;
/// Refusal when the runner could not commit.
const UNAVAILABLE: &str = "schedules are unavailable, please backoff and retry";

/// What a client asks of one schedule. Checked already, as far as that needs no schedule.
pub(crate) enum Call {
    /// Make it, with an initial patch.
    Create(Box<Create>),
    /// Replace what was said of it.
    Update(Box<Update>),
    /// Patch it. With the request id.
    Patch(Box<SchedulePatch>, String),
    /// Forget it.
    Delete,
    /// Statuses of starts have become known, by their numbers.
    Seen(Vec<(u64, i32)>),
}

/// An update.
pub(crate) struct Update {
    /// Spec, action and policies of it count.
    pub(crate) definition: Definition,
    pub(crate) state: ScheduleState,
    pub(crate) search_attributes: Option<SearchAttributes>,
    pub(crate) memo: Option<Memo>,
    pub(crate) conflict_token: Bytes,
    pub(crate) request_id: String,
}

/// A message to the runner.
pub(crate) enum Message {
    /// Answered with the conflict token, when it is durable. Who gives a second sender hears by it, or by its drop, that
    /// the starts asked for are carried out, or wait for a run to end.
    Call(ScheduleKey, Call, oneshot::Sender<Result<Bytes, Refusal>>, Option<oneshot::Sender<()>>),
    /// A run of a schedule has ended. A dropped sender: not heard, tell again.
    Ended(ScheduleKey, Watch, Box<Ended>, oneshot::Sender<()>),
    /// Acquire the rows and work, and say so then. Dropped: it is on its way out, ask again.
    TakeUp(oneshot::Sender<Result<(), StoreError>>),
    /// Finish the commit at hand, then work no longer, and say so.
    GiveUp(oneshot::Sender<()>),
    /// Finish the commit at hand, then end.
    Stop,
}

/// The way to the runner.
pub(crate) struct Schedules {
    inbox: mpsc::Sender<Message>,
    virtual_time: Option<VirtualTime>,
}

impl Schedules {
    /// With the runner's end of it.
    pub(crate) fn new(virtual_time: Option<VirtualTime>) -> (Self, mpsc::Receiver<Message>) {
        let (inbox, receiver) = mpsc::channel(INBOX_MAX);
        (Self { inbox, virtual_time }, receiver)
    }

    /// Asks; answered when it is durable.
    pub(crate) async fn call(&self, key: ScheduleKey, call: Call) -> Result<Bytes, Refusal> {
        self.send(key, call, None).await
    }

    /// As [`Schedules::call`], with what resolves when the starts asked for are carried out, or wait for a run to end.
    pub(crate) async fn call_for_starts(&self, key: ScheduleKey, call: Call) -> Result<(Bytes, oneshot::Receiver<()>), Refusal> {
        let (sender, settled) = oneshot::channel();
        Ok((self.send(key, call, Some(sender)).await?, settled))
    }

    async fn send(&self, key: ScheduleKey, call: Call, settled: Option<oneshot::Sender<()>>) -> Result<Bytes, Refusal> {
        let _hold = self.virtual_time.as_ref().map(VirtualTime::hold);
        let (sender, receiver) = oneshot::channel();
        match self.inbox.try_send(Message::Call(key, call, sender, settled)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(Refusal::Overloaded("too many requests wait for schedules")),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Refusal::Unavailable(STOPPING.into())),
        }
        receiver.await.unwrap_or_else(|_| Err(Refusal::Unavailable(UNAVAILABLE.into())))
    }

    /// Tells of the end of a started run. `true` when the schedule has it for good.
    pub(crate) async fn ended(&self, key: ScheduleKey, watch: Watch, ended: Ended) -> bool {
        let (sender, receiver) = oneshot::channel();
        let told = self.inbox.send(Message::Ended(key, watch, Box::new(ended), sender)).await;
        told.is_ok() && receiver.await.is_ok()
    }

    /// Has the runner begin here.
    pub(crate) async fn take_up(&self) -> Result<(), StoreError> {
        self.tell(Message::TakeUp).await?
    }

    /// Has it end here; what is owed is carried out by whoever has the schedules next.
    pub(crate) async fn give_up(&self) -> Result<(), StoreError> {
        self.tell(Message::GiveUp).await
    }

    async fn tell<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, StoreError> {
        let (told, done) = oneshot::channel();
        self.inbox.send(message(told)).await.map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| StoreError::Rejected { reason: "schedules are being taken up or given up by somebody else".into() })
    }

    /// Tells the runner to end.
    pub(crate) async fn stop(&self) {
        // A closed inbox belongs to a runner that has ended.
        let _ = self.inbox.send(Message::Stop).await;
    }

    /// The same for those who cannot wait.
    pub(crate) fn try_stop(&self) {
        // A full inbox: the runner ends with the runtime.
        let _ = self.inbox.try_send(Message::Stop);
    }
}
