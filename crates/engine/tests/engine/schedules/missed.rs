//! Times that were missed while the server was down, and what each overlap policy makes of them.

use super::*;

#[tokio::test]
async fn times_missed_while_the_server_was_down_are_caught_up_within_the_window() {
    let mut w = world().await;
    let mut schedule = every_minute(Policy::AllowAll);
    schedule.policies.as_mut().unwrap().catchup_window = Some(Span::seconds(300).to_api());
    create(&w, "s", schedule).await;
    soon(w.engine.shutdown()).await;
    w.advance(Span::seconds(3600)).await;
    w.reopen().await;
    w.settle().await;
    let info = until_actions(&w, "s", 5).await.info.unwrap();
    assert_eq!(info.missed_catchup_window, 55);
}

/// The server is down for an hour in which sixty times are due: what each overlap policy makes of them.
#[tokio::test]
async fn each_policy_catches_up_after_an_hour_without_a_server() {
    // Actions at once, waiting, left out.
    let cases = [
        (Policy::Skip, (1, 0, 59)),
        (Policy::BufferOne, (1, 1, 58)),
        (Policy::BufferAll, (1, 59, 0)),
        (Policy::CancelOther, (1, 0, 59)),
        (Policy::TerminateOther, (1, 0, 59)),
        (Policy::AllowAll, (60, 0, 0)),
    ];
    for (policy, (actions, waiting, left_out)) in cases {
        let mut w = world().await;
        create(&w, "s", every_minute(policy)).await;
        soon(w.engine.shutdown()).await;
        w.advance(Span::seconds(3600)).await;
        w.reopen().await;
        w.settle().await;
        let info = until_actions(&w, "s", actions).await.info.unwrap();
        assert_eq!((info.buffer_size, info.overlap_skipped, info.missed_catchup_window), (waiting, left_out, 0), "{policy:?}");
        let newest = matches!(policy, Policy::CancelOther | Policy::TerminateOther);
        let expected = if newest || policy == Policy::AllowAll { 1_700_003_580 } else { 1_700_000_040 };
        assert_eq!(info.recent_actions.last().unwrap().schedule_time.as_ref().unwrap().seconds, expected, "{policy:?}");
        // When it ends, what waits follows.
        if policy != Policy::AllowAll {
            finish_one(&w).await;
            w.settle().await;
            let after = describe(&w, "s").await.info.unwrap();
            assert_eq!(after.action_count, if waiting > 0 { 2 } else { 1 }, "{policy:?}");
        }
    }
}

/// A run is open all the time, the server is away for ten times: the policy holds against it.
#[tokio::test]
async fn each_policy_meets_an_open_run_after_a_time_without_a_server() {
    let cases = [
        (Policy::Skip, (1, 0, 10)),
        (Policy::BufferOne, (1, 1, 9)),
        (Policy::BufferAll, (1, 10, 0)),
        (Policy::CancelOther, (1, 1, 9)),
        // It is terminated, and the newest is started.
        (Policy::TerminateOther, (2, 0, 9)),
        (Policy::AllowAll, (11, 0, 0)),
    ];
    for (policy, (actions, waiting, left_out)) in cases {
        let mut w = world().await;
        create(&w, "s", every_minute(policy)).await;
        w.advance(Span::seconds(40)).await;
        until_actions(&w, "s", 1).await;
        soon(w.engine.shutdown()).await;
        w.advance(Span::seconds(600)).await;
        w.reopen().await;
        w.settle().await;
        let info = until_actions(&w, "s", actions).await.info.unwrap();
        assert_eq!((info.buffer_size, info.overlap_skipped), (waiting, left_out), "{policy:?}");
    }
}
