//! Who asks the machines, and what must be true of the answers.

use std::collections::BTreeSet;

use prognet_supervisor::ShardId;

use super::{
    Bug,
    machine::{Machine, Serving},
    world::{Event, World},
};
use crate::{
    Epoch, Input,
    allocation::{self, Pace},
    tables::{Incarnation, ShardRow, ShardState, Status},
};

impl World {
    /// Somebody reads from every shard that the machine believes to serve, and appends to one.
    pub(super) fn client(&mut self, at: usize) {
        let wait = self.dice.between(20, 200);
        self.after(wait, Event::Client { at });
        let machine = &self.machines[at];
        let Some(process) = machine.process.as_ref().filter(|_| self.now >= machine.frozen_until) else {
            return;
        };
        let local = machine.local(self.now);
        let serves = |shard: ShardId, serving: &Serving| match self.plan.bug {
            Some(Bug::IgnoresTheLease) => !serving.is_stopped,
            Some(Bug::ServesAfterStop) => process.member.lease().holds(local),
            // A host asks the lease just before an answer leaves, and takes nothing new once it was told to stop.
            _ => process.member.serves(shard, serving.epoch, local) && !serving.is_stopped,
        };
        let served = process.serving.iter().filter(|(shard, serving)| serves(**shard, serving));
        let served: Vec<_> = served.map(|(shard, serving)| (*shard, serving.epoch)).collect();
        let Some(by) = process.member.incarnation() else { return };
        for (shard, epoch) in &served {
            self.read(by, *shard, *epoch);
        }
        if let Some((shard, epoch)) = self.dice.pick(&served).copied() {
            self.append(at, by, shard, epoch);
        }
    }

    /// A read is answered: nobody else may have the shard.
    pub(super) fn read(&mut self, by: Incarnation, shard: ShardId, epoch: Epoch) {
        self.reads += 1;
        let row = self.store.shards.get(&shard).copied();
        if let Some(row) = row.filter(|row| row.epoch != epoch || row.owner.is_some_and(|owner| owner != by))
        {
            self.store.violated(format!(
                "{by} answered a read of {shard} under epoch {epoch}, owned by {:?} under {}",
                row.owner, row.epoch
            ));
        }
    }

    pub(super) fn append(&mut self, at: usize, by: Incarnation, shard: ShardId, epoch: Epoch) {
        self.ids += 1;
        let (id, run) = (self.ids, self.machines[at].runs);
        // A frozen owner's append may lie in its socket for long.
        let late = if self.is_rough() && self.dice.percent(25) { 12_000 } else { 30 };
        let wait = self.dice.between(1, late);
        if let Some(serving) =
            self.machines[at].process.as_mut().and_then(|process| process.serving.get_mut(&shard))
        {
            serving.under_way += 1;
        }
        self.after(wait, Event::Append { at, run, by, shard, epoch, id });
    }

    pub(super) fn appended(
        &mut self,
        at: usize,
        shard: ShardId,
        epoch: Epoch,
        id: u64,
        landed: Option<bool>,
    ) {
        if landed == Some(true) {
            self.acknowledged.insert(id, shard);
        }
        let Some(process) = &mut self.machines[at].process else { return };
        let mut is_flushed = false;
        if let Some(serving) = process.serving.get_mut(&shard)
            && serving.epoch == epoch
        {
            serving.under_way = serving.under_way.saturating_sub(1);
            is_flushed = serving.is_stopped && serving.under_way == 0;
        }
        if landed == Some(false) {
            self.fenced += 1;
            self.feed(at, Input::Fenced { shard, epoch });
        } else if is_flushed {
            self.feed(at, Input::Flushed { shard, epoch });
        }
    }

    /// What is not yet as it should be once faults have stopped.
    pub(super) fn unsettled(&self) -> Option<String> {
        for (at, machine) in self.machines.iter().enumerate() {
            let status = machine.incarnation().and_then(|of| self.store.nodes.get(&of)).map(|row| row.status);
            if machine.is_leaving && !machine.has_left {
                return Some(format!("{at} has not left: {status:?}"));
            }
            if machine.is_wanted && !machine.is_leaving && status != Some(Status::Up) {
                return Some(format!("{at} is not up: {status:?}"));
            }
        }
        if let Some(what) = self.unserved() {
            return Some(what);
        }
        if let Some(row) = self.store.shards.values().find(|row| row.target.is_some()) {
            return Some(format!("{row:?} still moves"));
        }
        let (hosts, placed) = self.store.placement();
        let builds: BTreeSet<_> = hosts.iter().map(|host| host.profile.build).collect();
        let pace = if builds.len() > 1 { Pace::Drains } else { Pace::All };
        let moves = allocation::plan(&hosts, &placed, pace, &self.limits);
        (!moves.is_empty()).then(|| format!("{moves:?} are to be made"))
    }

    /// A shard that somebody could serve and nobody does.
    pub(super) fn unserved(&self) -> Option<String> {
        let (hosts, _) = self.store.placement();
        let has_host = |shard: ShardId| hosts.iter().any(|host| host.profile.roles.contains(&shard.service));
        let is_served = |row: &ShardRow| {
            row.state == ShardState::Owned && self.machines.iter().any(|machine| self.serves(machine, row))
        };
        let unserved = self.store.shards.values().find(|row| has_host(row.shard) && !is_served(row));
        unserved.map(|row| format!("{row:?} is not served"))
    }

    fn serves(&self, machine: &Machine, row: &ShardRow) -> bool {
        let local = machine.local(self.now);
        let process =
            machine.process.as_ref().filter(|_| row.owner.is_some() && machine.incarnation() == row.owner);
        process.is_some_and(|process| process.member.serves(row.shard, row.epoch, local))
    }

    /// At the end: what clients were told of is there.
    pub(super) fn audit(&mut self) -> Result<(), String> {
        self.store.audit();
        let landed: BTreeSet<_> = self.store.log.values().flatten().map(|entry| entry.id).collect();
        if let Some((id, shard)) = self.acknowledged.iter().find(|(id, _)| !landed.contains(id)) {
            return Err(format!("append {id} to {shard} was acknowledged and is not there"));
        }
        self.store.broken.clone().map_or(Ok(()), Err)
    }
}
