//! Timers and markers.

use sempre_api::v1::command::StartTimerCommandAttributes;

use super::{commands::*, scenarios};
use crate::scene::{Done, Scene};

scenarios!("timers":
    fires, two_fire_in_order, cancelled_in_time, cancelled_in_the_same_task, cancelled_after_it_fired, fires_during_a_task, id_used_twice, id_free_again, zero_timeout, run_closes_with_timer, markers,
);

async fn fires(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 1)]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn two_fire_in_order(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("late", 2), timer("early", 1)]).await?;
    s.work([]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn cancelled_in_time(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60)]).await?;
    s.signal("a", "wake").await?;
    s.work([cancel_timer("t"), timer("t", 1)]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn cancelled_in_the_same_task(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60), cancel_timer("t"), done()]).await?;
    Ok(())
}

/// The timer fires while a task is started, whose commands cancel it: the fired event was never written.
async fn cancelled_after_it_fired(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 1)]).await?;
    s.signal("a", "wake").await?;
    let task = s.task().await?;
    s.sleep(1500).await;
    s.complete(&task, [cancel_timer("t"), done()]).await?;
    Ok(())
}

async fn fires_during_a_task(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 1)]).await?;
    s.signal("a", "wake").await?;
    let task = s.task().await?;
    s.sleep(1500).await;
    s.complete(&task, [marker("m")]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn id_used_twice(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.complete(&task, [timer("t", 60), timer("t", 60)]).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn id_free_again(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 1)]).await?;
    s.work([timer("t", 1)]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn zero_timeout(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.complete(&task, [timer("zero", 0)]).await.ok();
    let task = s.task().await?;
    s.complete(&task, [StartTimerCommandAttributes { timer_id: "none".into(), start_to_fire_timeout: None }.command()]).await.ok();
    s.work([done()]).await?;
    Ok(())
}

async fn run_closes_with_timer(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60), done()]).await?;
    Ok(())
}

async fn markers(s: Scene) -> Done {
    s.start("a").await?;
    s.work([marker("first"), marker("second")]).await?;
    s.signal("a", "wake").await?;
    s.work([marker("first"), done()]).await?;
    Ok(())
}
