//! What all loops have: a server, its load, what is known for certain.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use sempre_bench::{
    api::{self, Client},
    process::{Launch, Server},
};

use crate::{Failure, ledger::Ledger, verify, work::Load};

/// Workflows looked at after each fault: the newest.
const RECENT: usize = 40;
/// So many more calls must be acknowledged before the service counts as gone on.
const GOES_ON: u64 = 20;

/// A server under load.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) moments: fastrand::Rng,
    load: Load,
    /// `None` while there is none.
    server: Option<Server>,
    /// How it was started last.
    launch: Launch,
    pub(crate) slowest_start: Duration,
}

impl World {
    /// Starts a server and the load. Calls take no longer than `timeout`.
    pub(crate) fn begin(launch: Launch, seed: u64, in_flight: usize, timeout: Option<Duration>) -> Result<Self, Failure> {
        let client = api::client_with_timeout(&format!("127.0.0.1:{}", launch.port), timeout)?;
        let ledger = Arc::new(Ledger::default());
        let server = Server::start(launch.clone())?;
        let load = Load::begin(ledger.clone(), client.clone(), in_flight);
        let slowest_start = server.started_in;
        Ok(Self { client, ledger, moments: fastrand::Rng::with_seed(seed), load, server: Some(server), launch, slowest_start })
    }

    /// The server.
    pub(crate) fn server(&mut self) -> Result<&mut Server, Failure> {
        self.server.as_mut().ok_or_else(|| "there is no server".into())
    }

    /// Waits for some time between these, in ms.
    pub(crate) async fn wait(&mut self, ms: Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.moments.u64(ms))).await;
    }

    /// SIGKILL, and a new process, started as `change` says.
    pub(crate) fn restart(&mut self, change: impl FnOnce(&mut Launch)) -> Result<(), Failure> {
        self.launch = self.server.take().ok_or("there is no server")?.kill()?;
        self.start(change)
    }

    /// A new process where there is none, started as `change` says.
    pub(crate) fn start(&mut self, change: impl FnOnce(&mut Launch)) -> Result<(), Failure> {
        change(&mut self.launch);
        let server = Server::start(self.launch.clone())?;
        self.slowest_start = self.slowest_start.max(server.started_in);
        self.server = Some(server);
        Ok(())
    }

    /// Nothing acknowledged is missing from what was done lately, and no worker saw what must not be.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        self.ledger.check()?;
        verify::acknowledged(&self.client, &self.ledger, &self.ledger.recent(RECENT)).await
    }

    /// Waits until the service goes on: calls are acknowledged again. How long it took.
    pub(crate) async fn goes_on(&mut self, within: Duration) -> Result<Duration, Failure> {
        let (begun, before) = (Instant::now(), self.ledger.acknowledgements());
        while self.ledger.acknowledgements() < before + GOES_ON {
            if begun.elapsed() > within {
                let told = self.ledger.refusals().join("\n  ");
                return Err(format!(
                    "the cause is gone for {} s, but the service does not go on; calls were told:\n  {told}",
                    within.as_secs()
                )
                .into());
            }
            if let Some(status) = self.server()?.ended()? {
                return Err(format!("the server has ended ({status})").into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(begun.elapsed())
    }

    /// No more faults: every workflow has to end, and everything is held against the ledger.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        println!("no more faults; every workflow has to end");
        self.load.finish().await?;
        let all = self.ledger.all();
        verify::acknowledged(&self.client, &self.ledger, &all).await?;
        verify::ended(&self.client, &self.ledger, &all).await?;
        self.ledger.check()?;
        println!("{}", self.ledger.summary());
        println!("slowest start to serving: {} ms", self.slowest_start.as_millis());
        println!("OK: nothing acknowledged is missing, every workflow ended with the right result, no attempt was handed out twice");
        Ok(())
    }
}
