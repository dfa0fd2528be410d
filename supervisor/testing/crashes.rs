//! Deaths at every step: what is promised to hold however often a node dies.

use std::{cell::Cell, time::Duration};

use super::World;

/// Records behind which a node dies: more than anything here needs.
const DEATHS_MAX: usize = 200;
/// What a turn takes on the clock while something happens, and after [`QUIET`] turns without a record: whatever waits
/// for a time of its own gets it soon, and what gives up after half a minute does not.
const STEPS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// See [`STEPS`].
const QUIET: usize = 10;
/// Turns for which it must stay right.
const TURNS_AFTER: usize = 3;

/// Makes a world, acts, and kills its node behind the first, the second, ... record of that.
///
/// On the next node the same is asked again, as a client would, and then everything is as it should be. At last it is
/// one that dies all the time.
///
/// # Panics
/// When it is not.
#[expect(clippy::panic, reason = "a test must fail here")]
pub async fn over_crashes(
    prepared: impl AsyncFn() -> World,
    act: impl AsyncFn(&World),
    is_right: impl AsyncFn(&World) -> bool,
) {
    for records in 1..=DEATHS_MAX {
        let mut world = prepared().await;
        let has_died = dies_behind(&mut world, records, &act, &is_right).await;
        if has_died {
            to_the_end(&world, &act, &is_right).await;
        } else {
            assert!(records > 1, "it wrote nothing behind which it could die");
            return over_a_crash_a_step(&prepared, &act, &is_right).await;
        }
    }
    panic!("it takes more records than anybody thought");
}

/// The same on nodes that all die, each behind a few records.
#[expect(clippy::panic, reason = "a test must fail here")]
async fn over_a_crash_a_step(
    prepared: &impl AsyncFn() -> World,
    act: &impl AsyncFn(&World),
    is_right: &impl AsyncFn(&World) -> bool,
) {
    let mut world = prepared().await;
    for life in 0..DEATHS_MAX {
        // What is appended together is a step, of which some have several records.
        if !dies_behind(&mut world, 1 + life % 8, act, is_right).await {
            return;
        }
    }
    panic!("it never got to the end");
}

/// Dies behind so many more records, as soon as it wants to write another one, and starts again; not if it gets to
/// the end before.
async fn dies_behind(
    world: &mut World,
    records: usize,
    act: &impl AsyncFn(&World),
    is_right: &impl AsyncFn(&World) -> bool,
) -> bool {
    world.memory.hold_appends_after(world.memory.records() + records);
    let has_died = tokio::select! {
        biased;
        () = world.until(Duration::ZERO, || async { world.memory.held() > 0 }) => true,
        () = to_the_end(world, act, is_right) => false,
    };
    if has_died {
        world.crash().await;
    }
    has_died
}

async fn to_the_end(world: &World, act: &impl AsyncFn(&World), is_right: &impl AsyncFn(&World) -> bool) {
    let (quiet, records) = (Cell::new(0), Cell::new(0));
    let turn = || {
        let now = world.memory.records();
        quiet.set(if records.replace(now) == now { quiet.get() + 1 } else { 0 });
        let (busy, idle) = STEPS;
        world.clock.advance(if quiet.get() % QUIET == QUIET - 1 { idle } else { busy });
    };
    let never = world.until(Duration::ZERO, || async {
        turn();
        false
    });
    tokio::select! {
        biased;
        () = act(world) => {}
        () = never => {}
    }
    let right = Cell::new(0);
    let is_settled = || async {
        turn();
        right.set(if is_right(world).await { right.get() + 1 } else { 0 });
        right.get() > TURNS_AFTER
    };
    world.until(Duration::ZERO, is_settled).await;
}
