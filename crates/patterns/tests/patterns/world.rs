//! The world outside: effects that are counted.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use sempre_patterns::idempotent::{
    Class, DedupStore, Fenced, Key,
    sqlite::{
        SqliteDedup,
        rusqlite::{self, Connection},
    },
};
use serde::{Deserialize, Serialize};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// When an activity fails for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fails {
    Never,
    BeforeItsEffect,
    AfterItsEffect,
    /// Not for good: the first two attempts fail.
    Twice,
}

/// What an activity is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) key: Key,
    pub(crate) step: String,
    pub(crate) fails: Fails,
    /// The effect, or the compensation, makes somebody cancel the workflow.
    pub(crate) cancels: bool,
}

/// Effects, each a row with the step's name, `do` or `undo`; in one database with the memory of them.
#[derive(Clone)]
pub(crate) struct World {
    store: SqliteDedup,
    effects: Arc<Mutex<Vec<String>>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(Connection::open_in_memory().unwrap())
    }

    /// In a file, which outlives a process.
    pub(crate) fn open(path: &Path) -> Self {
        Self::of(Connection::open(path).unwrap())
    }

    fn of(connection: Connection) -> Self {
        connection.execute_batch("CREATE TABLE IF NOT EXISTS effects (what TEXT NOT NULL)").unwrap();
        let effects = Arc::new(Mutex::new(all(&connection).unwrap()));
        Self { store: SqliteDedup::of(connection).unwrap(), effects }
    }

    /// All effects so far, in their order: `do X`, `undo X`.
    pub(crate) fn effects(&self) -> Vec<String> {
        self.effects.lock().unwrap().clone()
    }

    async fn have(&self, key: &Key, what: String) -> Result<(), ActivityError> {
        let (effects, told) = (self.effects.clone(), what.clone());
        self.store
            .in_one(key, move |tx| {
                tx.execute("INSERT INTO effects VALUES (?1)", [&what])?;
                *effects.lock().unwrap() = all(tx)?;
                Ok(())
            })
            .await
            .inspect_err(|error| eprintln!("{told}: {error:?}"))
    }
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut all = connection.prepare("SELECT what FROM effects ORDER BY rowid")?;
    all.query_map([], |row| row.get(0))?.collect()
}

#[activities]
impl World {
    #[activity]
    pub(crate) async fn act(self: Arc<Self>, ctx: ActivityContext, ask: Ask) -> Result<String, ActivityError> {
        if ask.fails == Fails::BeforeItsEffect {
            return Err(Class::BusinessRule.error(format!("no {} today", ask.step)));
        }
        self.have(&ask.key, format!("do {}", ask.step)).await?;
        if ask.cancels {
            cancel(&ctx).await?;
        }
        match ask.fails {
            Fails::AfterItsEffect => Err(Class::Permanent.error(format!("{} went wrong", ask.step))),
            _ => Ok(format!("{}!", ask.step)),
        }
    }

    #[activity]
    pub(crate) async fn undo(self: Arc<Self>, ctx: ActivityContext, ask: Ask) -> Result<(), ActivityError> {
        match ask.fails {
            Fails::Never => {}
            Fails::Twice if ctx.info().attempt > 2 => {}
            Fails::Twice => return Err(Class::Retryable.error(format!("{} is busy", ask.step))),
            _ => return Err(Class::Permanent.error(format!("{} is stuck", ask.step))),
        }
        match self.store.fence(&ask.key).await? {
            Fenced::Untouched => Ok(()),
            Fenced::Begun | Fenced::Done(_) => {
                let undo = Key::new(format!("{} undone", ask.key));
                self.have(&undo, format!("undo {}", ask.step)).await?;
                if ask.cancels {
                    cancel(&ctx).await?;
                }
                Ok(())
            }
        }
    }
}

/// Somebody cancels the workflow that asks.
async fn cancel(ctx: &ActivityContext) -> Result<(), ActivityError> {
    let workflow = ctx.workflow_handle::<temporalio_common::UntypedWorkflow>().expect("a workflow asks");
    Ok(workflow.cancel(temporalio_client::WorkflowCancelOptions::builder().reason("changed their mind".to_owned()).build()).await?)
}
