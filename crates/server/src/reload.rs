//! Reads files of the server's settings again while it serves: when they change, and when somebody asks.
#![expect(clippy::disallowed_methods, reason = "files are looked at by the wall clock")]

use std::{sync::Arc, time::Duration};

use ring::digest::{Context, SHA256};
use sempre_engine::Engine;
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval},
};

use crate::{access::Access, alerts_file::AlertsFile, audit::Audit, ports::tls::Tls};

/// How often files are looked at. They are small, and what was written in between is read whole.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// Asks a server to read its files again.
#[derive(Clone, Debug, Default)]
pub struct Reloader(Arc<Notify>);

impl Reloader {
    /// See the type. Returns at once; what came of it is logged.
    pub fn reload(&self) {
        self.0.notify_one();
    }
}

/// Looks at the files until it is dropped.
pub(crate) async fn watch(
    tls: Option<Arc<Tls>>,
    access: Option<Access>,
    audit: Option<Audit>,
    alerts: Option<(Arc<AlertsFile>, Engine)>,
    reloader: Reloader,
) {
    let mut look = interval(LOOK_AFTER);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = look.tick() => false,
            () = reloader.0.notified() => true,
        };
        if let Some(audit) = audit.as_ref().filter(|_| asked) {
            audit.reopen();
        }
        let (tls, access) = (tls.clone(), access.clone());
        // Files can be slow, as on a network. A panic is told by its own report; the next look comes.
        let _ = tokio::task::spawn_blocking(move || {
            if let Some(tls) = tls {
                tell("certificates", tls.reload(asked));
            }
            if let Some(access) = access {
                tell("rules and keys of authentication", access.reload(asked));
            }
        })
        .await;
        if let Some((file, engine)) = &alerts {
            match file.apply(engine, asked).await {
                None => {}
                Some(Ok(done)) => tracing::info!(set = done.set, gone = done.gone, "alert rules were read again and are in force"),
                Some(Err(error)) => tracing::error!(%error, "new alert rules cannot be used; the old ones stay in force"),
            }
        }
    }
}

fn tell<E: std::fmt::Display>(what: &str, told: Reloaded<E>) {
    match told {
        Reloaded::Unchanged => {}
        Reloaded::Changed => tracing::info!("{what} were read again and are in force"),
        Reloaded::Refused(error) => tracing::error!(%error, "new {what} cannot be used; the old ones stay in force"),
    }
}

/// What became of reading files again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reloaded<E> {
    Unchanged,
    Changed,
    /// The old ones stay.
    Refused(E),
}

/// SHA-256 of what files hold.
pub(crate) type Print = [u8; 32];

pub(crate) fn print_of<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Print {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().try_into().unwrap_or_default()
}
