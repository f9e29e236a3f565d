//! Maps and sets without an order.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{SyncWorkflowContext, WorkflowContext, WorkflowResult};

/// Comes from outside; what is in it is looked up or gone through.
#[derive(Serialize, Deserialize)]
pub struct Order {
    pub lines: HashMap<String, u32>,
    pub notes: BTreeMap<String, String>,
}

#[workflow]
#[derive(Default)]
pub struct Unordered {
    seen: HashSet<String>, //~ unordered [walk] a set in the workflow's own fields
}

#[workflow_methods]
impl Unordered {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, order: Order) -> WorkflowResult<u32> {
        let mut stock = HashMap::new(); //~ unordered [walk, types] a map that is made
        stock.insert("a", 1);
        let mut total = 0;
        for (_, count) in &order.lines {
            //~ unordered [walk] a loop over a map that came as an argument
            total += count;
        }
        let names: Vec<&String> = order.lines.keys().collect(); //~ unordered [walk, types] the keys of a map that came as an argument
        let copy = order.lines.iter().collect::<std::collections::HashMap<_, _>>(); //~ unordered [walk, types] a map that is collected
        let headers: Vec<String> = ctx.headers().keys().cloned().collect(); //~ unordered [types] a map that a foreign function gave
        // Looking up one entry, and what has an order, is innocent.
        total += order.lines.get("a").copied().unwrap_or_default();
        total += order.notes.values().count() as u32;
        drop((names, copy, headers));
        Ok(total)
    }

    #[signal]
    pub fn see(&mut self, _ctx: &mut SyncWorkflowContext<Self>, name: String) {
        self.seen.insert(name);
    }
}
