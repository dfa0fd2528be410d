//! Who serves what, as the router reads it: made anew whenever the tables or this node's shards changed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use prognet_supervisor::{Epoch, Name, Place, ShardId, Unavailable};
use tokio::sync::watch;

use crate::{
    BootTime, Member,
    numbers::Standing,
    tables::{Incarnation, NodeId, ShardState, Status, word_of},
};

/// A map, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Map {
    shards: BTreeMap<ShardId, Seat>,
    /// Where each node's newest run stands.
    nodes: BTreeMap<NodeId, Status>,
    /// Services that somebody hosts, or will when it has joined.
    hosted: HashSet<Name>,
    /// Whether other nodes serve.
    has_others: bool,
    /// Whether this node is one of them: a joining one may yet be turned away.
    is_seated: bool,
}

/// Where a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    Here(Epoch),
    /// Here, where nothing more begins.
    Leaving(Epoch),
    There(Incarnation, Epoch),
    /// Nobody serves it now.
    Empty,
}

/// The newest map, shared by those who route.
#[derive(Debug)]
pub(crate) struct Maps {
    now: RwLock<Arc<Map>>,
    /// Until when the lease holds, in milliseconds of the machine's own clock.
    holds_until: AtomicU64,
    changes: watch::Sender<u64>,
}

impl Default for Maps {
    fn default() -> Self {
        Self { now: RwLock::default(), holds_until: AtomicU64::new(0), changes: watch::Sender::new(0) }
    }
}

impl Maps {
    /// Takes in how a member stands.
    pub(crate) fn publish(&self, member: &Member) {
        self.holds_until.store(member.lease().holds_until().as_millis(), Ordering::Release);
        let map = Map::of(member);
        let is_other = **self.now.read().unwrap_or_else(PoisonError::into_inner) != map;
        if is_other {
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
            self.stir();
        }
    }

    /// Whoever waits looks again.
    pub(crate) fn stir(&self) {
        self.changes.send_modify(|times| *times += 1);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether the lease holds.
    pub(crate) fn holds(&self, now: BootTime) -> bool {
        now.as_millis() < self.holds_until.load(Ordering::Acquire)
    }

    pub(crate) fn place(&self, shard: ShardId, now: BootTime) -> Result<Place, Unavailable> {
        let map = Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner));
        match map.shards.get(&shard) {
            Some(Seat::Here(epoch)) if self.holds(now) => Ok(Place::Here(*epoch)),
            Some(Seat::There(node, epoch)) => Ok(Place::There(*node, *epoch)),
            Some(Seat::Here(_) | Seat::Leaving(_)) => Err(Unavailable::Moving),
            // Before anybody is here nobody knows who will host what.
            Some(Seat::Empty) | None if map.hosted.is_empty() || map.hosted.contains(&shard.service) => {
                Err(Unavailable::Moving)
            }
            Some(Seat::Empty) | None => Err(Unavailable::NoHost { service: shard.service }),
        }
    }

    /// Whether what this node began in the shard under this epoch may be answered.
    pub(crate) fn may_answer(&self, shard: ShardId, epoch: Epoch, now: BootTime) -> bool {
        let map = Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner));
        let seat = map.shards.get(&shard);
        self.holds(now) && matches!(seat, Some(Seat::Here(held) | Seat::Leaving(held)) if *held == epoch)
    }

    /// Whether other nodes are here that could take shards over.
    pub(crate) fn has_others(&self) -> bool {
        self.now.read().unwrap_or_else(PoisonError::into_inner).has_others
    }

    /// How nodes and shards stand, in numbers; links are not this one's to know.
    pub(crate) fn standing(&self, now: BootTime) -> Standing {
        let map = Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner));
        let until = BootTime::from_millis(self.holds_until.load(Ordering::Acquire));
        let mut standing = Standing { lease: until.since(now), ..Standing::default() };
        for status in map.nodes.values() {
            *standing.nodes.entry(word_of(*status)).or_default() += 1;
        }
        for (shard, seat) in &map.shards {
            let (owned, unserved) = standing.shards.entry(shard.service).or_default();
            match seat {
                Seat::Here(_) | Seat::Leaving(_) => *owned += 1,
                Seat::Empty => *unserved += 1,
                Seat::There(..) => {}
            }
        }
        standing
    }

    /// Whether this node is one of the cluster, and somebody serves every shard that somebody could.
    pub(crate) fn is_settled(&self, now: BootTime) -> bool {
        let map = Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner));
        let is_placed = |shard: &ShardId| !matches!(self.place(*shard, now), Err(Unavailable::Moving));
        map.is_seated && !map.shards.is_empty() && map.shards.keys().all(is_placed)
    }
}

impl Map {
    fn of(member: &Member) -> Self {
        let (view, me) = (member.view(), member.incarnation());
        let living: HashSet<_> = view.serving().map(|row| row.incarnation).collect();
        let seat = |row: &crate::tables::ShardRow| match row.owner {
            Some(owner) if Some(owner) == me => {
                // Whether the lease holds is asked when somebody asks.
                if member.is_open(row.shard, row.epoch) {
                    Seat::Here(row.epoch)
                } else if member.may_answer(row.shard, row.epoch) {
                    Seat::Leaving(row.epoch)
                } else {
                    Seat::Empty
                }
            }
            Some(owner) if row.state == ShardState::Owned && living.contains(&owner) => {
                Seat::There(owner, row.epoch)
            }
            Some(_) | None => Seat::Empty,
        };
        let hosted = view.live().flat_map(|row| row.profile.roles.iter().copied()).collect();
        let has_others = living.iter().any(|one| Some(*one) != me);
        let shards = view.shards().map(|row| (row.shard, seat(row))).collect();
        let mut runs: Vec<_> = view.nodes().iter().map(|row| (row.incarnation, row.status)).collect();
        runs.sort_unstable_by_key(|(run, _)| *run);
        // Of a node's runs the last one stays.
        let nodes = runs.into_iter().map(|(run, status)| (run.node, status)).collect();
        Self { shards, nodes, hosted, has_others, is_seated: member.is_seated() }
    }
}
