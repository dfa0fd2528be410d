//! A model of the store: each statement at once and whole, on its own clock. It also watches what no node may do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prognet_supervisor::{Name, ShardId};

use super::Bug;
use crate::{
    BootTime, Epoch, Limits, Offset, StoreTime,
    allocation::{Host, Placed},
    tables::{
        Answer, Incarnation, Lost, Meta, Move, NodeId, NodeRow, Profile, Renewal, ShardRow, ShardState,
        Snapshot, Statement, Status,
    },
};

/// An append that landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) epoch: Epoch,
    pub(super) by: Incarnation,
    pub(super) id: u64,
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) meta: Meta,
    pub(super) now: StoreTime,
    pub(super) nodes: BTreeMap<Incarnation, NodeRow>,
    pub(super) shards: BTreeMap<ShardId, ShardRow>,
    pub(super) log: BTreeMap<ShardId, Vec<Entry>>,
    /// Who ever had an epoch.
    owners: BTreeMap<(ShardId, Epoch), Incarnation>,
    limits: Limits,
    bug: Option<Bug>,
    /// The first thing that must never happen, and did.
    pub(super) broken: Option<String>,
}

pub(super) const GENERATION: u128 = 7;

impl Store {
    pub(super) fn new(services: &[Name], shards: u16, limits: Limits, bug: Option<Bug>) -> Self {
        let numbers = services
            .iter()
            .flat_map(|service| (0..shards).map(|number| ShardId { service: *service, number }));
        let row = |shard| ShardRow {
            shard,
            epoch: Epoch(0),
            owner: None,
            state: ShardState::Free,
            target: None,
            tail: Offset(0),
            changed: 1,
        };
        let meta = Meta {
            generation: GENERATION,
            shards,
            view: 1,
            view_at: StoreTime::default(),
            map: 1,
            finalized: 1,
            restored: 0,
        };
        Self {
            meta,
            now: StoreTime::default(),
            nodes: BTreeMap::new(),
            shards: numbers.map(|shard| (shard, row(shard))).collect(),
            log: BTreeMap::new(),
            owners: BTreeMap::new(),
            limits,
            bug,
            broken: None,
        }
    }

    pub(super) fn violated(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    pub(super) fn run(&mut self, statement: Statement, asked_at: BootTime) -> Answer {
        match statement {
            Statement::Read { after } => Answer::Read(Ok(self.read(after))),
            Statement::Join { view, node, profile } => {
                Answer::Joined { asked_at, result: Ok(self.join(view, node, profile)) }
            }
            Statement::Renew { by } => Answer::Renewed { by, asked_at, result: Ok(self.renew(by)) },
            Statement::ChangeStatus { of, from, to } => {
                let result = Ok(self.change_status(of, to, |row| row.status == from));
                Answer::StatusChanged { of, to, result }
            }
            Statement::DeclareDown { of, is_proven } => {
                let now = self.now;
                let may = self.bug != Some(Bug::ClaimsWithoutDeclaring);
                let changed = may
                    && self.change_status(of, Status::Down, |row| {
                        row.status != Status::Down && (is_proven || row.lease_until < now)
                    });
                Answer::DeclaredDown { of, result: Ok(changed) }
            }
            Statement::Forget { of } => Answer::Forgotten(Ok(self.forget(of))),
            Statement::Claim { by, shards } => Answer::Claimed { by, result: Ok(self.claim(by, shards)) },
            Statement::MarkReleasing { by, shards } => {
                for (shard, epoch) in shards {
                    self.change_owned(by, shard, epoch, |row| row.state = ShardState::Releasing);
                }
                Answer::MarkedReleasing(Ok(()))
            }
            Statement::Free { by, shards } => {
                for (shard, epoch) in &shards {
                    let free = |row: &mut ShardRow| (row.owner, row.state) = (None, ShardState::Free);
                    self.change_owned(by, *shard, *epoch, free);
                }
                Answer::Freed { by, shards, result: Ok(()) }
            }
            Statement::Propose { view, map, moves } => Answer::Proposed(Ok(self.propose(view, map, &moves))),
        }
    }

    fn read(&self, after: u64) -> Snapshot {
        let mut nodes: Vec<_> = self.nodes.values().cloned().collect();
        for row in &mut nodes {
            if self.bug == Some(Bug::ClaimsWithoutDeclaring) && row.lease_until < self.now {
                row.status = Status::Down;
            }
        }
        let shards = self.shards.values().filter(|row| row.changed > after).copied().collect();
        Snapshot { meta: self.meta, now: self.now, nodes, shards }
    }

    fn raise_view(&mut self) -> u64 {
        self.meta.view += 1;
        self.meta.view_at = self.now;
        self.meta.view
    }

    fn join(&mut self, view: u64, node: NodeId, profile: Arc<Profile>) -> Option<Incarnation> {
        if self.meta.view != view {
            return None;
        }
        let incarnation = Incarnation { node, number: self.raise_view() };
        let lease_until = self.now.after(self.limits.lease);
        self.nodes
            .insert(incarnation, NodeRow { incarnation, status: Status::Joining, lease_until, profile });
        Some(incarnation)
    }

    fn renew(&mut self, by: Incarnation) -> Option<Renewal> {
        let ignores_status = self.bug == Some(Bug::RenewsAfterDown);
        let row = self.nodes.get_mut(&by).filter(|row| ignores_status || row.status != Status::Down)?;
        row.lease_until = self.now.after(self.limits.lease);
        let is_late = |row: &&NodeRow| row.status != Status::Down && row.lease_until < self.now;
        let expired = self.nodes.values().filter(is_late).map(|row| row.incarnation).collect();
        Some(Renewal { now: self.now, view: self.meta.view, map: self.meta.map, expired })
    }

    fn change_status(&mut self, of: Incarnation, to: Status, may: impl Fn(&NodeRow) -> bool) -> bool {
        let Some(row) = self.nodes.get_mut(&of).filter(|row| may(row)) else { return false };
        row.status = to;
        self.raise_view();
        true
    }

    fn forget(&mut self, of: Incarnation) -> bool {
        let is_named = self.shards.values().any(|row| row.owner == Some(of));
        let is_down = self.nodes.get(&of).is_some_and(|row| row.status == Status::Down);
        if is_named || !is_down {
            return false;
        }
        self.nodes.remove(&of);
        self.raise_view();
        true
    }

    fn is_down(&self, of: Incarnation) -> bool {
        let is_late =
            |row: &NodeRow| self.bug == Some(Bug::ClaimsWithoutDeclaring) && row.lease_until < self.now;
        self.nodes.get(&of).is_some_and(|row| row.status == Status::Down || is_late(row))
    }

    fn claim(&mut self, by: Incarnation, shards: Vec<(ShardId, Epoch)>) -> Vec<ShardRow> {
        if self.nodes.get(&by).is_none_or(|row| row.status == Status::Down) {
            return Vec::new();
        }
        let mut claimed = Vec::new();
        for (shard, epoch) in shards {
            let Some(row) = self.shards.get(&shard).copied() else { continue };
            if row.epoch != epoch || row.owner.is_some_and(|owner| !self.is_down(owner)) {
                continue;
            }
            let raised = if self.bug == Some(Bug::KeepsTheEpoch) { row.epoch } else { row.epoch.next() };
            if raised < row.epoch {
                self.violated(format!("{shard} went back from epoch {} to {raised}", row.epoch));
            }
            self.had_epoch(by, shard, raised);
            let tail = Offset(self.log.get(&shard).map_or(0, Vec::len) as u64);
            let state = ShardState::Owned;
            let changed = self.meta.map + 1;
            let row = ShardRow { shard, epoch: raised, owner: Some(by), state, target: None, tail, changed };
            self.shards.insert(shard, row);
            claimed.push(row);
        }
        if !claimed.is_empty() {
            self.meta.map += 1;
        }
        claimed
    }

    /// One epoch, one writer.
    fn had_epoch(&mut self, by: Incarnation, shard: ShardId, epoch: Epoch) {
        let first = *self.owners.entry((shard, epoch)).or_insert(by);
        if first != by {
            self.violated(format!("{shard} had two owners under epoch {epoch}: {first} and {by}"));
        }
    }

    fn change_owned(
        &mut self,
        by: Incarnation,
        shard: ShardId,
        epoch: Epoch,
        change: impl Fn(&mut ShardRow),
    ) -> bool {
        let row = self.shards.get_mut(&shard).filter(|row| row.epoch == epoch && row.owner == Some(by));
        let Some(row) = row else { return false };
        self.meta.map += 1;
        row.changed = self.meta.map;
        change(row);
        true
    }

    fn propose(&mut self, view: u64, map: u64, moves: &[Move]) -> Option<u64> {
        if (self.meta.view, self.meta.map) != (view, map) {
            return None;
        }
        self.meta.map += 1;
        let mut begun = Vec::new();
        for proposed in moves {
            let row = self.shards.get_mut(&proposed.shard);
            let row = row.filter(|row| row.epoch == proposed.epoch && row.state == ShardState::Owned);
            if let Some(row) = row {
                row.target = proposed.to;
                row.changed = self.meta.map;
                begun.extend(proposed.to.is_some().then_some(*row));
            }
        }
        for row in begun {
            self.watch_limits(&row);
        }
        Some(self.meta.map)
    }

    /// No more moves at a time than the limits say, seen from one that has just begun.
    fn watch_limits(&mut self, begun: &ShardRow) {
        let moving: Vec<_> = self.shards.values().filter(|row| row.target.is_some()).copied().collect();
        let all = self.shards.keys().filter(|shard| shard.service == begun.shard.service).count();
        let of_service = moving.iter().filter(|row| row.shard.service == begun.shard.service).count();
        if of_service > self.limits.moving_max(all) {
            self.violated(format!("{of_service} of {all} shards of {} move", begun.shard.service));
        }
        let from = begun.owner.and_then(|owner| self.nodes.get(&owner));
        let is_drain = from.is_some_and(|row| row.status == Status::Draining);
        let most = self.limits.node_max(is_drain);
        for node in begun.owner.map(|owner| owner.node).into_iter().chain(begun.target) {
            let touches = |row: &&ShardRow| {
                row.target == Some(node) || row.owner.is_some_and(|owner| owner.node == node)
            };
            let touching = moving.iter().filter(touches).count();
            if touching > most {
                self.violated(format!("{touching} moves touch {node}"));
            }
        }
    }

    /// Says whether the append landed.
    pub(super) fn append(&mut self, by: Incarnation, shard: ShardId, epoch: Epoch, id: u64) -> bool {
        let Some(row) = self.shards.get(&shard).copied() else { return false };
        if row.epoch != epoch && self.bug != Some(Bug::SkipsTheEpoch) {
            return false;
        }
        if row.epoch != epoch {
            self.violated(format!("an append to {shard} under epoch {epoch} landed under {}", row.epoch));
        }
        self.had_epoch(by, shard, epoch);
        self.log.entry(shard).or_default().push(Entry { epoch, by, id });
        true
    }

    /// Hosts and places as they really are.
    pub(super) fn placement(&self) -> (Vec<Host>, Vec<Placed>) {
        let live = self.nodes.values().filter(|row| matches!(row.status, Status::Up | Status::Draining));
        let host = |row: &NodeRow| Host {
            node: row.incarnation.node,
            profile: Arc::clone(&row.profile),
            is_draining: row.status == Status::Draining,
        };
        let placed = |row: &ShardRow| Placed {
            shard: row.shard,
            epoch: row.epoch,
            owner: row.owner.map(|owner| owner.node),
            target: row.target,
            load: 1,
        };
        (live.map(host).collect(), self.shards.values().map(placed).collect())
    }

    /// The log says of itself that epochs never go back, and holds nothing twice.
    pub(super) fn audit(&mut self) {
        let mut seen = BTreeSet::new();
        for (shard, entries) in &self.log {
            let is_ordered =
                entries.iter().zip(entries.iter().skip(1)).all(|(one, next)| one.epoch <= next.epoch);
            if !is_ordered {
                self.broken.get_or_insert(format!("{shard} has an old epoch after a newer one"));
            }
            for entry in entries {
                if !seen.insert(entry.id) {
                    self.broken.get_or_insert(format!("append {} landed twice", entry.id));
                }
            }
        }
    }
}

/// The answer to a statement that nobody answers.
pub(super) fn lost(statement: &Statement, asked_at: BootTime) -> Answer {
    match *statement {
        Statement::Read { .. } => Answer::Read(Err(Lost)),
        Statement::Join { .. } => Answer::Joined { asked_at, result: Err(Lost) },
        Statement::Renew { by } => Answer::Renewed { by, asked_at, result: Err(Lost) },
        Statement::ChangeStatus { of, to, .. } => Answer::StatusChanged { of, to, result: Err(Lost) },
        Statement::DeclareDown { of, .. } => Answer::DeclaredDown { of, result: Err(Lost) },
        Statement::Forget { .. } => Answer::Forgotten(Err(Lost)),
        Statement::Claim { by, .. } => Answer::Claimed { by, result: Err(Lost) },
        Statement::MarkReleasing { .. } => Answer::MarkedReleasing(Err(Lost)),
        Statement::Free { by, ref shards } => Answer::Freed { by, shards: shards.clone(), result: Err(Lost) },
        Statement::Propose { .. } => Answer::Proposed(Err(Lost)),
    }
}
