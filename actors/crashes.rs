//! What the domain is put through: a node that dies behind every record, with its mails caught outside of it.

use std::{cell::RefCell, collections::BTreeMap};

use prognet_supervisor::{
    Service,
    testing::{self, World},
};

use crate::{
    communication::{
        Delivery,
        channel::{Channel, Told},
        delivery::Sender,
    },
    values::{Email, PersonName},
};

thread_local! {
    // A world starts its nodes on the thread of its test; what it was told outlives them.
    static TOLD: RefCell<Told> = RefCell::default();
}

fn services() -> Vec<Service> {
    let (from, name) = (Email::parse("no-reply@example.org").unwrap(), PersonName::parse("Example").unwrap());
    let channel = Channel::Told(TOLD.with_borrow(Clone::clone));
    let delivery = Delivery::new(Sender { from, name }, None, channel);
    delivery.open("https://api.example.org");
    crate::services_delivering(delivery)
}

/// Whatever record a node dies behind, it comes to what is right, and so many mails were asked for: each once.
pub(crate) async fn over_crashes(
    mails: usize,
    prepare: impl AsyncFn(&World),
    act: impl AsyncFn(&World),
    is_right: impl AsyncFn(&World) -> bool,
) {
    let prepared = async || {
        let world = World::new(crate::services).await;
        prepare(&world).await;
        world
    };
    let is_right =
        async |world: &World| is_right(world).await && count(world, "message", "requested") == mails;
    testing::over_crashes(prepared, act, is_right).await;
}

/// The same with a door out: each of so many mails to an address is sent, under one Message-ID.
pub(crate) async fn over_crashes_with_mails(
    mails: &[(&str, usize)],
    prepare: impl AsyncFn(&World),
    act: impl AsyncFn(&World),
    is_right: impl AsyncFn(&World) -> bool,
) {
    let prepared = async || {
        // An attempt of a node that is gone may still be on its way, and told to the one before.
        TOLD.set(Told::default());
        let world = World::new(services).await;
        prepare(&world).await;
        world
    };
    let is_right = async |world: &World| is_right(world).await && are_sent(world, mails);
    testing::over_crashes(prepared, act, is_right).await;
}

/// All mails have left, and none but these.
fn are_sent(world: &World, mails: &[(&str, usize)]) -> bool {
    let all: usize = mails.iter().map(|(_, count)| count).sum();
    let told = TOLD.with_borrow(Clone::clone);
    let told = told.lock().unwrap();
    let mut ids = BTreeMap::new();
    for (id, to) in &*told {
        assert_eq!(ids.entry(id).or_insert(to), &to, "one Message-ID is one mail");
    }
    assert!(told.len() <= count(world, "message", "attempted"), "a copy left that nobody knows of");
    let of = |to: &str| ids.values().filter(|found| **found == to).count();
    mails.iter().all(|(to, count)| of(to) == *count)
        && ids.len() == all
        && count(world, "message", "requested") == all
        && count(world, "message", "delivered") == all
}

/// How often something happened to entities of a kind.
pub(crate) fn count(world: &World, kind: &str, event: &str) -> usize {
    let log = world.memory.log();
    let records = log.iter().map(|stored| &stored.record);
    let events =
        records.filter(|record| record.entity.kind.as_str() == kind && record.name.as_str() == event);
    events.count()
}
