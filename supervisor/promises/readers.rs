//! Readers with effects outside: nothing skipped, and little told twice.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prognet_storage::journal::RecordKind;

use super::{Command, Counter, counted, far};
use crate::{Aggregate, Limits, Name, Node, Reader, ReaderError, Recorded, Service, testing::World};

/// Writes down what it is given, unless the mail is down.
#[derive(Debug)]
struct Letters;

#[derive(Debug, Default)]
struct Post {
    sent: Vec<(u128, String)>,
    down: HashSet<u128>,
}

/// Every test has a home of its own in it.
static POST: Mutex<Option<Post>> = Mutex::new(None);

fn post<T>(act: impl FnOnce(&mut Post) -> T) -> T {
    let mut post: MutexGuard<'_, Option<Post>> = POST.lock().unwrap_or_else(PoisonError::into_inner);
    act(post.get_or_insert_default())
}

impl Reader for Letters {
    const NAME: &'static str = "letters";

    fn concerns(&self, kind: Name) -> bool {
        kind == Counter::KIND.name
    }

    async fn take(&self, event: &Recorded, _: &Node) -> Result<(), ReaderError> {
        post(|post| {
            if post.down.contains(&event.home.id) {
                return Err("the mail is down".into());
            }
            post.sent.push((event.home.id, event.event_id()));
            Ok(())
        })
    }
}

/// The places in their shard of the events that were told, in order.
fn sent(home: u128) -> Vec<u64> {
    post(|post| {
        let own = post.sent.iter().filter(|(other, _)| *other == home);
        own.map(|(_, id)| id.rsplit('/').next().unwrap().parse().unwrap()).collect()
    })
}

fn services() -> Vec<Service> {
    vec![Service::new("test").aggregate::<Counter>().reader(Letters)]
}

async fn add(world: &World, home: u128) {
    world.ask(far(home), Command::Add).await.unwrap();
}

fn cursors(world: &World) -> usize {
    world.memory.log().iter().filter(|stored| stored.record.kind == RecordKind::Cursor).count()
}

async fn until_sent(world: &World, home: u128, count: usize) {
    world.until(Duration::ZERO, || async { sent(home).len() >= count }).await;
}

async fn until_checkpoint(world: &World, count: usize) {
    world.until(Duration::from_millis(50), || async { cursors(world) >= count }).await;
}

#[tokio::test]
async fn what_was_told_before_a_crash_and_not_checkpointed_is_told_again_and_nothing_is_skipped() {
    const HOME: u128 = 0x101;
    let mut world = World::new(services).await;
    for _ in 0..3 {
        add(&world, HOME).await;
    }
    until_sent(&world, HOME, 3).await;

    world.crash().await;
    until_sent(&world, HOME, 6).await;
    until_checkpoint(&world, 1).await;
    add(&world, HOME).await;
    until_sent(&world, HOME, 7).await;
    world.crash().await;
    until_sent(&world, HOME, 8).await;

    assert_eq!(sent(HOME), [1, 2, 3, 1, 2, 3, 4, 4], "the cursor's records lie elsewhere");
}

#[tokio::test]
async fn a_checkpoint_outlives_the_whole_rebuildable_tier() {
    const HOME: u128 = 0x102;
    let mut world = World::with(Limits { shards: 1, ..Limits::default() }, services).await;
    add(&world, HOME).await;
    until_checkpoint(&world, 1).await;
    add(&world, HOME).await;
    until_checkpoint(&world, 2).await;

    world.memory.lose_tier();
    world.crash().await;
    add(&world, HOME).await;
    until_sent(&world, HOME, 3).await;
    until_checkpoint(&world, 3).await;

    assert_eq!(sent(HOME), [1, 3, 5]);
}

#[tokio::test]
async fn a_checkpoint_whose_fate_is_unknown_is_found_out_and_made_again() {
    const HOME: u128 = 0x104;
    let world = World::new(services).await;
    add(&world, HOME).await;
    until_sent(&world, HOME, 1).await;
    world.memory.fail_appends([crate::testing::Fault::Full, crate::testing::Fault::OutOfOrder]);
    world.until(Duration::from_secs(1), || async { cursors(&world) == 1 }).await;
    world.until(Duration::from_secs(1), || async { world.node.readers()[1].error.is_none() }).await;

    assert_eq!(sent(HOME), [1]);
}

#[tokio::test]
async fn a_stuck_reader_shows_its_lag_and_error_and_holds_up_nobody() {
    const HOME: u128 = 0x103;
    let world = World::new(services).await;
    post(|post| post.down.insert(HOME));
    add(&world, HOME).await;
    let letters =
        || world.node.readers().into_iter().find(|reader| reader.name.as_str() == "letters").unwrap();

    world.until(Duration::ZERO, || async { letters().error.is_some() }).await;
    add(&world, HOME).await;
    assert_eq!(letters().error.as_deref(), Some("the mail is down"));
    assert_eq!(letters().lag, 2);
    assert!(world.node.health().iter().all(|(_, health)| health.is_ok()), "the node is as ready as ever");
    assert_eq!(world.read(far(HOME)).await.unwrap(), counted(2));

    post(|post| post.down.remove(&HOME));
    world.until(Duration::from_secs(1), || async { sent(HOME) == [1, 2] }).await;
    world.until(Duration::ZERO, || async { letters().error.is_none() }).await;
}
