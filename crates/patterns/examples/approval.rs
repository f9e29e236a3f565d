//! An expense that a person approves and a bank pays: reminders, escalation, a vote; then a webhook that is delivered three times.
//!
//! `cargo run --release -p sempre-patterns --example approval`
#![allow(clippy::disallowed_methods, reason = "a program for a terminal")]
#![allow(missing_docs, reason = "the macros of the SDK make public items for each workflow and activity")]

mod stage;

use std::{error::Error, process::ExitCode, sync::Arc, time::Duration};

use sempre_patterns::callback::{Decision, Delivery, Nudge, Plan, Reply, Slot, Ticket, Vote, wait};
use stage::{Outcome, tell};
use temporalio_client::{Client, WorkflowExecuteUpdateOptions, WorkflowGetResultOptions, WorkflowStartOptions};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, SyncWorkflowContext, WorkerOptions, WorkflowCancellationToken, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const QUEUE: &str = "expenses";
/// A day of this story.
const DAY: Duration = Duration::from_millis(300);
/// More than the head of a request here can have.
const REQUEST_BYTES_MAX: usize = 8192;

/// Letters to people, and the bank.
struct World {
    letters: mpsc::UnboundedSender<String>,
    /// The bank's inbox: tickets of payments it was asked for.
    payments: mpsc::UnboundedSender<Ticket>,
}

#[activities]
impl World {
    #[activity]
    async fn write(self: Arc<Self>, _ctx: ActivityContext, letter: String) -> Result<(), ActivityError> {
        println!("  letter: {letter}");
        Ok(self.letters.send(letter)?)
    }

    /// Asks the bank to pay; it calls back some time.
    #[activity]
    async fn pay(self: Arc<Self>, ctx: ActivityContext) -> Result<String, ActivityError> {
        let ticket = Ticket::of(ctx.info()).ok_or_else(|| ActivityError::application(ApplicationFailure::new("no workflow asks")))?;
        println!("  to the bank: pay, and call POST /paid/{ticket}");
        self.payments.send(ticket)?;
        Err(ActivityError::WillCompleteAsync)
    }
}

#[workflow]
#[derive(Default)]
struct Expense {
    decision: Slot<Decision>,
}

#[workflow_methods]
impl Expense {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, approver: String) -> WorkflowResult<String> {
        let decision = ctx.state(|expense| expense.decision.clone());
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
        // A letter that cannot be sent must not keep the answer from counting.
        let write = async |letter| drop(ctx.execute_activity(World::write, letter, options.clone()).await);
        write(format!("{approver}, please approve")).await;
        let plan = Plan::new(5 * DAY).remind_every(DAY).escalate(2 * DAY, "the boss");
        let reply = wait(ctx, decision.answer(ctx), &plan, async |nudge| match nudge {
            Nudge::Remind(time) => write(format!("{approver}, reminder {time}")).await,
            Nudge::Escalate(to) => write(format!("{to}, {approver} does not answer: please approve")).await,
        });
        let decision = match reply.await {
            Reply::Answered(decision) if decision.approved => decision,
            Reply::Answered(decision) => return Ok(format!("refused by {}: {}", decision.by, decision.why)),
            Reply::Expired => return Ok("nobody answered".into()),
            Reply::Cancelled => return Ok("taken back".into()),
        };

        let token = WorkflowCancellationToken::new();
        let options = ActivityOptions::with_start_to_close_timeout(100 * DAY).cancellation_token(token.clone()).build();
        let plan = Plan::new(50 * DAY);
        let paid = wait(ctx, ctx.execute_activity(World::pay, (), options), &plan, async |_| {}).await;
        token.cancel();
        match paid {
            Reply::Answered(receipt) => Ok(format!("approved by {} ({}), paid with receipt {}", decision.by, decision.why, receipt?)),
            Reply::Expired | Reply::Cancelled => Ok("approved, and never paid".into()),
        }
    }

    #[update]
    fn decide(&mut self, ctx: &mut SyncWorkflowContext<Self>, vote: Vote) -> Result<Decision, Box<dyn Error + Send + Sync>> {
        Ok(self.decision.decide(ctx, vote)?)
    }
}

fn main() -> ExitCode {
    let ((letters, seen), (payments, asked)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    match WorkerOptions::new(QUEUE).register_activities(World { letters, payments }).register_workflow::<Expense>() {
        Ok(options) => tell(options.build(), async |client| story(client, seen, asked).await),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn story(client: Client, mut letters: mpsc::UnboundedReceiver<String>, mut payments: mpsc::UnboundedReceiver<Ticket>) -> Outcome {
    println!("Ann has an expense for Bob to approve. A day of this story is {} ms.", DAY.as_millis());
    let handle = client.start_workflow(Expense::run, "Bob".to_owned(), WorkflowStartOptions::new(QUEUE, "expense-1").build()).await?;
    let mut sent = Vec::new();
    while !sent.iter().any(|letter: &String| letter.starts_with("the boss")) {
        sent.push(letters.recv().await.ok_or("no letters")?);
    }
    let decide = async |by: &str, approved| {
        let vote = Vote { approved, by: by.into(), why: "lunch is lunch".into() };
        handle.execute_update(Expense::decide, vote, WorkflowExecuteUpdateOptions::default()).await
    };
    let decision = decide("the boss", true).await?;
    println!("The boss approves: {decision:?}");
    let late = decide("Bob", false).await;
    println!("Bob wakes up and refuses; he is told: {}", if late.is_err() { "already approved by the boss" } else { "fine?" });

    let ticket = payments.recv().await.ok_or("no payment")?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    println!("The bank pays. Its webhook calls http://{address} three times, as webhooks do.");
    let endpoint = async {
        let mut deliveries = Vec::new();
        for _ in 0..3 {
            deliveries.push(hear(&client, listener.accept().await?.0).await?);
        }
        Outcome::Ok(deliveries)
    };
    let bank = async {
        for _ in 0..3 {
            println!("  {}", call(address, &ticket).await?);
        }
        Outcome::Ok(())
    };
    let (deliveries, ()) = tokio::try_join!(endpoint, bank)?;
    let result = handle.get_result(WorkflowGetResultOptions::default()).await?;
    println!("The expense: {result}.");
    let right = deliveries == [Delivery::Taken, Delivery::NotAwaited, Delivery::NotAwaited]
        && result == "approved by the boss (lunch is lunch), paid with receipt 4711"
        && late.is_err();
    if right { Ok(()) } else { Err(format!("a number is wrong: {deliveries:?}").into()) }
}

/// The endpoint: turns `POST /paid/TICKET` with the receipt as body into the completion of the activity. An answer that nobody waits for
/// is answered with success too, or it would be sent again for ever.
async fn hear(client: &Client, mut stream: TcpStream) -> Outcome<Delivery> {
    let mut request = Vec::new();
    let receipt = loop {
        if request.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut request).await? == 0 {
            return Err("not a request of the bank".into());
        }
        // The bank's body is four digits.
        match std::str::from_utf8(&request)?.split_once("\r\n\r\n") {
            Some((_, receipt)) if receipt.len() == 4 => break receipt.to_owned(),
            _ => {}
        }
    };
    let path = std::str::from_utf8(&request)?.split(' ').nth(1).ok_or("no path")?;
    let ticket: Ticket = path.strip_prefix("/paid/").ok_or("no such path")?.parse()?;
    let delivery = ticket.complete(client, receipt).await?;
    let body = format!("{delivery:?}");
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).as_bytes()).await?;
    stream.shutdown().await?;
    Ok(delivery)
}

/// The bank's side of it.
async fn call(address: std::net::SocketAddr, ticket: &Ticket) -> Outcome<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("POST /paid/{ticket} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 4\r\n\r\n4711");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("not an answer")?;
    Ok(format!("{}: {body}", head.lines().next().unwrap_or_default()))
}
