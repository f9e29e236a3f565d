//! Entities whose worker dies between any two events, in every run of the chain.

use std::{num::NonZeroU32, time::Duration};

use sempre_embedded::{Sempre, testing::TestEnvironment};
use sempre_patterns::entity::{Carried, Entity, EntityOptions, Message, Snapshot};
use serde::{Deserialize, Serialize};
use temporalio_client::{
    Client, WorkflowExecuteUpdateOptions, WorkflowFetchHistoryOptions, WorkflowGetResultOptions, WorkflowHandle, WorkflowQueryOptions,
    WorkflowSignalOptions, WorkflowStartOptions, WorkflowStartUpdateOptions, errors::WorkflowGetResultError,
};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    SyncWorkflowContext, WorkerOptions, WorkflowContext, WorkflowContextView, WorkflowResult,
    workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions},
};

use crate::life::{Lived, Outcome, QUEUE, everywhere, half_came_about, with_deaths};

const HOUR: Duration = Duration::from_secs(3600);
const PER_RUN: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// Every message that had its effect, in order; and how to live.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    pub(crate) lines: Vec<String>,
    pub(crate) idle: Option<Duration>,
    /// How long [`Scribe::ponder`] takes.
    pub(crate) pause: Duration,
    /// Messages a run, if not [`PER_RUN`].
    pub(crate) per_run: Option<NonZeroU32>,
}

#[workflow]
pub struct Scribe {
    entity: Entity<Book>,
}

#[workflow_methods]
impl Scribe {
    #[init]
    fn new(_ctx: &WorkflowContextView, carried: Carried<Book>) -> Self {
        Self { entity: Entity::new(carried) }
    }

    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Book> {
        let entity = ctx.state(|scribe| scribe.entity.clone());
        let (idle, per_run) = entity.look(|book| (book.idle, book.per_run));
        entity.live(ctx, EntityOptions { messages_per_run: per_run.unwrap_or(PER_RUN), idle, ..EntityOptions::default() }).await
    }

    #[signal]
    fn note(&mut self, _ctx: &mut SyncWorkflowContext<Self>, message: Message<String>) {
        self.entity.once(message, |book, line| book.lines.push(line));
    }

    /// Says which line it is.
    #[update]
    fn write(&mut self, _ctx: &mut SyncWorkflowContext<Self>, message: Message<String>) -> usize {
        self.entity.once(message, |book, line| {
            book.lines.push(line);
            book.lines.len()
        })
    }

    /// Takes its time: waits for a while between begin and end.
    #[update]
    async fn ponder(ctx: &mut WorkflowContext<Self>, message: Message<String>) -> usize {
        let pause = ctx.state(|scribe| scribe.entity.look(|book| book.pause));
        ctx.timer(pause).await;
        ctx.state_mut(|scribe| {
            scribe.entity.once(message, |book, line| {
                book.lines.push(line);
                book.lines.len()
            })
        })
    }

    #[update]
    pub fn close(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.entity.close();
    }

    #[query]
    fn snapshot(&self, _ctx: &WorkflowContextView) -> Snapshot<Book> {
        self.entity.snapshot()
    }
}

fn options() -> WorkerOptions {
    WorkerOptions::new(QUEUE).max_cached_workflows(0).register_workflow::<Scribe>().unwrap().build()
}

async fn start(test: &TestEnvironment, idle: Option<Duration>) -> Outcome<WorkflowHandle<Client, Scribe>> {
    start_with(test, Book { idle, pause: Duration::from_secs(5), ..Book::default() }).await
}

async fn start_with(test: &TestEnvironment, book: Book) -> Outcome<WorkflowHandle<Client, Scribe>> {
    let options = WorkflowStartOptions::new(QUEUE, "book").build();
    test.client().start_workflow(Scribe::run, book.into(), options).await?;
    // Of whichever run is the current one.
    Ok(test.client().get_workflow_handle::<Scribe>("book"))
}

fn line(n: usize) -> Message<String> {
    Message::new(format!("id {n}"), format!("line {n}"))
}

async fn update(handle: &WorkflowHandle<Client, Scribe>, n: usize) -> usize {
    send(handle, n, n % 4 == 2).await
}

async fn send(handle: &WorkflowHandle<Client, Scribe>, n: usize, ponders: bool) -> usize {
    // A run that continues as new while an update waits tells it to come again: it does, with the same id.
    for _ in 0..100 {
        let answer = match ponders {
            true => handle.execute_update(Scribe::ponder, line(n), WorkflowExecuteUpdateOptions::default()).await,
            false => handle.execute_update(Scribe::write, line(n), WorkflowExecuteUpdateOptions::default()).await,
        };
        match answer {
            Ok(line) => return line,
            Err(error) => println!("line {n} again: {error}"),
        }
    }
    panic!("line {n} is never written");
}

const LINES: usize = 10;

/// What the book has in the end.
pub(crate) fn lines() -> Vec<String> {
    (0..LINES).map(|n| format!("line {n}")).collect()
}

/// Dictates, closes, gives the book.
async fn dictate_and_close(handle: &WorkflowHandle<Client, Scribe>) -> Outcome<Book> {
    dictate(handle).await?;
    handle.execute_update(Scribe::close, (), WorkflowExecuteUpdateOptions::default()).await?;
    Ok(handle.get_result(WorkflowGetResultOptions::default()).await?)
}

/// Sends lines, some as signals, some as updates, some twice.
pub(crate) async fn dictate(handle: &WorkflowHandle<Client, Scribe>) -> Outcome {
    for n in 0..LINES {
        if n % 2 == 0 && n % 4 != 2 {
            handle.signal(Scribe::note, line(n), WorkflowSignalOptions::default()).await?;
            handle.signal(Scribe::note, line(n), WorkflowSignalOptions::default()).await?;
        } else {
            assert_eq!(update(handle, n).await, n + 1);
            // The answer got lost, so to speak: the client asks again, later and in a later run.
            if n >= 3 {
                let again = n - 2 - (1 - n % 2);
                assert_eq!(update(handle, again).await, again + 1);
            }
        }
    }
    Ok(())
}

/// Runs of the chain, the last first, each replayed by the official replayer; how many events each has.
pub(crate) async fn chain(handle: &WorkflowHandle<Client, Scribe>, client: &Client) -> Outcome<Vec<usize>> {
    let mut lengths = Vec::new();
    let mut run: Option<String> = None;
    loop {
        let mut info = handle.info().clone();
        info.run_id = run.clone();
        let of_run = WorkflowHandle::<Client, Scribe>::new(client.clone(), info);
        let history = || of_run.fetch_history(WorkflowFetchHistoryOptions::default());
        WorkflowReplayer::new(WorkflowReplayerOptions::new().register_workflow::<Scribe>()?.build())?.replay_workflow(history()).await?;
        let events = history().into_events().await?;
        lengths.push(events.len());
        match &events[0].attributes {
            Some(Attributes::WorkflowExecutionStartedEventAttributes(it)) if !it.continued_execution_run_id.is_empty() => {
                run = Some(it.continued_execution_run_id.clone());
            }
            _ => return Ok(lengths),
        }
    }
}

/// Lengths of the chain's runs, points, and how many workers died.
async fn run(deaths: &[usize]) -> Outcome<(Vec<usize>, Vec<String>, usize)> {
    let test = TestEnvironment::start().await?;
    let handle = start(&test, None).await?;
    let Lived { value: book, points, deaths: died } = with_deaths(&test, deaths, options, dictate_and_close(&handle)).await?;
    assert_eq!(book.lines, lines());
    let lengths = chain(&handle, test.client()).await?;
    test.shutdown().await;
    Ok((lengths, points, died))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_lost_or_applied_twice_wherever_the_worker_dies() -> Outcome {
    let (lengths, points, _) = run(&[]).await?;
    assert!(lengths.len() >= 3, "{lengths:?}");
    let died = everywhere(&points, async |point| Ok(run(&[point]).await?.2 == 1)).await?;
    let (mut pairs, mut both) = (0, 0);
    for point in (0..points.len()).step_by(4) {
        let twice = run(&[point, point / 2]).await.map_err(|error| format!("deaths at {point}, {}: {error}", point / 2))?.2;
        (pairs, both) = (pairs + 1, both + usize::from(twice == 2));
    }
    // Where the first died late, what is left has not so many points that the second dies too.
    half_came_about(both, pairs, "pairs of deaths");
    println!("runs of {lengths:?} events, {died} deaths at {} points, {both} of {pairs} pairs of them", points.len());
    Ok(())
}

/// Many talk at once, so that messages arrive while a run continues as new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_lost_or_applied_twice_when_many_talk_at_once() -> Outcome {
    const TALKERS: usize = 6;
    const EACH: usize = 6;
    let run = async |deaths: &[usize]| -> Outcome<(Vec<String>, usize)> {
        let test = TestEnvironment::start().await?;
        let handle = start(&test, None).await?;
        let talk = async |talker: usize| -> Outcome {
            for n in (0..EACH).map(|n| n * TALKERS + talker) {
                match n % 3 {
                    0 => handle.signal(Scribe::note, line(n), WorkflowSignalOptions::default()).await?,
                    _ => drop(send(&handle, n, n % 12 == 1).await),
                }
            }
            Ok(())
        };
        let body = async {
            futures::future::try_join_all((0..TALKERS).map(talk)).await?;
            handle.execute_update(Scribe::close, (), WorkflowExecuteUpdateOptions::default()).await?;
            Ok(handle.get_result(WorkflowGetResultOptions::default()).await?)
        };
        let Lived { value: mut book, points, deaths: died } = with_deaths(&test, deaths, options, body).await?;
        book.lines.sort();
        let mut all: Vec<_> = (0..TALKERS * EACH).map(|n| format!("line {n}")).collect();
        all.sort();
        assert_eq!(book.lines, all, "deaths at {deaths:?}");
        let lengths = chain(&handle, test.client()).await?;
        assert!(lengths.len() > 2, "{lengths:?}");
        test.shutdown().await;
        Ok((points, died))
    };
    let (points, _) = run(&[]).await?;
    let died = everywhere(&points, async |point| Ok(run(&[point]).await?.1 == 1)).await?;
    println!("{died} deaths at {} points", points.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_entity_ends_with_its_state_and_a_message_keeps_it_alive() -> Outcome {
    let test = TestEnvironment::start().await?;
    let handle = start(&test, Some(10 * HOUR)).await?;
    let begin = test.now();
    let body = async {
        for n in 0..3 {
            test.sleep(6 * HOUR).await;
            handle.signal(Scribe::note, line(n), WorkflowSignalOptions::default()).await?;
        }
        test.idle().await;
        let snapshot = handle.query(Scribe::snapshot, (), WorkflowQueryOptions::default()).await?;
        assert_eq!((snapshot.messages, snapshot.messages_of_run, snapshot.closing), (3, 3, false));
        Ok(handle.get_result(WorkflowGetResultOptions::default()).await?)
    };
    let Lived { value: book, .. } = with_deaths(&test, &[], options, body).await?;
    assert_eq!(book.lines.len(), 3);
    let lived = test.now().duration_since(begin)?;
    assert!((28 * HOUR..28 * HOUR + HOUR / 10).contains(&lived), "{lived:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_entity_answers_what_it_has_begun_and_leaves_its_state() -> Outcome {
    let test = TestEnvironment::start().await?;
    let handle = start(&test, None).await?;
    let body = async {
        assert_eq!(update(&handle, 1).await, 1);
        let ponders = update(&handle, 2);
        let cancels = async {
            test.idle().await;
            handle.cancel(Default::default()).await
        };
        // Time is let go by the update that waits, once it has begun; it may be over before the cancellation.
        let (line, cancelled) = tokio::join!(ponders, cancels);
        cancelled?;
        assert_eq!(line, 2);
        Ok(handle.get_result(WorkflowGetResultOptions::default()).await)
    };
    let Lived { value: ended, .. } = with_deaths(&test, &[], options, body).await?;
    let Err(WorkflowGetResultError::Cancelled { details }) = ended else { panic!("{ended:?}") };
    assert_eq!(details.deserialize::<Book>()?.lines, ["line 1", "line 2"]);
    Ok(())
}

/// Three lines, one that takes its time, and a fifth: it is time for the next run, which waits for the one under way. Then `ends` has the
/// entity end, and time goes on. Gives how the first run ended, and how many runs there are.
async fn ends_while_it_waits_to_go_on(
    ends: impl AsyncFn(&WorkflowHandle<Client, Scribe>) -> Outcome,
) -> Outcome<(Result<Book, WorkflowGetResultError>, usize)> {
    let test = TestEnvironment::start().await?;
    let handle = start_with(&test, Book { pause: HOUR, ..Book::default() }).await?;
    let first = handle.describe(Default::default()).await?.run_id().to_owned();
    let body = async {
        // Who waits for the answer of an update lets time go, and the one under way would be over.
        test.set_auto_skip(false);
        for n in [0, 1, 3] {
            send(&handle, n, false).await;
        }
        let ponders = handle.start_update(Scribe::ponder, line(4), WorkflowStartUpdateOptions::default()).await?;
        assert_eq!(send(&handle, 5, false).await, 4);
        ends(&handle).await?;
        test.idle().await;
        test.unlock()?;
        assert_eq!(ponders.get_result(Default::default()).await?, 5);
        // Of the first run: the next one, if there were one, would have heard of nothing, and never end.
        let mut info = handle.info().clone();
        info.run_id = Some(first);
        let first = WorkflowHandle::<Client, Scribe>::new(test.client().clone(), info);
        Ok(first.get_result(WorkflowGetResultOptions::builder().follow_runs(false).build()).await)
    };
    let Lived { value: ended, .. } = with_deaths(&test, &[], options, body).await?;
    let runs = chain(&handle, test.client()).await?.len();
    test.shutdown().await;
    Ok((ended, runs))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entity_that_is_closed_while_it_waits_to_go_on_as_a_new_run_ends() -> Outcome {
    let closes = async |handle: &WorkflowHandle<Client, Scribe>| -> Outcome {
        handle.execute_update(Scribe::close, (), WorkflowExecuteUpdateOptions::default()).await?;
        Ok(())
    };
    let (ended, runs) = ends_while_it_waits_to_go_on(closes).await?;
    assert_eq!(ended?.lines, ["line 0", "line 1", "line 3", "line 5", "line 4"]);
    assert_eq!(runs, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entity_that_is_cancelled_while_it_waits_to_go_on_as_a_new_run_is_cancelled() -> Outcome {
    let cancels = async |handle: &WorkflowHandle<Client, Scribe>| -> Outcome { Ok(handle.cancel(Default::default()).await?) };
    let (ended, runs) = ends_while_it_waits_to_go_on(cancels).await?;
    let Err(WorkflowGetResultError::Cancelled { details }) = ended else { panic!("{ended:?}") };
    assert_eq!(details.deserialize::<Book>()?.lines, ["line 0", "line 1", "line 3", "line 5", "line 4"]);
    assert_eq!(runs, 1);
    Ok(())
}

/// How many messages would be too many is far away here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entity_goes_on_as_a_new_run_when_the_server_suggests_it() -> Outcome {
    const SUGGESTED: i64 = 40;
    const SENT: usize = 30;
    let server = Sempre::builder().engine(|engine| engine.limits.history_count_suggest = SUGGESTED);
    let test = TestEnvironment::start_with(server).await?;
    let handle = start_with(&test, Book { per_run: NonZeroU32::new(1000), ..Book::default() }).await?;
    let body = async {
        for n in 0..SENT {
            assert_eq!(send(&handle, n, false).await, n + 1);
        }
        let snapshot = handle.query(Scribe::snapshot, (), WorkflowQueryOptions::default()).await?;
        handle.execute_update(Scribe::close, (), WorkflowExecuteUpdateOptions::default()).await?;
        Ok((snapshot, handle.get_result(WorkflowGetResultOptions::default()).await?))
    };
    let Lived { value: (snapshot, book), .. } = with_deaths(&test, &[], options, body).await?;
    assert_eq!(book.lines, (0..SENT).map(|n| format!("line {n}")).collect::<Vec<_>>());
    assert_eq!(snapshot.messages, 30);
    assert!(snapshot.messages_of_run < 30, "{snapshot:?}");
    let lengths = chain(&handle, test.client()).await?;
    println!("runs of {lengths:?} events");
    // A message is five events: 30 of them are 150, and none of the runs has many more than is suggested.
    assert!(lengths.len() >= 3 && lengths.iter().all(|length| *length < 60), "{lengths:?}");
    test.shutdown().await;
    Ok(())
}
