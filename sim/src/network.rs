//! Calls from clients to the server, over a network that loses, doubles and delays; and what the engines of several nodes have each other do.

use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{self, AbortHandle, Abortable, BoxFuture, Either},
};
use sempre_core::{Refusal, Span};
use sempre_engine::{Engine, Peers, Sent};
use tokio::sync::oneshot;

use crate::{
    nodes,
    plan::NetFaults,
    random::Random,
    world::{World, lock},
};

impl NetFaults {
    /// How long something takes from here to there.
    fn pause(&self, random: &mut Random) -> Span {
        let longest = if random.permille(self.late) { 4_000_000 } else { 800 };
        Span(random.between(1, longest) as i64 * 1000)
    }
}

/// What a caller learns.
#[derive(Debug)]
pub enum Answer<T> {
    /// Done, and durable.
    Done(T),
    /// The server's no.
    Refused(Refusal),
    /// No answer: it may have been done or not, or may still be.
    Unknown,
}

/// Looks at an answer at the moment it leaves the server.
pub type Look<T> = Arc<dyn Fn(&T) -> Option<String> + Send + Sync>;

/// One call.
pub struct Call<T> {
    /// For the trace.
    pub name: &'static str,
    /// What the server does.
    pub run: Arc<dyn Fn(Engine) -> BoxFuture<'static, Result<T, Refusal>> + Send + Sync>,
    /// What must hold when the answer leaves: what justifies it is durable.
    pub look: Look<T>,
    /// It may arrive twice.
    pub may_double: bool,
    /// How long the caller waits.
    pub patience: Span,
}

impl<T: Send + 'static> Call<T> {
    /// A call that nothing is known of when its answer leaves.
    pub fn new<F, R>(name: &'static str, run: F) -> Self
    where
        F: Fn(Engine) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, Refusal>> + Send + 'static,
    {
        let run = Arc::new(move |engine: Engine| run(engine).boxed());
        Self { name, run, look: Arc::new(|_| None), may_double: true, patience: Span::seconds(10) }
    }

    /// With a look.
    #[must_use]
    pub fn looked(mut self, look: impl Fn(&T) -> Option<String> + Send + Sync + 'static) -> Self {
        self.look = Arc::new(look);
        self
    }

    /// A poll: never doubled, and waited for.
    #[must_use]
    pub fn poll(mut self) -> Self {
        self.may_double = false;
        self.patience = Span::seconds(70);
        self
    }
}

/// A caller that goes, by its own will or by its death, takes the handler of its call with it.
struct HangsUp(AbortHandle);

impl Drop for HangsUp {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes a call.
pub async fn call<T: Send + 'static>(world: &Arc<World>, random: &mut Random, call: Call<T>) -> Answer<T> {
    let net = if world.is_healed() { Default::default() } else { world.plan.net.clone() };
    lock(&world.oracle).calls += 1;
    let there = net.pause(random);
    world.time.sleep(there).await;
    let unknown = |why: &str| {
        lock(&world.oracle).unknown += 1;
        world.tell(format_args!("{}: {why}", call.name));
        Answer::Unknown
    };
    if random.permille(net.request_lost) {
        world.time.sleep(Span::seconds(1)).await;
        return unknown("request lost");
    }
    let Some(process) = nodes::reached(world, random) else {
        world.time.sleep(Span::millis(random.between(1, 500) as i64)).await;
        return unknown("no server");
    };
    let (reply, answer) = oneshot::channel();
    let serve = |reply: Option<oneshot::Sender<Result<T, Refusal>>>, late: Option<Span>| {
        let (run, look, engine, world) = (call.run.clone(), call.look.clone(), process.engine.clone(), world.clone());
        let name = call.name;
        async move {
            if let Some(late) = late {
                world.time.sleep(late).await;
            }
            world.tell(format_args!("{name}: begins"));
            let mut result = run(engine).await;
            if let Err(Refusal::Elsewhere { shard }) = result
                && let Some(owner) = nodes::owner(&world, shard)
            {
                world.tell(format_args!("{name}: is sent on to process {}", owner.group));
                result = run(owner.engine).await;
            }
            world.tell(format_args!("{name}: {}", if result.is_ok() { "is done" } else { "is refused" }));
            if let Ok(done) = &result
                && let Some(violation) = look(done)
            {
                world.violation(format!("{name} was answered too early: {violation}"));
            }
            if let Some(reply) = reply {
                // The caller may have gone.
                let _ = reply.send(result);
            }
        }
    };
    if call.may_double && random.permille(net.doubled) {
        let late = net.pause(random);
        world.tell(format_args!("{}: doubled", call.name));
        world.executor.spawn(process.group, "doubled call", serve(None, Some(late)).boxed());
    }
    let patience = if random.permille(net.hangs_up) { Span(random.below(3_000_000) as i64 * 1000) } else { call.patience };
    let (hang_up, registration) = AbortHandle::new_pair();
    let _hangs_up = HangsUp(hang_up);
    let handler = Abortable::new(serve(Some(reply), None), registration).map(drop);
    world.executor.spawn(process.group, call.name, handler.boxed());
    let result = match future::select(answer, world.time.sleep(patience)).await {
        Either::Left((Ok(result), _)) => result,
        Either::Left((Err(_), _)) => return unknown("connection lost"),
        Either::Right(_) => return unknown("hung up"),
    };
    let back = net.pause(random);
    world.time.sleep(back).await;
    if random.permille(net.answer_lost) {
        return unknown("answer lost");
    }
    match result {
        Ok(done) => Answer::Done(done),
        Err(refusal) => {
            world.tell(format_args!("{}: {refusal:?}", call.name));
            Answer::Refused(refusal)
        }
    }
}

/// How a node's engine reaches the others: the network does to that what it does to calls, but for doubling it.
pub struct Post {
    world: Weak<World>,
    random: Mutex<Random>,
}

/// How long an answer of another node is waited for: then its connections are given up.
const ANSWER_MAX: Span = Span::seconds(4);

impl Post {
    /// With draws of its own.
    #[must_use]
    pub fn new(world: &Arc<World>, random: Random) -> Self {
        Self { world: Arc::downgrade(world), random: Mutex::new(random) }
    }
}

impl Peers for Post {
    fn deliver(&self, shard: u32, message: Bytes) -> BoxFuture<'static, Sent> {
        let Some(world) = self.world.upgrade() else { return future::ready(Sent::Lost).boxed() };
        // One stream each: how long one takes does not shift the draws of the next.
        let random = Random::new(lock(&self.random).any(), 0);
        send(world, random, shard, message).boxed()
    }
}

async fn send(world: Arc<World>, mut random: Random, shard: u32, message: Bytes) -> Sent {
    let net = if world.is_healed() { Default::default() } else { world.plan.net.clone() };
    let random = &mut random;
    world.time.sleep(net.pause(random)).await;
    if random.permille(net.request_lost) {
        world.tell(format_args!("a message for shard {shard} is lost"));
        world.time.sleep(ANSWER_MAX).await;
        return Sent::Lost;
    }
    let Some(process) = nodes::owner(&world, shard) else { return Sent::Elsewhere };
    let (reply, answer) = oneshot::channel();
    let engine = process.engine.clone();
    let receive = async move {
        // The sender may have gone.
        let _ = reply.send(engine.receive(shard, message).await);
    };
    let (hang_up, registration) = AbortHandle::new_pair();
    let hangs_up = HangsUp(hang_up);
    world.executor.spawn(process.group, "message of a node", Abortable::new(receive, registration).map(drop).boxed());
    let told = match future::select(answer, world.time.sleep(ANSWER_MAX)).await {
        Either::Left((Ok(told), _)) => told,
        Either::Left((Err(_), _)) => return Sent::Lost,
        Either::Right(_) => {
            // It may be done yet, whatever the sender thinks.
            std::mem::forget(hangs_up);
            return Sent::Lost;
        }
    };
    world.time.sleep(net.pause(random)).await;
    match told {
        None => Sent::Elsewhere,
        Some(_) if random.permille(net.answer_lost) => {
            world.tell(format_args!("the answer to a message for shard {shard} is lost"));
            Sent::Lost
        }
        Some(answer) => Sent::Answered(answer),
    }
}
