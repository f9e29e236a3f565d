//! Answers that come, come late, come twice, or never.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use sempre_embedded::testing::TestEnvironment;
use sempre_patterns::callback::{Decision, Delivery, Nudge, Plan, Reply, Slot, Ticket, Vote, wait};
use temporalio_client::{
    Client, WorkflowExecuteUpdateOptions, WorkflowGetResultOptions, WorkflowHandle, WorkflowSignalOptions, WorkflowStartOptions,
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, SyncWorkflowContext, WorkerOptions, WorkflowCancellationToken, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};

use crate::life::{Lived, Outcome, QUEUE, everywhere, with_deaths};

const HOUR: Duration = Duration::from_secs(3600);

/// Letters that were sent, and tickets that were handed out.
#[derive(Clone, Default)]
struct Post {
    sent: Arc<Mutex<Vec<String>>>,
    tickets: Arc<Mutex<Vec<Ticket>>>,
}

#[activities]
impl Post {
    #[activity]
    async fn send(self: Arc<Self>, _ctx: ActivityContext, letter: String) -> Result<(), ActivityError> {
        let mut sent = self.sent.lock().unwrap();
        // Idempotent, so that a death does not count.
        if !sent.contains(&letter) {
            sent.push(letter);
        }
        Ok(())
    }

    /// Asks, and lets somebody else answer.
    #[activity]
    async fn ask(self: Arc<Self>, ctx: ActivityContext) -> Result<String, ActivityError> {
        self.tickets.lock().unwrap().push(Ticket::of(ctx.info()).expect("a workflow asks"));
        Err(ActivityError::WillCompleteAsync)
    }
}

#[workflow]
#[derive(Default)]
struct Expense {
    decision: Slot<Decision>,
}

fn plan() -> Plan {
    Plan::new(72 * HOUR).remind_every(24 * HOUR).escalate(36 * HOUR, "boss")
}

#[workflow_methods]
impl Expense {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        let decision = ctx.state(|expense| expense.decision.clone());
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
        let mail = async |letter: String| ctx.execute_activity(Post::send, letter, options.clone()).await.map(drop);
        let plan = plan();
        let reply = wait(ctx, decision.answer(ctx), &plan, async |nudge| {
            let sent = match nudge {
                Nudge::Remind(time) => mail(format!("reminder {time}")).await,
                Nudge::Escalate(to) => mail(format!("to the {to}")).await,
            };
            drop(sent);
        });
        Ok(match reply.await {
            Reply::Answered(it) => format!("{} by {}: {}", it.approved, it.by, it.why),
            Reply::Expired => "expired".into(),
            Reply::Cancelled => "cancelled".into(),
        })
    }

    #[update]
    fn decide(&mut self, ctx: &mut SyncWorkflowContext<Self>, vote: Vote) -> Result<Decision, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.decision.decide(ctx, vote)?)
    }
}

/// Waits for the completion of an activity.
#[workflow]
#[derive(Default)]
struct Webhook;

#[workflow_methods]
impl Webhook {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, deadline: Duration) -> WorkflowResult<String> {
        let token = WorkflowCancellationToken::new();
        let options = ActivityOptions::with_start_to_close_timeout(1000 * HOUR).cancellation_token(token.clone()).build();
        let asked = ctx.execute_activity(Post::ask, (), options);
        let plan = Plan::new(deadline);
        let reply = wait(ctx, asked, &plan, async |_| {}).await;
        token.cancel();
        Ok(match reply {
            Reply::Answered(answer) => answer?,
            Reply::Expired => "expired".into(),
            Reply::Cancelled => "cancelled".into(),
        })
    }
}

/// Is told by a signal.
#[workflow]
#[derive(Default)]
struct Asked {
    answer: Slot<String>,
}

#[workflow_methods]
impl Asked {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        let answer = ctx.state(|asked| asked.answer.clone());
        Ok(match wait(ctx, answer.answer(ctx), &Plan::new(HOUR), async |_| {}).await {
            Reply::Answered(answer) => answer,
            Reply::Expired => "expired".into(),
            Reply::Cancelled => "cancelled".into(),
        })
    }

    #[signal]
    fn tell(&mut self, _ctx: &mut SyncWorkflowContext<Self>, answer: String) {
        // One that comes after another changes nothing.
        drop(self.answer.give(answer));
    }
}

fn options(post: &Post) -> WorkerOptions {
    let options = WorkerOptions::new(QUEUE).max_cached_workflows(0).register_activities(post.clone());
    options.register_workflow::<Expense>().unwrap().register_workflow::<Webhook>().unwrap().register_workflow::<Asked>().unwrap().build()
}

async fn expense(test: &TestEnvironment) -> Outcome<WorkflowHandle<Client, Expense>> {
    let start = WorkflowStartOptions::new(QUEUE, "expense").build();
    test.client().start_workflow(Expense::run, (), start).await?;
    Ok(test.client().get_workflow_handle::<Expense>("expense"))
}

fn result() -> WorkflowGetResultOptions {
    WorkflowGetResultOptions::default()
}

fn vote(approved: bool, by: &str) -> Vote {
    Vote { approved, by: by.into(), why: "lunch is lunch".into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_answer_is_reminded_then_somebody_else_is_asked_then_it_expires_wherever_the_worker_dies() -> Outcome {
    let run = async |deaths: &[usize]| -> Outcome<(Vec<String>, usize)> {
        let (test, post) = (TestEnvironment::start().await?, Post::default());
        let handle = expense(&test).await?;
        let begin = test.now();
        let body = async { Ok(handle.get_result(result()).await?) };
        let Lived { value: ended, points, deaths: died } = with_deaths(&test, deaths, || options(&post), body).await?;
        assert_eq!(ended, "expired");
        assert_eq!(*post.sent.lock().unwrap(), ["reminder 1", "to the boss", "reminder 2"]);
        let lasted = test.now().duration_since(begin)?;
        assert!((72 * HOUR..73 * HOUR).contains(&lasted), "{lasted:?}");
        test.shutdown().await;
        Ok((points, died))
    };
    let (points, _) = run(&[]).await?;
    let died = everywhere(&points, async |point| Ok(run(&[point]).await?.1 == 1)).await?;
    println!("{died} deaths at {} points", points.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_vote_counts_with_who_when_and_why_and_may_be_sent_again() -> Outcome {
    let (test, post) = (TestEnvironment::start().await?, Post::default());
    let handle = expense(&test).await?;
    let decide = async |vote| handle.execute_update(Expense::decide, vote, WorkflowExecuteUpdateOptions::default()).await;
    let body = async {
        test.sleep(30 * HOUR).await;
        // A client that waits for an update lets time go.
        test.set_auto_skip(false);
        let before = test.now();
        let decided = decide(vote(true, "ann")).await?;
        assert_eq!((decided.approved, decided.by.as_str(), decided.why.as_str()), (true, "ann", "lunch is lunch"));
        let at = decided.at.expect("the workflow has a time");
        assert!(at >= before && at <= test.now(), "{at:?}");
        Ok(handle.get_result(result()).await?)
    };
    let Lived { value: ended, .. } = with_deaths(&test, &[], || options(&post), body).await?;
    assert_eq!(ended, "true by ann: lunch is lunch");
    assert_eq!(*post.sent.lock().unwrap(), ["reminder 1"]);
    test.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_is_delivered_twice_or_late_or_for_nothing_is_harmless() -> Outcome {
    let (test, post) = (TestEnvironment::start().await?, Post::default());
    let start = async |id: &str, deadline| -> Outcome<WorkflowHandle<Client, Webhook>> {
        test.client().start_workflow(Webhook::run, deadline, WorkflowStartOptions::new(QUEUE, id).build()).await?;
        Ok(test.client().get_workflow_handle::<Webhook>(id))
    };
    let ticket = async |count: usize| {
        while post.tickets.lock().unwrap().len() < count {
            tokio::task::yield_now().await;
        }
        post.tickets.lock().unwrap()[count - 1].to_string().parse::<Ticket>().unwrap()
    };
    let body = async {
        let handle = start("hook", 72 * HOUR).await?;
        let first = ticket(1).await;
        assert_eq!(first.complete(test.client(), "paid".to_owned()).await?, Delivery::Taken);
        assert_eq!(first.complete(test.client(), "paid".to_owned()).await?, Delivery::NotAwaited);
        assert_eq!(handle.get_result(result()).await?, "paid");
        assert_eq!(first.complete(test.client(), "refused".to_owned()).await?, Delivery::NotAwaited);

        let handle = start("late", HOUR).await?;
        let second = ticket(2).await;
        // An activity that is running holds virtual time.
        test.advance(2 * HOUR);
        assert_eq!(handle.get_result(result()).await?, "expired");
        assert_eq!(second.complete(test.client(), "paid".to_owned()).await?, Delivery::NotAwaited);
        let nobody: Ticket = "nobody.01900000-0000-7000-8000-000000000000.1".parse()?;
        assert_eq!(nobody.complete(test.client(), "paid".to_owned()).await?, Delivery::NotAwaited);
        Ok(())
    };
    with_deaths(&test, &[], || options(&post), body).await?;
    test.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cancelled_waits_no_more() -> Outcome {
    let (test, post) = (TestEnvironment::start().await?, Post::default());
    let options_of = |id: &str| WorkflowStartOptions::new(QUEUE, id).build();
    let begin = test.now();
    let body = async {
        let asked = test.client().start_workflow(Asked::run, (), options_of("asked")).await?;
        test.idle().await;
        let hook = test.client().start_workflow(Webhook::run, 72 * HOUR, options_of("hook")).await?;
        // Both wait now: for a signal, and for the completion of an activity.
        while post.tickets.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        asked.cancel(Default::default()).await?;
        hook.cancel(Default::default()).await?;
        Ok((asked.get_result(result()).await?, hook.get_result(result()).await?))
    };
    let Lived { value: ended, .. } = with_deaths(&test, &[], || options(&post), body).await?;
    assert_eq!(ended, ("cancelled".to_owned(), "cancelled".to_owned()));
    let lasted = test.now().duration_since(begin)?;
    assert!(lasted < HOUR, "no deadline was met: {lasted:?}");
    test.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_signal_is_the_answer_and_one_that_nobody_sends_expires() -> Outcome {
    let (test, post) = (TestEnvironment::start().await?, Post::default());
    let start = async |id: &str| test.client().start_workflow(Asked::run, (), WorkflowStartOptions::new(QUEUE, id).build()).await;
    let body = async {
        let told = start("told").await?;
        for answer in ["yes", "no"] {
            told.signal(Asked::tell, answer.to_owned(), WorkflowSignalOptions::default()).await?;
        }
        assert_eq!(told.get_result(result()).await?, "yes");
        assert_eq!(start("forgotten").await?.get_result(result()).await?, "expired");
        Ok(())
    };
    with_deaths(&test, &[], || options(&post), body).await?;
    test.shutdown().await;
    Ok(())
}
