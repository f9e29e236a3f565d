//! Threads, and what waits for them.

use std::{
    sync::{Condvar, Mutex, mpsc},
    thread,
    time::Duration,
};

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowResult};

#[workflow]
#[derive(Default)]
pub struct Threads;

#[workflow_methods]
impl Threads {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<u64> {
        let sum = thread::spawn(|| 1 + 1).join().unwrap(); //~ thread [walk, types] a thread
        std::thread::sleep(Duration::from_millis(1)); //~ thread [walk, types] a sleep that blocks
        let (tell, told) = mpsc::channel(); //~ thread [walk, types] a channel between threads
        tell.send(sum).unwrap();
        let bell = Condvar::new(); //~ thread [walk, types] a condition between threads
        let later = futures::executor::block_on(async { 1 }); //~ thread [walk, types] waiting for a future by blocking
        std::thread::scope(|scope| drop(scope.spawn(|| 2))); //~ thread [walk, types] threads in a scope
        // A lock that one thread alone takes is innocent.
        let local = Mutex::new(1);
        *local.lock().unwrap() += 1;
        drop(bell);
        Ok(told.recv().unwrap() + later)
    }
}
