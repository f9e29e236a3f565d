//! Files.

use std::{fs, io::Read, path::Path};

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult};

#[workflow]
#[derive(Default)]
pub struct Files;

#[workflow_methods]
impl Files {
    #[run]
    pub async fn run(_ctx: &mut WorkflowContext<Self>, name: String) -> WorkflowResult<usize> {
        let text = fs::read_to_string(&name); //~ file [walk, types] a file that is read
        let later = tokio::fs::read(&name).await; //~ file [walk, types] a file that is read by tokio
        let opened = fs::File::open(&name); //~ file [walk, types] a file that is opened
        let path = Path::new(&name);
        let there = path.exists(); //~ file [walk, types] whether a file is there
        let parent = path.parent().is_some_and(|folder| folder.is_dir()); //~ file [types] whether a folder is there, in a closure
        // A text that is part of the program is innocent.
        let built_in = include_str!("lib.rs");
        drop((opened, there, parent));
        Ok(text.map_or(0, |text| text.len()) + later.map_or(0, |bytes| bytes.len()) + built_in.len())
    }
}
