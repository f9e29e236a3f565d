//! Those who make trouble: crashes of the server at any await, its clock set forward and back, shards that leave it and come back.

use std::sync::{Arc, atomic::Ordering};

use sempre_core::Span;

use crate::{
    executor::give_way,
    nodes,
    random::Random,
    world::{CALLERS, Process, World, lock},
};

/// Crashes and jumps come within this time, mostly early.
const WITHIN_MS: u64 = 90_000;
/// Between two tries to take a shard up.
const TAKE_UP_AGAIN: Span = Span::millis(200);

/// Starts all of them.
pub fn start(world: &Arc<World>) {
    for n in 0..world.plan.crashes {
        let random = Random::new(world.plan.seed, CALLERS + 500 + n);
        world.spawn_busy("crash", crash(world.clone(), random));
    }
    for n in 0..if world.nodes() > 1 { world.plan.stills } else { 0 } {
        let random = Random::new(world.plan.seed, CALLERS + 750 + n);
        world.spawn_busy("still", stand_still(world.clone(), random));
    }
    for n in 0..world.plan.moves {
        let random = Random::new(world.plan.seed, CALLERS + 700 + n);
        world.spawn_busy("move", move_shard(world.clone(), random));
    }
    for n in 0..world.plan.clock_jumps {
        let random = Random::new(world.plan.seed, CALLERS + 600 + n);
        world.spawn_busy("clock", jump(world.clone(), random));
    }
}

fn when(random: &mut Random) -> Span {
    let within = *random.pick(&[2000, 10_000, WITHIN_MS]).unwrap_or(&WITHIN_MS);
    Span(random.below(within * 1000) as i64 * 1000)
}

async fn crash(world: Arc<World>, mut random: Random) {
    let at = when(&mut random);
    world.time.sleep(at).await;
    // Somewhere in the middle of what is ready then.
    for _ in 0..random.below(60) {
        give_way().await;
    }
    let node = world.some_node(&mut random);
    world.crash(node, "chance");
    let down = Span::millis(random.between(1, 3000) as i64);
    world.time.sleep(down).await;
    if random.permille(150) && world.is_down() {
        // The clock was set back while nothing ran.
        let back = Span::millis(random.between(1, 20_000) as i64);
        world.time.set_ahead(Span(-back.0));
        lock(&world.oracle).clock_went_back = true;
        world.tell(format_args!("the server's clock goes back by {} ms", back.0 / 1_000_000));
    }
    world.start_server(node);
}

/// A process gets no time for a while; then it goes on as if nothing had been.
async fn stand_still(world: Arc<World>, mut random: Random) {
    let at = when(&mut random);
    world.time.sleep(at).await;
    let node = world.some_node(&mut random);
    let Some(Process { group, .. }) = world.process(node) else { return };
    let span = Span::millis(random.between(500, 20_000) as i64);
    world.tell(format_args!("process {group} stands still for {} ms", span.0 / 1_000_000));
    world.executor.set_still(group, true);
    world.time.sleep(span).await;
    world.executor.set_still(group, false);
    world.tell(format_args!("process {group} goes on"));
}

async fn jump(world: Arc<World>, mut random: Random) {
    let at = when(&mut random);
    world.time.sleep(at).await;
    let longest = *random.pick(&[1000, 60_000, 7_200_000]).unwrap_or(&1000);
    let forward = Span::millis(random.between(1, longest) as i64);
    world.tell(format_args!("the server's clock goes forward by {} ms", forward.0 / 1_000_000));
    world.time.set_ahead(forward);
}

/// A shard is given to another node. If there is none it is given up, as if for one, and taken up again by the same process, unless that
/// ends first: the next one has all shards.
async fn move_shard(world: Arc<World>, mut random: Random) {
    let at = when(&mut random);
    world.time.sleep(at).await;
    let shard = random.below(u64::from(world.plan.shards)) as u32;
    if world.nodes() > 1 {
        let to = world.some_node(&mut random);
        return nodes::give(&world, shard, to).await;
    }
    let Some(Process { group, engine }) = world.process(0) else { return };
    world.tell(format_args!("shard {shard} is to be given up"));
    if let Err(error) = engine.give_up(shard).await {
        return world.tell(format_args!("shard {shard} is not given up: {error}"));
    }
    world.tell(format_args!("shard {shard} is given up"));
    world.time.sleep(Span::millis(random.below(3000) as i64)).await;
    while world.process(0).is_some_and(|process| process.group == group) {
        match engine.take_up(shard).await {
            Ok(()) => {
                world.taken_up.fetch_add(1, Ordering::SeqCst);
                return world.tell(format_args!("shard {shard} is taken up"));
            }
            Err(error) => world.tell(format_args!("shard {shard} is not taken up: {error}")),
        }
        world.time.sleep(TAKE_UP_AGAIN).await;
    }
}
