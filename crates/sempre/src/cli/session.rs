//! One run of a command: what it was told, where its answer goes, and the server that it asks.

use std::{io, time::Duration};

use tokio::{runtime, signal};
use uuid::Uuid;

use super::{
    Failure,
    client::Client,
    environment::{self, Environment, Process},
    flags::{ClientFlags, CommonFlags},
    output::Output,
    settings::Settings,
};

/// What a command works with.
pub(crate) struct Session {
    pub(crate) environment: Box<dyn Environment>,
    pub(crate) settings: Settings,
    pub(crate) out: Output,
    client: Option<Client>,
}

impl Session {
    /// The connected client; connects at the first call.
    pub(crate) async fn client(&mut self) -> Result<Client, Failure> {
        if self.client.is_none() {
            self.client = Some(Client::connect(&self.settings).await?);
        }
        Ok(self.client.clone().expect("it was just connected"))
    }

    pub(crate) fn namespace(&self) -> String {
        self.settings.namespace.clone()
    }

    pub(crate) fn identity(&self) -> String {
        self.settings.identity.clone()
    }

    /// The reason that is written down when none is given.
    pub(crate) fn usual_reason(&self) -> String {
        format!("requested by {} with the CLI", environment::user(&*self.environment))
    }

    /// Asks on the terminal unless `yes`; goes on only when the answer is yes.
    pub(crate) async fn confirm(&mut self, question: &str, yes: bool) -> Result<(), Failure> {
        self.ask(&format!("{question} [y/N] "), yes, |answer| matches!(answer.to_lowercase().as_str(), "y" | "yes")).await
    }

    /// Asks for `word` to be typed unless `yes`.
    pub(crate) async fn confirm_by(&mut self, question: &str, word: &str, yes: bool) -> Result<(), Failure> {
        self.ask(&format!("{question} "), yes, |answer| answer == word).await
    }

    async fn ask(&mut self, question: &str, yes: bool, is_yes: impl Fn(&str) -> bool) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        if !self.out.is_text() {
            return Err(Failure::new("this needs a confirmation, which can be given as text only: add --yes"));
        }
        self.out.text(question)?;
        let read = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_| line)
        });
        let line = read.await.map_err(Failure::new)?.map_err(|error| Failure::new(format_args!("cannot read the answer: {error}")))?;
        if is_yes(line.trim()) { Ok(()) } else { Err(Failure::new("not confirmed; nothing was changed")) }
    }
}

/// An idempotency key of one call.
pub(crate) fn request_id() -> String {
    Uuid::new_v4().to_string()
}

/// Runs a command that asks a server, until it is done, interrupted or out of time.
pub(crate) fn run(
    common: CommonFlags,
    client: &ClientFlags,
    command: impl AsyncFnOnce(&mut Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let environment = Box::new(Process);
    let settings = Settings::resolve(&common, client, &*environment)?;
    let no_color = environment.variable("NO_COLOR").is_some();
    let out = Output::new(&common, environment.terminal(), no_color, environment.now_millis());
    let limit = common.command_timeout.and_then(|limit| Duration::try_from(limit).ok()).filter(|limit| !limit.is_zero());
    let mut session = Session { environment, settings, out, client: None };
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Failure::new)?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = command(&mut session) => result,
            _ = signal::ctrl_c() => Err(Failure::new("interrupted")),
            () = out_of_time(limit) => Err(Failure::new("the command took longer than --command-timeout allows")),
        }
    });
    // A prompt may still wait for a line that nobody will read.
    runtime.shutdown_background();
    let result = result.map_err(|failure| match &session.settings.tls {
        Some(tls) => failure.under_tls(tls.client_cert.is_some()),
        None => failure,
    });
    result.and_then(|()| session.out.flush())
}

#[expect(clippy::disallowed_methods, reason = "the limit is the user's, by the wall clock")]
async fn out_of_time(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
