//! What the calls about activities and about Nexus operations that belong to no workflow have in common: looks, waits for a
//! change, and the token of a change that was seen.

use bytes::Bytes;
use prost::Message;
use sempre_core::{Refusal, RunId, Span, Timestamp, WorkflowKey, nexus::alone as operation, standalone as activity};
use tokio::sync::oneshot;

use crate::{
    shard::message::{ActivityWatch, Ask, Body, OperationWatch},
    shared::{Shared, internal},
};

const INVALID_TOKEN: &str = "invalid long poll token";
const TOKEN_OF_ANOTHER: &str = "long poll token does not match execution";

/// What is waited for: of one of the two kinds.
pub(super) trait Watch: Copy {
    /// What is wanted of a description.
    type Shows: Copy;
    type Described;

    /// The question; who watches is told of the next change.
    fn ask(shows: Self::Shows, watch: Option<(Self, oneshot::Sender<()>)>) -> Ask;

    /// `None`: the answer to another question.
    fn described(answer: Body) -> Option<Box<Self::Described>>;

    /// There it is.
    fn is_over(self, described: &Self::Described) -> bool;
}

impl Watch for ActivityWatch {
    type Shows = activity::Shows;
    type Described = activity::Described;

    fn ask(shows: Self::Shows, watch: Option<(Self, oneshot::Sender<()>)>) -> Ask {
        Ask::DescribeActivity(shows, watch)
    }

    fn described(answer: Body) -> Option<Box<Self::Described>> {
        if let Body::Activity(described) = answer { Some(described) } else { None }
    }

    fn is_over(self, described: &Self::Described) -> bool {
        self.is_over(described)
    }
}

impl Watch for OperationWatch {
    type Shows = operation::Shows;
    type Described = operation::Described;

    fn ask(shows: Self::Shows, watch: Option<(Self, oneshot::Sender<()>)>) -> Ask {
        Ask::DescribeOperation(shows, watch)
    }

    fn described(answer: Body) -> Option<Box<Self::Described>> {
        if let Body::Operation(described) = answer { Some(described) } else { None }
    }

    fn is_over(self, described: &Self::Described) -> bool {
        self.is_over(described)
    }
}

type Looked<W> = (RunId, Box<<W as Watch>::Described>);

impl Shared {
    /// What it is now.
    pub(super) async fn look<W: Watch>(&self, key: &WorkflowKey, run: Option<RunId>, shows: W::Shows) -> Result<Looked<W>, Refusal> {
        self.look_and::<W>(key, run, W::ask(shows, None)).await
    }

    async fn look_and<W: Watch>(&self, key: &WorkflowKey, run: Option<RunId>, ask: Ask) -> Result<Looked<W>, Refusal> {
        let answer = self.ask(key.clone(), run, ask).await?;
        let described = W::described(answer.body).ok_or_else(|| internal("a description"))?;
        Ok((answer.run, described))
    }

    /// Looks until there is what is waited for, or until the caller is to be told that there is not: after `at_most`, or a little
    /// before the call's own deadline.
    pub(super) async fn wait_for<W: Watch>(
        &self,
        key: &WorkflowKey,
        mut run: Option<RunId>,
        shows: W::Shows,
        watch: W,
        (at_most, deadline): (Span, Option<Timestamp>),
    ) -> Result<Option<Looked<W>>, Refusal> {
        let until = self.wait_until(at_most, deadline);
        let mut timer = self.wall.sleep_until(until);
        loop {
            let (sender, changed) = oneshot::channel();
            let (found, described) = self.look_and::<W>(key, run, W::ask(shows, Some((watch, sender)))).await?;
            if watch.is_over(&described) {
                return Ok(Some((found, described)));
            }
            run = Some(found);
            tokio::select! {
                biased;
                // A dropped sender (too many wait) means the same: look again, but not at once again.
                change = changed => if change.is_err() {
                    self.wall.sleep_until((self.wall_now() + Span::millis(100)).min(until)).await;
                },
                () = &mut timer => return Ok(None),
            }
            if self.wall_now() >= until {
                return Ok(None);
            }
        }
    }
}

/// A state of an activity or an operation that a client has seen.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LongPollToken {
    #[prost(bytes = "bytes", tag = "1")]
    run: Bytes,
    #[prost(uint64, tag = "2")]
    pub(super) version: u64,
}

impl LongPollToken {
    /// Of this run as it is.
    pub(super) fn bytes(run: RunId, version: u64) -> Bytes {
        Self { run: Bytes::copy_from_slice(&run.0.0), version }.encode_to_vec().into()
    }

    /// Of this run, as a client has sent it.
    pub(super) fn parse(bytes: Bytes, run: RunId) -> Result<Self, Refusal> {
        let token = Self::decode(bytes).ok().filter(|token| token.run.len() == 16);
        let token = token.ok_or_else(|| Refusal::invalid(INVALID_TOKEN))?;
        if token.run[..] == run.0.0 { Ok(token) } else { Err(Refusal::invalid(TOKEN_OF_ANOTHER)) }
    }
}
