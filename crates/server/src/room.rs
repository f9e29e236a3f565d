//! How much memory calls may hold, so that no caller can fill it: a budget of bytes for what has come of requests and for the
//! calls themselves.
//!
//! An eighth is for calls that are over and stay a while, and for those that anybody may make: three quarters of it for those that are
//! refused, until they are told, a half of the rest for those of whose bodies something is still to come, and the last for probes and the like,
//! which come before it is known who calls: neither do they take anybody else's room, nor do others take theirs. Of the rest calls that wait (polls) and calls that are worked on have a half each: neither takes the
//! other's room. Within the half of work, calls that matter less must leave a part to the others, and completions of tasks may use it
//! all. A call is counted before anything of its body is read; its body is counted as it comes, before it is put together.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use sempre_core::Refusal;
use sempre_engine::CallClass;
use tokio::time::Instant;
use tonic::Status;

use crate::{
    classes::Kind,
    start_gate::{StartGate, Turn},
    status,
};

/// What a call is counted as, beside its headers and its body: its task, its stream, what the codec and the engine keep of it.
pub(crate) const CALL_BYTES: u64 = 6 << 10;

/// Parts of a half that can be kept for others; of all, one is for calls that are over.
const PARTS: u64 = 8;

/// When a call is told for which there is no room or no time. Who is told at once comes again at once, and the server would do little but
/// refuse; clients of SDKs wait ten seconds and more, and learn why before they give up.
const TOLD_AFTER: Duration = Duration::from_millis(7_500);

/// What callers are told.
const NO_ROOM: &str = "the server has no memory left for such calls, try again";

/// When a call is told that it cannot be served, by how long its caller waits: before he gives up, as he would not know why.
pub(crate) fn told_after(timeout: Option<Duration>) -> Duration {
    timeout.map_or(TOLD_AFTER, |left| TOLD_AFTER.min(left / 4 * 3))
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Room {
    waiting: Part,
    working: Part,
    turned_away: Part,
    late: Part,
    by_anybody: Part,
    refused: AtomicU64,
}

/// Why a call that is over stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// There was no room for it, and it is told so after a while.
    TurnedAway,
    /// The end of its body has not come.
    Late,
}

/// What a call that is over holds for as long as it stays, until this is dropped.
#[derive(Debug)]
pub(crate) struct Stay {
    room: Arc<Room>,
    over: Over,
    bytes: u64,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.room.over(self.over).used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Part {
    used: AtomicU64,
    max: u64,
}

impl Part {
    fn take(&self, bytes: u64, max: u64) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = used + bytes <= max;
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

/// What one call holds, until the last clone is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: Arc<Room>,
    kind: Kind,
    bytes: AtomicU64,
    place: Mutex<Place>,
}

/// A start that waits for a worker once it is made, for its handler.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    /// It gives the turn back then.
    pub(crate) held: Arc<Held>,
    /// When the call came: its caller's time is counted from then.
    pub(crate) came: Instant,
}

/// A call's place at the gate where starts wait.
#[derive(Debug)]
enum Place {
    /// It is no start, or one that has been inside.
    Past,
    /// It needs a turn before it goes on, and is told after so long that it gets none.
    Before(Arc<StartGate>, Duration),
    Inside(#[expect(dead_code, reason = "it is a turn for as long as it is kept")] Turn),
}

impl Room {
    /// For calls that hold so many bytes.
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        let part = |max| Part { used: AtomicU64::new(0), max };
        let over = bytes / PARTS;
        let (half, eighth) = ((bytes - over) / 2, over / 8);
        let (waiting, working, turned_away) = (part(half), part(half), part(over - 2 * eighth));
        Arc::new(Self { waiting, working, turned_away, late: part(eighth), by_anybody: part(eighth), refused: AtomicU64::new(0) })
    }

    fn part_of(&self, kind: Kind) -> &Part {
        match kind {
            Kind { by_anybody: true, .. } => &self.by_anybody,
            Kind { waits: true, .. } => &self.waiting,
            Kind { waits: false, .. } => &self.working,
        }
    }

    /// A call comes, with so many bytes of headers.
    pub(crate) fn enter(self: &Arc<Self>, kind: Kind, header_bytes: u64) -> Result<Arc<Held>, Status> {
        let bytes = CALL_BYTES + header_bytes;
        self.take(kind, bytes)?;
        Ok(Arc::new(Held { room: Arc::clone(self), kind, bytes: AtomicU64::new(bytes), place: Mutex::new(Place::Past) }))
    }

    fn take(&self, kind: Kind, bytes: u64) -> Result<(), Status> {
        let part = self.part_of(kind);
        if part.take(bytes, part.max / PARTS * (PARTS - reserve(kind))) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(status::from_refusal(Refusal::Overloaded(NO_ROOM)))
    }

    /// A call that is over stays a while and holds so many bytes. `None`: there is no room for that.
    pub(crate) fn stay(self: &Arc<Self>, over: Over, bytes: u64) -> Option<Stay> {
        let part = self.over(over);
        part.take(bytes, part.max).then(|| Stay { room: Arc::clone(self), over, bytes })
    }

    fn over(&self, over: Over) -> &Part {
        match over {
            Over::TurnedAway => &self.turned_away,
            Over::Late => &self.late,
        }
    }

    /// Calls that were refused because there was no room.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Bytes that calls hold now which wait, and which are worked on.
    pub(crate) fn used(&self) -> (u64, u64) {
        let by_anybody = self.by_anybody.used.load(Ordering::Relaxed);
        (self.waiting.used.load(Ordering::Relaxed), self.working.used.load(Ordering::Relaxed) + by_anybody)
    }

    /// Bytes that calls hold now which are over.
    pub(crate) fn used_by_over(&self) -> u64 {
        self.turned_away.used.load(Ordering::Relaxed) + self.late.used.load(Ordering::Relaxed)
    }

    /// Bytes that starts may hold that wait for their turn: a half of what starts have. So those whose message is still to come find room
    /// beside them, and who has few is not kept out by who has many.
    pub(crate) fn waiting_starts_max(&self) -> u64 {
        self.working.max / PARTS * (PARTS - reserve(Kind { class: CallClass::Start, waits: false, by_anybody: false })) / 2
    }

    /// Bytes that they may hold together.
    pub(crate) fn max(&self) -> u64 {
        self.waiting.max + self.working.max + self.turned_away.max + self.late.max + self.by_anybody.max
    }
}

/// Parts that such calls leave to others.
fn reserve(kind: Kind) -> u64 {
    if kind.by_anybody {
        return 0;
    }
    if kind.waits {
        // There are polls all the time: without a part of its own, what workers and clients ask beside them would never come in.
        return if kind.class == CallClass::Poll { 2 } else { 0 };
    }
    match kind.class {
        CallClass::Complete | CallClass::Poll => 0,
        CallClass::Start | CallClass::Advance => 2,
        CallClass::Change => 3,
        CallClass::Look | CallClass::Other | CallClass::List => 4,
    }
}

impl Held {
    /// More of the call's body has come.
    pub(crate) fn grow(&self, bytes: u64) -> Result<(), Status> {
        self.room.take(self.kind, bytes)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// What it is counted as now.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Nothing of its body is in memory any more.
    pub(crate) fn let_go_of_body(&self) {
        let before = self.bytes.load(Ordering::Relaxed);
        let kept = before.min(CALL_BYTES);
        self.bytes.store(kept, Ordering::Relaxed);
        self.room.part_of(self.kind).used.fetch_sub(before - kept, Ordering::Relaxed);
    }

    /// Once its message is there, the call has to wait for its turn at this gate, if it is a start; its caller waits for so long.
    pub(crate) fn stand_before(&self, gate: &Arc<StartGate>, timeout: Option<Duration>) {
        if self.kind.class == CallClass::Start {
            *self.place() = Place::Before(Arc::clone(gate), told_after(timeout));
        }
    }

    /// It is the start's turn.
    pub(crate) fn let_in(&self, turn: Turn) {
        *self.place() = Place::Inside(turn);
    }

    /// What the turn was for is done: the start is made, or will not be. What the call still waits for keeps nobody out.
    pub(crate) fn give_turn_back(&self) {
        if self.kind.class == CallClass::Start {
            *self.place() = Place::Past;
        }
    }

    /// Where the call has to wait for its turn, and for how long at most.
    pub(crate) fn needs_turn(&self) -> Option<(Arc<StartGate>, Duration)> {
        if self.kind.class != CallClass::Start {
            return None;
        }
        match &*self.place() {
            Place::Before(gate, wait) => Some((Arc::clone(gate), *wait)),
            Place::Past | Place::Inside(_) => None,
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that is counted as held by its call as it comes.
pub(crate) struct Counted<B> {
    inner: Pin<Box<B>>,
    held: Arc<Held>,
}

impl<B> Counted<B> {
    pub(crate) fn new(inner: B, held: &Arc<Held>) -> Self {
        Self { inner: Box::pin(inner), held: Arc::clone(held) }
    }
}

impl<B> Body for Counted<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match ready!(self.inner.as_mut().poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(frame) => frame.map_err(Into::<Self::Error>::into)?,
        };
        if let Some(data) = frame.data_ref() {
            self.held.grow(data.len() as u64)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.part_of(self.kind).used.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With room for so many calls that wait, and as many that are worked on.
    fn halves(calls: u64) -> Arc<Room> {
        Room::new((2 * calls * CALL_BYTES * PARTS).div_ceil(PARTS - 1).next_multiple_of(2 * PARTS))
    }

    const COMPLETE: Kind = Kind { class: CallClass::Complete, waits: false, by_anybody: false };
    const START: Kind = Kind { class: CallClass::Start, waits: false, by_anybody: false };
    const POLL: Kind = Kind { class: CallClass::Poll, waits: true, by_anybody: false };
    const HISTORY: Kind = Kind { class: CallClass::Change, waits: true, by_anybody: false };

    #[test]
    fn what_is_refused_holds_nothing_and_what_ends_gives_its_room_back() {
        let room = halves(16);
        let one = room.enter(START, 100).unwrap();
        one.grow(CALL_BYTES).unwrap();
        assert_eq!(room.used(), (0, 2 * CALL_BYTES + 100));
        let refused = one.grow(100 * CALL_BYTES).unwrap_err();
        assert_eq!((refused.code(), refused.message()), (tonic::Code::ResourceExhausted, NO_ROOM));
        assert_eq!(refused.metadata().get(status::CAUSE_HEADER).unwrap(), "SystemOverloaded");
        assert_eq!(room.used(), (0, 2 * CALL_BYTES + 100));
        drop(one.clone());
        assert_eq!(room.used(), (0, 2 * CALL_BYTES + 100));
        drop(one);
        assert_eq!((room.used(), room.refused()), ((0, 0), 1));
    }

    #[test]
    fn calls_that_are_over_have_a_part_of_their_own_and_give_it_back() {
        let room = Room::new(64 << 10);
        assert_eq!(room.max(), 64 << 10);
        let stays = |over| std::iter::from_fn(|| room.stay(over, 1 << 10)).collect::<Vec<_>>();
        let turned_away = stays(Over::TurnedAway);
        // Neither takes the other's.
        let late = stays(Over::Late);
        assert_eq!((turned_away.len(), late.len(), room.used_by_over()), (6, 1, 7 << 10));
        room.enter(COMPLETE, 0).unwrap();
        drop(turned_away);
        assert_eq!((room.used_by_over(), stays(Over::Late).len(), stays(Over::TurnedAway).len()), (1 << 10, 0, 6));
        drop(late);
        assert_eq!(room.used_by_over(), 0);
    }

    #[test]
    fn calls_that_anybody_may_make_keep_nobody_out_nor_are_they_kept_out() {
        let probe = Kind { by_anybody: true, ..COMPLETE };
        let room = Room::new(16 << 20);
        let all = |kind: Kind| std::iter::from_fn(|| room.enter(kind, 60 << 10).ok()).collect::<Vec<_>>();
        let probes = all(probe);
        assert!((1..=4).contains(&probes.len()), "{}", probes.len());
        let completions = all(COMPLETE);
        assert!(completions.len() > 100, "{}", completions.len());
        assert!(room.enter(COMPLETE, 60 << 10).is_err());
        drop(probes);
        assert!(room.enter(probe, 60 << 10).is_ok());
    }

    #[test]
    fn neither_polls_nor_starts_keep_completions_out() {
        let room = halves(16);
        let mut held: Vec<_> = std::iter::from_fn(|| room.enter(POLL, 0).ok()).collect();
        assert_eq!(held.len(), 12);
        let pages: Vec<_> = std::iter::from_fn(|| room.enter(HISTORY, 0).ok()).collect();
        assert_eq!(pages.len(), 4);
        drop(pages);
        let starts: Vec<_> = std::iter::from_fn(|| room.enter(START, 0).ok()).collect();
        assert_eq!(starts.len(), 12);
        let completions: Vec<_> = std::iter::from_fn(|| room.enter(COMPLETE, 0).ok()).collect();
        assert_eq!(completions.len(), 4);
        held.pop();
        room.enter(POLL, 0).unwrap();
        drop(starts);
        assert_eq!(room.used(), (11 * CALL_BYTES, 4 * CALL_BYTES));
    }
}
