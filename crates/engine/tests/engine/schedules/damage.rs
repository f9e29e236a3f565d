//! Schedules whose rows or zone cannot be read.

use super::*;

/// The time zone of a schedule is not known on this machine any more.
#[tokio::test]
async fn a_schedule_without_its_zone_is_seen_and_can_be_mended_or_deleted() {
    let mut w = world().await;
    for id in ["s", "t"] {
        create(&w, id, every_minute(Policy::Skip)).await;
        let (key, value) = row_of(&w, Row::Definition);
        let key = if id == "s" {
            key
        } else {
            schedules::definition(&ScheduleKey { schedule_id: id.into(), ..schedules::parse_key(&key).unwrap() }).into()
        };
        let mut definition = Definition::decode(value).unwrap();
        definition.schedule_id = id.into();
        definition.spec.as_mut().unwrap().timezone_name = "Mars/Base".into();
        put_row(&w, &key, &definition.encode_to_vec()).await;
    }
    w.reopen().await;
    w.advance(Span::seconds(40)).await;
    let shown = describe(&w, "s").await.info.unwrap();
    #[expect(deprecated, reason = "the one place for it")]
    let error = shown.invalid_schedule_error;
    assert_eq!((error.as_str(), shown.action_count), ("unknown time zone Mars/Base", 0));
    let entries = list(&w, 0, bytes::Bytes::new()).await.schedules;
    assert!(entries.iter().all(|e| e.info.as_ref().unwrap().notes == "the schedule cannot be used: unknown time zone Mars/Base"));
    patch(&w, "s", trigger(Policy::Unspecified)).await;
    assert_eq!(describe(&w, "s").await.info.unwrap().action_count, 1, "clients can still start it");
    w.advance(Span::seconds(30 * 86_400)).await;
    assert_eq!(count(&w).await, 2, "it is not forgotten");
    let request = UpdateScheduleRequest {
        namespace: NAMESPACE.into(),
        schedule_id: "s".into(),
        schedule: Some(every_minute(Policy::AllowAll)),
        ..Default::default()
    };
    soon(w.engine.update_schedule(request)).await.unwrap();
    w.advance(Span::seconds(60)).await;
    until_actions(&w, "s", 2).await;
    delete(&w, "t").await.unwrap();
}

#[tokio::test]
async fn a_damaged_schedule_says_so_stops_nobody_and_can_be_deleted() {
    let w = world().await;
    create(&w, "bad", every_minute(Policy::Skip)).await;
    let (key, _) = row_of(&w, Row::State);
    create(&w, "good", every_minute(Policy::Skip)).await;
    put_row(&w, &key, &[0xff]).await;
    w.advance(Span::seconds(40)).await;
    until_actions(&w, "good", 1).await;
    let refused = Refusal::FailedPrecondition("the schedule cannot be used: its rows are damaged".into());
    assert_eq!(try_describe(&w, "bad").await.unwrap_err(), refused);
    let again = soon(w.engine.create_schedule(create_request("bad", every_minute(Policy::Skip)))).await;
    assert_eq!(again.unwrap_err(), refused);
    let entries = list(&w, 0, bytes::Bytes::new()).await.schedules;
    assert_eq!(entries[0].schedule_id, "bad");
    assert_eq!(entries[0].info.as_ref().unwrap().notes, "the schedule cannot be used: its rows are damaged");
    assert_eq!((entries.len() as i64, count(&w).await), (2, 2));
    let none = (String::new(), 1);
    assert_eq!(groups(&w, "GROUP BY ExecutionStatus").await, (2, vec![none, ("\"Running\"".into(), 1)]));
    assert_eq!(groups(&w, "ScheduleId = 'bad' GROUP BY ExecutionStatus").await, (0, vec![]));
    delete(&w, "bad").await.unwrap();
    assert_eq!(count(&w).await, 1);
    create(&w, "bad", every_minute(Policy::Skip)).await;
    w.advance(Span::seconds(60)).await;
    until_actions(&w, "bad", 1).await;
}

/// The disk cannot be read for a while: what is due then is started later.
#[tokio::test]
async fn a_time_is_not_lost_when_rows_cannot_be_read() {
    let w = world().await;
    create(&w, "s", every_minute(Policy::AllowAll)).await;
    w.settle().await;
    w.store.no_schedules.store(true, Ordering::SeqCst);
    w.advance(Span::seconds(40)).await;
    w.advance(Span::seconds(2)).await;
    w.store.no_schedules.store(false, Ordering::SeqCst);
    w.advance(Span::seconds(2)).await;
    until_actions(&w, "s", 1).await;
}
