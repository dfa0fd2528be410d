//! Where a reader runs: on one node, the owner of a shard that its name draws, for as long as it owns it.
//!
//! Two may run for a moment when the shard moves. That is safe: rows change only from where a reader left them, an
//! outside reader's place is a record in that very shard, and effects are taken in once by whoever receives them.

use std::sync::Arc;

use prognet_storage::{Home, HomeKind, Name, ShardId};

use crate::{
    Unavailable,
    leases::Incarnation,
    placement::{Place, Placement},
    runtime::Runtime,
};

/// A shard for each service that a reader may run with, the first one that has a host counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Anchors(Vec<ShardId>);

impl Anchors {
    /// Of a reader that belongs to these services, in this order.
    pub(crate) fn of(reader: Name, services: impl IntoIterator<Item = Name>, shards: u16) -> Self {
        let home = home_of(reader);
        let number = home.shard_number(shards);
        Self(services.into_iter().map(|service| ShardId { service, number }).collect())
    }

    /// The one of its own service.
    pub(crate) fn first(&self) -> Option<ShardId> {
        self.0.first().copied()
    }

    /// Where it runs now, if anywhere.
    pub(crate) fn place(&self, placement: &dyn Placement) -> Option<Place> {
        let placed = self.0.iter().map(|shard| placement.place(*shard));
        let mut hosted = placed.filter(|place| !matches!(place, Err(Unavailable::NoHost { .. })));
        hosted.next()?.ok()
    }

    /// The other node it runs on.
    pub(crate) fn abroad(&self, placement: &dyn Placement) -> Option<Incarnation> {
        match self.place(placement)? {
            Place::There(node, _) => Some(node),
            Place::Here(_) => None,
        }
    }
}

/// A home that the name draws.
fn home_of(reader: Name) -> Home {
    let id = xxhash_rust::xxh3::xxh3_128(reader.as_bytes());
    Home { kind: HomeKind::Platform, id }
}

/// Runs a reader whenever it is at home here, until it ends by itself.
pub(crate) async fn at_home<F: Future<Output = ()>>(
    runtime: &Arc<Runtime>,
    anchors: &Anchors,
    mut read: impl FnMut() -> F,
) {
    let Some(placement) = &runtime.placement else {
        return read().await;
    };
    let mut changes = placement.changes();
    let mut is_here = |_: &u64| matches!(anchors.place(&**placement), Some(Place::Here(_)));
    loop {
        if changes.wait_for(&mut is_here).await.is_err() {
            return;
        }
        tokio::select! {
            () = read() => return,
            gone = changes.wait_for(|changed| !is_here(changed)) => if gone.is_err() {
                return;
            },
        }
    }
}
