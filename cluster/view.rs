//! What a node last read of the tables: possibly old, never wrong about the past.

use std::collections::{BTreeMap, BTreeSet};

use prognet_supervisor::{Name, ShardId};

use crate::{
    Epoch, StoreTime,
    tables::{Incarnation, Meta, NodeRow, ShardRow, ShardState, Snapshot, Status},
};

/// The tables as this node knows them.
#[derive(Debug, Clone, Default)]
pub struct View {
    meta: Option<Meta>,
    now: StoreTime,
    nodes: Vec<NodeRow>,
    /// Whose lease was over when the store was last heard of.
    late: BTreeSet<Incarnation>,
    shards: BTreeMap<ShardId, ShardRow>,
}

impl View {
    /// Takes in what was read: all nodes, and the shards that changed.
    pub(crate) fn merge(&mut self, snapshot: Snapshot) {
        self.meta = Some(snapshot.meta);
        self.now = snapshot.now;
        self.nodes = snapshot.nodes;
        let late = self.nodes.iter().filter(|row| row.lease_until < self.now);
        self.late = late.map(|row| row.incarnation).collect();
        self.take_in(snapshot.shards);
    }

    /// Takes in whose leases are over: rows are not read again for a renewal.
    pub(crate) fn expired(&mut self, expired: &[Incarnation]) {
        self.late = expired.iter().copied().collect();
    }

    /// Takes in rows that may be older or younger than those known.
    pub(crate) fn take_in(&mut self, rows: Vec<ShardRow>) {
        for row in rows {
            let known = self.shards.entry(row.shard).or_insert(row);
            if known.changed <= row.changed {
                *known = row;
            }
        }
    }

    /// Believes a peer that a shard was let go or taken, until the row itself is read.
    pub(crate) fn hear(&mut self, shard: ShardId, epoch: Epoch, owner: Option<Incarnation>) {
        let Some(row) = self.shards.get_mut(&shard) else { return };
        match owner {
            None if row.epoch == epoch => (row.owner, row.state) = (None, ShardState::Free),
            Some(_) if row.epoch < epoch => {
                (row.epoch, row.owner, row.state, row.target) = (epoch, owner, ShardState::Owned, None);
            }
            None | Some(_) => {}
        }
    }

    /// The cluster's row, once it was read.
    #[must_use]
    pub const fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }

    /// The map number that all shards were read up to.
    pub(crate) fn map(&self) -> u64 {
        self.meta.map_or(0, |meta| meta.map)
    }

    /// The store's time of the last reading.
    pub(crate) const fn now(&self) -> StoreTime {
        self.now
    }

    /// Every node's row.
    #[must_use]
    pub fn nodes(&self) -> &[NodeRow] {
        &self.nodes
    }

    /// Every shard's row.
    pub fn shards(&self) -> impl Iterator<Item = &ShardRow> {
        self.shards.values()
    }

    /// A shard's row.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Option<&ShardRow> {
        self.shards.get(&shard)
    }

    /// An incarnation's row.
    #[must_use]
    pub fn node(&self, incarnation: Incarnation) -> Option<&NodeRow> {
        self.nodes.iter().find(|row| row.incarnation == incarnation)
    }

    /// Where an incarnation stands, if its row is there.
    pub(crate) fn status(&self, incarnation: Incarnation) -> Option<Status> {
        self.node(incarnation).map(|row| row.status)
    }

    /// Who serves or drains, and has a lease.
    pub(crate) fn serving(&self) -> impl Iterator<Item = &NodeRow> {
        self.live().filter(|row| row.status != Status::Joining)
    }

    /// Who is not down, and has a lease.
    pub(crate) fn live(&self) -> impl Iterator<Item = &NodeRow> {
        let is_late = |row: &NodeRow| self.late.contains(&row.incarnation);
        self.nodes.iter().filter(move |row| row.status != Status::Down && !is_late(row))
    }

    /// Who may be given shards of a service.
    pub(crate) fn hosts(&self, service: Name) -> impl Iterator<Item = &NodeRow> {
        self.live().filter(move |row| row.status == Status::Up && row.profile.roles.contains(&service))
    }
}
