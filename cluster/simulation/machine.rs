//! One machine of a world, and the process that may run on it.

use std::collections::{BTreeMap, BTreeSet};

use prognet_supervisor::{Name, ShardId};

use super::dice::Dice;
use crate::{
    BootTime, Epoch, Input, Member,
    tables::{Incarnation, NodeId},
};

/// What is on its way to a process.
#[derive(Debug)]
pub(super) enum Pending {
    Input(Input),
    /// An append's fate; none if nobody knows.
    Appended {
        shard: ShardId,
        epoch: Epoch,
        id: u64,
        landed: Option<bool>,
    },
}

/// A shard that a process serves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Serving {
    pub(super) epoch: Epoch,
    pub(super) is_stopped: bool,
    /// Appends that have begun and not ended.
    pub(super) under_way: usize,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) member: Member,
    pub(super) serving: BTreeMap<ShardId, Serving>,
    pub(super) reached: BTreeSet<NodeId>,
}

impl Process {
    pub(super) fn new(member: Member) -> Self {
        Self { member, serving: BTreeMap::new(), reached: BTreeSet::new() }
    }
}

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) node: NodeId,
    pub(super) process: Option<Process>,
    /// Processes started here so far.
    pub(super) runs: u64,
    /// Its clock: what it showed at first, and how fast it runs, in thousandths.
    booted: u64,
    rate: u64,
    pub(super) frozen_until: u64,
    pub(super) store_cut_until: u64,
    /// Whether its state directory survives, so that the next process can prove that this one is gone.
    pub(super) has_directory: bool,
    pub(super) weight: u8,
    pub(super) build: u16,
    pub(super) lacks: Vec<Name>,
    /// Whether a process is meant to run here.
    pub(super) is_wanted: bool,
    pub(super) is_leaving: bool,
    pub(super) has_left: bool,
}

impl Machine {
    pub(super) fn new(node: NodeId, dice: &mut Dice) -> Self {
        Self {
            node,
            process: None,
            runs: 0,
            booted: dice.roll(10_000_000),
            rate: dice.between(950, 1_050),
            frozen_until: 0,
            store_cut_until: 0,
            has_directory: dice.percent(50),
            weight: if dice.percent(20) { 2 } else { 1 },
            build: 0,
            lacks: Vec::new(),
            is_wanted: false,
            is_leaving: false,
            has_left: false,
        }
    }

    /// What its clock shows.
    pub(super) fn local(&self, now: u64) -> BootTime {
        BootTime::from_millis(self.booted + now * self.rate / 1_000)
    }

    /// Its clock jumps ahead, as if it had slept.
    pub(super) fn jump(&mut self, by: u64) {
        self.booted += by;
    }

    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.process.as_ref()?.member.incarnation()
    }
}
