//! Calls from clients to the server, over a network that loses, doubles and delays.

use std::sync::Arc;

use futures::{
    FutureExt,
    future::{self, AbortHandle, Abortable, BoxFuture, Either},
};
use sempre_core::{Refusal, Span};
use sempre_engine::Engine;
use tokio::sync::oneshot;

use crate::{
    nodes,
    random::Random,
    world::{World, lock},
};

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
    let pause = |random: &mut Random| {
        let longest = if random.permille(net.late) { 4_000_000 } else { 800 };
        Span(random.between(1, longest) as i64 * 1000)
    };
    let there = pause(random);
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
        let late = pause(random);
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
    let back = pause(random);
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
