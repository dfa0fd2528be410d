//! What a member does with shards, followed from outside to be counted.

use std::collections::{HashMap, HashSet};

use prognet_supervisor::ShardId;

use super::Numbers;
use crate::{
    BootTime, Input, Member, Output,
    tables::{Incarnation, ShardRow, Statement},
};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// Moves to here that are not over, and when they were met.
    coming: HashMap<ShardId, BootTime>,
    /// Moves from here that are not over.
    going: HashSet<ShardId>,
    /// What was asked for last, and whether an owner that is down has it.
    asked: HashMap<ShardId, bool>,
}

impl Moves {
    /// To be called with what a member is about to take in.
    pub(crate) fn take_in(&mut self, inputs: &[Input], now: BootTime, numbers: &Numbers) {
        for input in inputs {
            if let Input::Opened { shard, .. } = input
                && let Some(since) = self.coming.remove(shard)
            {
                numbers.hand_offs_in.finished.once();
                numbers.hand_off_lasted(now.since(since));
            }
            if let Input::OpenFailed { shard, .. } = input {
                self.comes_not(*shard, numbers);
            }
        }
    }

    /// To be called with what it then says.
    pub(crate) fn follow(&mut self, outputs: &[Output], member: &Member, now: BootTime, numbers: &Numbers) {
        for output in outputs {
            match output {
                Output::Prepare { shard, .. } => {
                    self.comes_not(*shard, numbers);
                    self.coming.insert(*shard, now);
                    numbers.hand_offs_in.begun.once();
                }
                Output::Forget { shard } => self.comes_not(*shard, numbers),
                Output::Run(Statement::Claim { shards, .. }) => {
                    // A shard is claimed when it is free, or when its owner is down.
                    let has_owner = |shard| member.view().shard(shard).is_some_and(|row| row.owner.is_some());
                    self.asked = shards.iter().map(|(shard, _)| (*shard, has_owner(*shard))).collect();
                }
                Output::Open { shard, .. } => {
                    if self.asked.remove(shard) == Some(true) {
                        numbers.take_overs.once();
                        self.comes_not(*shard, numbers);
                    }
                }
                Output::Stop { shard, .. } => {
                    self.going.insert(*shard);
                    numbers.hand_offs_out.begun.once();
                }
                Output::Close { shard } => {
                    self.comes_not(*shard, numbers);
                    if self.going.remove(shard) {
                        let is_given = is_given(member.view().shard(*shard), member.incarnation());
                        let way = &numbers.hand_offs_out;
                        if is_given { &way.finished } else { &way.failed }.once();
                    }
                }
                Output::Run(_)
                | Output::Fence
                | Output::Resume
                | Output::Tell { .. }
                | Output::Announce(_)
                | Output::Refused(_)
                | Output::Drained
                | Output::Left => {}
            }
        }
    }

    /// A move to here is over before the shard was open, if there was one.
    fn comes_not(&mut self, shard: ShardId, numbers: &Numbers) {
        if self.coming.remove(&shard).is_some() {
            numbers.hand_offs_in.failed.once();
        }
    }
}

/// Whether a shard that this node closes is no longer its own because it let go. A node that was declared down, or
/// whose append was refused, still has its name in the rows that it knows.
fn is_given(row: Option<&ShardRow>, me: Option<Incarnation>) -> bool {
    me.is_some() && row.is_some_and(|row| row.owner != me)
}
