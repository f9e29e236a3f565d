//! Tests in virtual time, and how long they take.

use std::time::{Duration, Instant};

use sempre_embedded::testing::TestEnvironment;
use temporalio_client::{
    WorkflowCountOptions, WorkflowGetResultOptions, WorkflowSignalOptions, WorkflowStartOptions,
    errors::WorkflowGetResultError,
    schedules::{CreateScheduleOptions, ScheduleAction, ScheduleSpec},
};

use crate::workflows::{DAY, Outcome, QUEUE, Stumbles, Waits, Year, start, with_worker};

fn result() -> WorkflowGetResultOptions {
    WorkflowGetResultOptions::default()
}

/// Set, the tests of how long a test takes demand what is promised of a machine with nothing else to do; else what holds on a busy one.
const PROMISED: &str = "SEMPRE_PROMISED_TIMES";

/// A year with an activity every thirty days; how long it took, with a server, a client and a worker of its own.
async fn a_year() -> Outcome<Duration> {
    let begin = Instant::now();
    let test = TestEnvironment::start().await?;
    let before = test.now();
    let entries = with_worker(test.client(), async {
        let handle = test.client().start_workflow(Year::run, 12, start("year")).await?;
        Ok(handle.get_result(result()).await?)
    });
    assert_eq!(entries.await?, 12);
    let passed = test.now().duration_since(before)?;
    assert!((365 * DAY..366 * DAY).contains(&passed), "{passed:?}");
    test.shutdown().await;
    Ok(begin.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_is_tested_in_milliseconds() -> Outcome {
    // The first one pays for what a process does once.
    let first = a_year().await?;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(a_year().await?);
    }
    all.sort();
    println!("a year: first {first:?}, then {all:?}");
    let (one, longest) = match std::env::var_os(PROMISED) {
        Some(_) => (all[2], Duration::from_millis(50)),
        None => (all[0], Duration::from_secs(1)),
    };
    assert!(one <= longest, "{all:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_years_pass_beside_each_other() -> Outcome {
    let begin = Instant::now();
    let all = futures::future::join_all((0..100).map(|_| a_year())).await;
    for one in all {
        one?;
    }
    let took = begin.elapsed();
    println!("a hundred years in one process: {took:?}");
    let longest = Duration::from_secs(if std::env::var_os(PROMISED).is_some() { 3 } else { 30 });
    assert!(took <= longest, "{took:?}");
    Ok(())
}

#[tokio::test]
async fn back_off_is_skipped_and_what_waits_for_a_signal_waits() -> Outcome {
    let test = TestEnvironment::start().await?;
    let client = test.client();
    with_worker(client, async {
        let before = test.now();
        let handle = client.start_workflow(Stumbles::run, (), start("stumbles")).await?;
        assert_eq!(handle.get_result(result()).await?, 3);
        let passed = test.now().duration_since(before)?;
        assert!((2 * DAY..2 * DAY + DAY / 24).contains(&passed), "{passed:?}");
        let handle = client.start_workflow(Waits::run, (), start("waits")).await?;
        test.sleep(1000 * DAY).await;
        handle.signal(Waits::tell, (), WorkflowSignalOptions::default()).await?;
        assert_eq!(handle.get_result(result()).await?, "told");
        let passed = test.now().duration_since(before)?;
        assert!((1002 * DAY..1003 * DAY).contains(&passed), "{passed:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_waits_for_a_signal_that_never_comes_meets_the_timeout() -> Outcome {
    let test = TestEnvironment::start().await?;
    let client = test.client();
    with_worker(client, async {
        let options = temporalio_client::WorkflowStartOptions::new(QUEUE, "waits").execution_timeout(100 * DAY).build();
        let handle = client.start_workflow(Waits::run, (), options).await?;
        let ended = handle.get_result(result()).await;
        assert!(matches!(ended, Err(WorkflowGetResultError::TimedOut)), "{ended:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn time_that_is_held_stands_and_time_that_is_moved_moves() -> Outcome {
    let test = TestEnvironment::start().await?;
    let client = test.client();
    with_worker(client, async {
        let before = test.now();
        let near = |days: u32| {
            let passed = test.now().duration_since(before).expect("it never goes back");
            assert!((days * DAY..days * DAY + DAY / 2).contains(&passed), "{passed:?} instead of {days} days");
        };
        test.set_auto_skip(false);
        let handle = client.start_workflow(Year::run, 1, start("year")).await?;
        let waiting = tokio::time::timeout(Duration::from_millis(200), handle.get_result(result())).await;
        assert!(waiting.is_err(), "nobody lets time go");
        near(0);
        test.idle().await;
        test.advance(29 * DAY);
        near(29);
        test.sleep(2 * DAY).await;
        near(31);
        test.unlock()?;
        assert_eq!(handle.get_result(result()).await?, 1);
        near(35);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_lock_holds_time_while_a_result_is_waited_for() -> Outcome {
    let test = TestEnvironment::start().await?;
    with_worker(test.client(), async {
        let before = test.now();
        test.lock();
        let handle = test.client().start_workflow(Year::run, 1, start("year")).await?;
        let waiting = tokio::time::timeout(Duration::from_millis(200), handle.get_result(result())).await;
        assert!(waiting.is_err(), "one that waits takes one lock away, and there are two");
        assert!(test.now().duration_since(before)? < DAY);
        test.unlock()?;
        assert_eq!(handle.get_result(result()).await?, 1);
        assert!(test.now().duration_since(before)? >= 30 * DAY);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn namespaces_of_an_environment_are_made_when_they_are_named() -> Outcome {
    let test = TestEnvironment::start().await?;
    let client = test.client_of("another").await?;
    with_worker(&client, async {
        let handle = client.start_workflow(Year::run, 2, start("year")).await?;
        assert_eq!(handle.get_result(result()).await?, 2);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_and_a_cron_run_in_virtual_time_and_counts_show_it() -> Outcome {
    let test = TestEnvironment::start().await?;
    let client = test.client();
    let count = async |query: &str| -> Outcome<usize> { Ok(client.count_workflows(query, WorkflowCountOptions::default()).await?.count()) };
    with_worker(client, async {
        // Five days of work each week, and each night two days of it: the next night is the one after.
        let action = ScheduleAction::start_workflow(Year::run, 0u32, QUEUE, "weekly");
        let options = CreateScheduleOptions::builder().action(action).spec(ScheduleSpec::from_interval(7 * DAY)).build();
        let schedule = client.create_schedule("weekly", options).await?;
        let nightly = WorkflowStartOptions::new(QUEUE, "nightly").cron_schedule("0 3 * * *".to_owned()).build();
        client.start_workflow(Stumbles::run, (), nightly).await?;
        test.sleep(70 * DAY).await;
        assert_eq!(schedule.describe(Default::default()).await?.action_count(), 10);
        assert_eq!(count("WorkflowType = 'Year'").await?, 10);
        let nights = count("WorkflowId = 'nightly' AND ExecutionStatus != 'Running'").await?;
        assert!((22..=24).contains(&nights), "{nights}");
        Ok(())
    })
    .await?;
    test.shutdown().await;
    Ok(())
}
