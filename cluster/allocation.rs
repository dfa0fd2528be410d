//! Who should own what: pure, and the same on whichever node computes it.
//!
//! A shard stays where it is as long as that does no harm. It moves off a node that drains; off one that has
//! more than its share and the slack; and to one that has less. Where it goes is decided by weighted rendezvous
//! hashing, so that nodes that come and go disturb only what is theirs.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prognet_supervisor::{Name, ShardId};

use crate::{
    Epoch,
    limits::Limits,
    tables::{Move, NodeId, Profile},
};

/// A node that has shards or may have some.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name.
    pub node: NodeId,
    /// Its roles, weight and build.
    pub profile: Arc<Profile>,
    /// Whether it gives away what it has.
    pub is_draining: bool,
}

impl Host {
    fn takes(&self, service: Name) -> bool {
        !self.is_draining && self.profile.roles.contains(&service)
    }
}

/// A shard as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The living node that owns it.
    pub owner: Option<NodeId>,
    /// Where it is moving to.
    pub target: Option<NodeId>,
    /// What it costs its owner, in any unit that is the same for all shards; at least 1.
    pub load: u64,
}

/// What may move now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Whatever is not well placed.
    All,
    /// Only what leaves a draining node: a view has just changed, or two builds are up.
    Drains,
}

/// How strongly a shard belongs to a node: the best of `weight` hashes, so that a node of twice the weight wins
/// twice as often.
#[must_use]
pub fn score(node: NodeId, shard: ShardId, weight: u8) -> u64 {
    let mut key = [0; 2 * Name::MAX + 4];
    for (to, from) in key.iter_mut().zip(node.0.as_bytes()) {
        *to = *from;
    }
    for (to, from) in key.iter_mut().skip(Name::MAX).zip(shard.service.as_bytes()) {
        *to = *from;
    }
    let seed = u64::from(shard.number);
    let draws = (0..weight.max(1))
        .map(|draw| xxhash_rust::xxh3::xxh3_64_with_seed(&key, seed << 8 | u64::from(draw)));
    draws.max().unwrap_or(0)
}

/// The moves to begin now, on top of those under way.
#[must_use]
pub fn plan(hosts: &[Host], shards: &[Placed], pace: Pace, limits: &Limits) -> Vec<Move> {
    let mut budget = Budget::of(shards, limits);
    let services: BTreeSet<_> = shards.iter().map(|placed| placed.shard.service).collect();
    services.into_iter().flat_map(|name| Service::of(name, hosts, shards).plan(pace, &mut budget)).collect()
}

/// What may still begin to move.
struct Budget<'a> {
    limits: &'a Limits,
    /// Moves that touch a node.
    touching: BTreeMap<NodeId, usize>,
    /// Moves of a service.
    moving: BTreeMap<Name, usize>,
    shards: BTreeMap<Name, usize>,
}

impl<'a> Budget<'a> {
    fn of(shards: &[Placed], limits: &'a Limits) -> Self {
        let mut budget =
            Self { limits, touching: BTreeMap::new(), moving: BTreeMap::new(), shards: BTreeMap::new() };
        for placed in shards {
            *budget.shards.entry(placed.shard.service).or_default() += 1;
            if let Some(target) = placed.target {
                budget.spend(placed.shard.service, placed.owner, target);
            }
        }
        budget
    }

    fn spend(&mut self, service: Name, from: Option<NodeId>, to: NodeId) {
        *self.moving.entry(service).or_default() += 1;
        for node in from.into_iter().chain([to]) {
            *self.touching.entry(node).or_default() += 1;
        }
    }

    fn allows_service(&self, service: Name) -> bool {
        let shards = self.shards.get(&service).copied().unwrap_or(0);
        self.moving.get(&service).copied().unwrap_or(0) < self.limits.moving_max(shards)
    }

    fn allows_node(&self, node: NodeId, is_drain: bool) -> bool {
        self.touching.get(&node).copied().unwrap_or(0) < self.limits.node_max(is_drain)
    }
}

/// One service's shards and hosts, while a plan is made.
struct Service<'a> {
    name: Name,
    /// Those that may be given shards.
    hosts: Vec<&'a Host>,
    shards: Vec<&'a Placed>,
    /// What each host has or is being given.
    loads: BTreeMap<NodeId, u64>,
    load: u64,
    weight: u64,
    /// What this plan moves.
    moved: BTreeSet<ShardId>,
}

impl<'a> Service<'a> {
    fn of(name: Name, hosts: &'a [Host], shards: &'a [Placed]) -> Self {
        let hosts: Vec<_> = hosts.iter().filter(|host| host.takes(name)).collect();
        let shards: Vec<_> = shards.iter().filter(|placed| placed.shard.service == name).collect();
        let mut loads: BTreeMap<_, _> = hosts.iter().map(|host| (host.node, 0)).collect();
        for placed in &shards {
            let home = placed.target.filter(|to| loads.contains_key(to)).or(placed.owner);
            if let Some(load) = home.and_then(|node| loads.get_mut(&node)) {
                *load += placed.load;
            }
        }
        let load = shards.iter().map(|placed| placed.load).sum();
        let weight = hosts.iter().map(|host| u64::from(host.profile.weight)).sum();
        Self { name, hosts, shards, loads, load, weight, moved: BTreeSet::new() }
    }

    /// `percent` of a host's share, in hundredths of a load unit.
    fn share(&self, host: &Host, percent: u64) -> u64 {
        self.load * u64::from(host.profile.weight) * percent / self.weight.max(1)
    }

    /// The most a host is given: its share and the slack, rounded up.
    fn cap(&self, host: &Host, limits: &Limits) -> u64 {
        self.share(host, 100 + limits.slack_percent).div_ceil(100)
    }

    /// The least a host should have: its share less the slack, rounded down.
    fn floor(&self, host: &Host, limits: &Limits) -> u64 {
        self.share(host, 100 - limits.slack_percent.min(100)) / 100
    }

    fn load_of(&self, node: NodeId) -> u64 {
        self.loads.get(&node).copied().unwrap_or(0)
    }

    fn has_room(&self, host: &Host, placed: &Placed, limits: &Limits) -> bool {
        self.load_of(host.node) + placed.load <= self.cap(host, limits)
    }

    /// Whether a move leaves its new owner less full than it finds the old one.
    fn relieves(&self, from: &Host, to: &Host, load: u64) -> bool {
        let then = (self.load_of(to.node) + load) * u64::from(from.profile.weight);
        from.node != to.node && then < self.load_of(from.node) * u64::from(to.profile.weight)
    }

    fn is_host(&self, node: NodeId) -> bool {
        self.loads.contains_key(&node)
    }

    fn plan(mut self, pace: Pace, budget: &mut Budget<'_>) -> Vec<Move> {
        let mut moves = self.withdrawals();
        for placed in self.resting(|service, owner| !service.is_host(owner)) {
            moves.extend(self.drain(placed, budget));
        }
        if pace == Pace::All {
            let limits = budget.limits;
            for host in self.hosts.clone() {
                let mut own = self.resting(|_, owner| owner == host.node);
                own.sort_by_key(|placed| score(host.node, placed.shard, host.profile.weight));
                for placed in own {
                    if self.load_of(host.node) > self.cap(host, limits) {
                        moves.extend(self.shed(placed, host, budget));
                    }
                }
            }
            for host in self.hosts.clone() {
                moves.extend(self.fill(host, budget));
            }
        }
        moves
    }

    /// Targets that can no longer take their shard.
    fn withdrawals(&self) -> Vec<Move> {
        let is_stranded =
            |placed: &&&Placed| placed.owner.is_some() && placed.target.is_some_and(|to| !self.is_host(to));
        let stranded = self.shards.iter().filter(is_stranded);
        stranded.map(|placed| Move { shard: placed.shard, epoch: placed.epoch, to: None }).collect()
    }

    /// Shards that are owned by such a node and not moving.
    fn resting(&self, is_such: impl Fn(&Self, NodeId) -> bool) -> Vec<&'a Placed> {
        let is_resting = |placed: &&&Placed| {
            let is_moving = placed.target.is_some() || self.moved.contains(&placed.shard);
            !is_moving && placed.owner.is_some_and(|owner| is_such(self, owner))
        };
        self.shards.iter().filter(is_resting).copied().collect()
    }

    /// A move off a node that may not keep the shard: to the best host with room, or else the emptiest.
    fn drain(&mut self, placed: &Placed, budget: &mut Budget<'_>) -> Option<Move> {
        let limits = budget.limits;
        let best = self.best(placed, |service, host| {
            service.has_room(host, placed, limits) && budget.allows_node(host.node, true)
        });
        let has_room = self.hosts.iter().any(|host| self.has_room(host, placed, limits));
        let emptiest = || {
            let hosts = self.hosts.iter().filter(|host| budget.allows_node(host.node, true));
            // In sixteenths: the greatest weight.
            let fullness =
                |host: &&&Host| self.load_of(host.node) * 16 / u64::from(host.profile.weight.max(1));
            hosts.min_by_key(fullness).map(|host| host.node)
        };
        let to = if has_room { best? } else { emptiest()? };
        self.begin(placed, to, true, budget)
    }

    /// A move off a host that has too much, to the best host with room.
    fn shed(&mut self, placed: &Placed, from: &Host, budget: &mut Budget<'_>) -> Option<Move> {
        let limits = budget.limits;
        let to = self.best(placed, |service, host| {
            let is_other = host.node != from.node;
            is_other && service.has_room(host, placed, limits) && budget.allows_node(host.node, false)
        })?;
        self.begin(placed, to, false, budget)
    }

    /// Moves to a host that has too little, of the shards that belong to it most, from hosts above their share.
    fn fill(&mut self, host: &Host, budget: &mut Budget<'_>) -> Vec<Move> {
        let mut moves = Vec::new();
        let mut others = self.resting(|service, owner| owner != host.node && service.is_host(owner));
        others.sort_by_key(|placed| Reverse(score(host.node, placed.shard, host.profile.weight)));
        for placed in others {
            if self.load_of(host.node) >= self.floor(host, budget.limits) {
                break;
            }
            let gives = |donor: &&Host| {
                let is_rich = self.load_of(donor.node) * 100 > self.share(donor, 100);
                Some(donor.node) == placed.owner && is_rich && self.relieves(donor, host, placed.load)
            };
            let fits = self.has_room(host, placed, budget.limits) && budget.allows_node(host.node, false);
            if fits && self.hosts.iter().any(gives) {
                moves.extend(self.begin(placed, host.node, false, budget));
            }
        }
        moves
    }

    /// The host that a shard belongs to most among those that may have it: the newest build first, since an
    /// older one is about to be restarted.
    fn best(&self, placed: &Placed, may: impl Fn(&Self, &Host) -> bool) -> Option<NodeId> {
        let able = self.hosts.iter().filter(|host| may(self, host));
        let rank = |host: &&&Host| {
            (host.profile.build, score(host.node, placed.shard, host.profile.weight), Reverse(host.node))
        };
        able.max_by_key(rank).map(|host| host.node)
    }

    /// Takes a move off the budget and into the loads; none if it may not begin yet.
    fn begin(
        &mut self,
        placed: &Placed,
        to: NodeId,
        is_drain: bool,
        budget: &mut Budget<'_>,
    ) -> Option<Move> {
        let from = placed.owner?;
        if !budget.allows_service(self.name) || !budget.allows_node(from, is_drain) {
            return None;
        }
        budget.spend(self.name, Some(from), to);
        self.moved.insert(placed.shard);
        if let Some(load) = self.loads.get_mut(&from) {
            *load = load.saturating_sub(placed.load);
        }
        if let Some(load) = self.loads.get_mut(&to) {
            *load += placed.load;
        }
        Some(Move { shard: placed.shard, epoch: placed.epoch, to: Some(to) })
    }
}

#[cfg(test)]
mod tests;
