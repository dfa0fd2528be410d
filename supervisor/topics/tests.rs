//! What the hub holds.

use std::sync::Arc;

use prognet_storage::HomeKind;

use super::*;
use crate::testing::World;

fn topic(id: u128) -> Topic {
    Topic::Home(Home { kind: HomeKind::Tenant, id })
}

/// A thousand tenants looked at once each would otherwise be a thousand channels for ever.
#[tokio::test]
async fn a_topic_that_nobody_watches_any_more_is_forgotten() {
    let world = World::new(Vec::new).await;
    let mut watching: Vec<_> = (0..3).map(|id| world.node.watch(topic(id), None)).collect();
    watching.push(world.node.watch(topic(0), None));
    let hub = Arc::clone(&watching[0].hub);
    let topics = || hub.lock().len();
    assert_eq!(topics(), 3);

    drop(watching.remove(0));
    assert_eq!(topics(), 3, "somebody else watches the first");
    watching.truncate(1);
    assert_eq!(topics(), 1);
    drop(watching);
    assert_eq!(topics(), 0);
}

/// A subscriber that falls behind listens anew before it stops listening.
#[tokio::test]
async fn a_topic_is_kept_while_its_only_subscriber_catches_up() {
    let world = World::new(Vec::new).await;
    let mut watching = world.node.watch(topic(0), None);
    let hub = Arc::clone(&watching.hub);

    watching.live = hub.subscribe(topic(0));
    assert_eq!(hub.lock().len(), 1);

    drop(watching);
    assert_eq!(hub.lock().len(), 0);
}
