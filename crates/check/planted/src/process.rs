//! The process that the worker is.

use std::{env, process::Command};

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult};

#[workflow]
#[derive(Default)]
pub struct Process;

#[workflow_methods]
impl Process {
    #[run]
    pub async fn run(_ctx: &mut WorkflowContext<Self>) -> WorkflowResult<u32> {
        let region = env::var("REGION"); //~ process [walk, types] a variable of the environment
        let id = std::process::id(); //~ process [walk, types] the process id
        let listed = Command::new("ls").output(); //~ process [walk, types] a program that is run
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).ok(); //~ process [walk, types] standard input
        // What the compiler puts in is the same in all workers of a build.
        let version = env!("CARGO_PKG_VERSION");
        drop((region, listed, version));
        Ok(id)
    }
}
