//! Time that passes only when the simulator says so. The server's clock may be ahead of the world's, and may be set.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures::{FutureExt, future::BoxFuture};
use sempre_core::{Span, Timestamp};
use sempre_engine::Clock;

/// Time of the world when it begins, ms.
const BEGIN_MS: i64 = 1_700_000_000_000;

/// Whose time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    World,
    Server,
}

#[derive(Default)]
struct State {
    now: i64,
    /// How far the server's clock is ahead.
    ahead: i64,
    /// Sleepers by their own time.
    world: BTreeMap<(i64, u64), Waker>,
    server: BTreeMap<(i64, u64), Waker>,
    next: u64,
}

impl State {
    fn now(&self, whose: Whose) -> i64 {
        match whose {
            Whose::World => self.now,
            Whose::Server => self.now + self.ahead,
        }
    }

    fn sleepers(&mut self, whose: Whose) -> &mut BTreeMap<(i64, u64), Waker> {
        match whose {
            Whose::World => &mut self.world,
            Whose::Server => &mut self.server,
        }
    }

    fn take_due(&mut self, whose: Whose, due: &mut Vec<Waker>) {
        let now = self.now(whose);
        let sleepers = self.sleepers(whose);
        while let Some(first) = sleepers.first_entry().filter(|first| first.key().0 <= now) {
            due.push(first.remove());
        }
    }
}

/// See the module. Clones are the same time.
#[derive(Clone)]
pub struct Time {
    state: Arc<Mutex<State>>,
}

impl Default for Time {
    fn default() -> Self {
        Self { state: Arc::new(Mutex::new(State { now: Timestamp::from_millis(BEGIN_MS).0, ..State::default() })) }
    }
}

impl Time {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world's time.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.state().now
    }

    /// As the server has it, ns since 1970.
    #[must_use]
    pub fn server_now(&self) -> i64 {
        self.state().now(Whose::Server)
    }

    /// How long the world has been, ns.
    #[must_use]
    pub fn since_begin(&self) -> i64 {
        self.now() - Timestamp::from_millis(BEGIN_MS).0
    }

    /// Lets time pass.
    pub fn pass(&self, span: Span) {
        let mut due = Vec::new();
        {
            let mut state = self.state();
            state.now += span.0;
            state.take_due(Whose::World, &mut due);
            state.take_due(Whose::Server, &mut due);
        }
        due.into_iter().for_each(Waker::wake);
    }

    /// Sets the server's clock: forward at any time, back only while no server runs.
    pub fn set_ahead(&self, change: Span) {
        let mut due = Vec::new();
        {
            let mut state = self.state();
            state.ahead += change.0;
            state.take_due(Whose::Server, &mut due);
        }
        due.into_iter().for_each(Waker::wake);
    }

    /// Time until the next sleeper wakes.
    #[must_use]
    pub fn until_next(&self) -> Option<Span> {
        let state = self.state();
        let world = state.world.keys().next().map(|(at, _)| at - state.now);
        let server = state.server.keys().next().map(|(at, _)| at - state.now - state.ahead);
        let next = match (world, server) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        next.map(|wait| Span(wait.max(0)))
    }

    /// Resolves when the world's time has passed by `span`.
    pub fn sleep(&self, span: Span) -> BoxFuture<'static, ()> {
        Sleep { time: self.clone(), whose: Whose::World, at: self.now() + span.0, place: None }.boxed()
    }

    /// A time of the server's clock that is `span` away.
    #[must_use]
    pub fn server_deadline(&self, span: Span) -> Timestamp {
        Timestamp(self.state().now(Whose::Server)) + span
    }

    /// The clock that the server reads.
    #[must_use]
    pub fn server_clock(&self) -> ServerClock {
        ServerClock(self.clone())
    }
}

/// See [`Time::server_clock`].
pub struct ServerClock(Time);

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.state().now(Whose::Server))
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        Sleep { time: self.0.clone(), whose: Whose::Server, at: at.0, place: None }.boxed()
    }
}

struct Sleep {
    time: Time,
    whose: Whose,
    at: i64,
    place: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let time = self.time.clone();
        let mut state = time.state();
        let (whose, at) = (self.whose, self.at);
        if let Some(place) = self.place.take() {
            state.sleepers(whose).remove(&(at, place));
        }
        if state.now(whose) >= at {
            return Poll::Ready(());
        }
        state.next += 1;
        let place = state.next;
        state.sleepers(whose).insert((at, place), context.waker().clone());
        self.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let (whose, at) = (self.whose, self.at);
            let removed = self.time.state().sleepers(whose).remove(&(at, place));
            // Outside of the lock: a waker may own what sleeps.
            drop(removed);
        }
    }
}
