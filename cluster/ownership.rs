//! This node's shards: taking them, keeping them, giving them up.
//!
//! ```text
//!          claimed, or the row says so
//! (none) ─────────────────────────────▶ Opening ──opened──▶ Open ──target set──▶ Leaving ──freed──▶ (none)
//!    ▲                                     │                  ▲                     │
//!    │                                     └─failed─▶ Leaving └─────taken back──────┘
//!    └──────── a higher epoch in the row, or an append refused as fenced: closed at once ────────── from each
//! ```
//!
//! A shard may be claimed when it is free or its owner's row says down, by its heirs one after the other. A row
//! that names this incarnation under an epoch it has not given up is its own, however it came to know.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use prognet_supervisor::ShardId;

use crate::{
    BootTime, Epoch, Offset,
    allocation::score,
    handoff::{Act, Arrival, Departure},
    limits::Limits,
    step::{Message, Output},
    tables::{Incarnation, Lost, NodeId, ShardRow, ShardState, Statement, Status},
    view::View,
};

/// What a step looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) now: BootTime,
    pub(crate) me: Incarnation,
    pub(crate) view: &'a View,
    pub(crate) limits: &'a Limits,
    /// Whether the lease holds: without it nothing is claimed.
    pub(crate) holds_lease: bool,
    /// Whether the store answered when last asked.
    pub(crate) may_ask: bool,
    /// Whether this node wants to be rid of everything.
    pub(crate) is_leaving: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Opening,
    Open,
    Leaving(Departure),
}

#[derive(Debug, Clone, Copy)]
struct Held {
    epoch: Epoch,
    step: Step,
}

/// The state of [`crate::Member`] that is about shards.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    held: BTreeMap<ShardId, Held>,
    arrivals: BTreeMap<ShardId, Arrival>,
    /// The last epoch given up or lost: an old reading must not bring it back.
    past: BTreeMap<ShardId, Epoch>,
    /// When a shard was first seen without an owner, under which epoch.
    noticed: BTreeMap<ShardId, (Epoch, BootTime)>,
    /// Shards that could not be opened here, and until when they are left to others.
    shunned: BTreeMap<ShardId, BootTime>,
    is_claiming: bool,
    /// What comes meanwhile goes together with the next.
    is_freeing: bool,
}

impl Ownership {
    /// Whether the shard is open here under this epoch and takes commands.
    pub(crate) fn is_open(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.held.get(&shard).is_some_and(|held| {
            held.epoch == epoch
                && match held.step {
                    Step::Open => true,
                    Step::Leaving(departure) => departure.is_serving(),
                    Step::Opening => false,
                }
        })
    }

    /// Whether what was begun here under this epoch may be answered, if the lease holds.
    pub(crate) fn may_answer(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.held.get(&shard).is_some_and(|held| {
            held.epoch == epoch
                && match held.step {
                    Step::Open => true,
                    Step::Leaving(departure) => departure.may_answer(),
                    Step::Opening => false,
                }
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && !self.is_claiming
    }

    /// Everything that what is known and the time allow.
    pub(crate) fn settle(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        self.give_up_what_is_lost(scene, out);
        self.adopt(scene, out);
        self.depart(scene, out);
        self.arrive(scene, out);
        self.claim(scene, out);
    }

    /// The incarnation is over.
    pub(crate) fn drop_all(&mut self, out: &mut Vec<Output>) {
        let Self { held, arrivals, .. } = std::mem::take(self);
        out.extend(held.into_keys().map(|shard| Output::Close { shard }));
        out.extend(arrivals.into_keys().map(|shard| Output::Forget { shard }));
    }

    fn give_up_what_is_lost(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        let ended: Vec<_> = self
            .held
            .iter()
            .filter_map(|(shard, held)| {
                let row = scene.view.shard(*shard)?;
                let is_lost = row.epoch > held.epoch;
                let is_freed = row.epoch == held.epoch && row.state == ShardState::Free;
                (is_lost || is_freed).then_some((*shard, held.epoch))
            })
            .collect();
        for (shard, epoch) in ended {
            self.close(shard, epoch, out);
        }
    }

    fn close(&mut self, shard: ShardId, epoch: Epoch, out: &mut Vec<Output>) {
        if self.held.get(&shard).is_some_and(|held| held.epoch == epoch) {
            self.held.remove(&shard);
            self.past.insert(shard, epoch);
            out.push(Output::Close { shard });
        }
    }

    /// Rows that name this incarnation: claims whose answers were lost.
    fn adopt(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        let own = scene.view.shards().filter(|row| row.owner == Some(scene.me));
        for row in own {
            self.open(row, None, out);
        }
    }

    fn open(&mut self, row: &ShardRow, tail: Option<Offset>, out: &mut Vec<Output>) {
        let is_past = self.past.get(&row.shard).is_some_and(|past| row.epoch <= *past);
        let is_held = self.held.get(&row.shard).is_some_and(|held| row.epoch <= held.epoch);
        if is_past || is_held {
            return;
        }
        self.arrivals.remove(&row.shard);
        self.held.insert(row.shard, Held { epoch: row.epoch, step: Step::Opening });
        out.push(Output::Open { shard: row.shard, epoch: row.epoch, tail });
    }

    /// Moves away from here: begun when the row says so, each step when its time has come.
    fn depart(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        let (mut slow, mut done) = (Vec::new(), Vec::new());
        let may_free = scene.may_ask && !self.is_freeing;
        for (shard, held) in &mut self.held {
            let Some(row) = scene.view.shard(*shard).filter(|row| row.epoch == held.epoch) else { continue };
            held.step = match held.step {
                Step::Open => departure(row, scene).map_or(Step::Open, Step::Leaving),
                Step::Leaving(departure) if departure.is_off(row) => Step::Open,
                step @ (Step::Opening | Step::Leaving(_)) => step,
            };
            let Step::Leaving(departure) = &mut held.step else { continue };
            let (shard, epoch) = (*shard, held.epoch);
            match departure.next(scene.now, may_free, scene.limits) {
                Some(Act::Stop) => out.push(Output::Stop { shard, epoch }),
                Some(Act::Mark) => slow.push((shard, epoch)),
                Some(Act::Free) => done.push((shard, epoch)),
                None => {}
            }
        }
        let by = scene.me;
        if !slow.is_empty() {
            out.push(Output::Run(Statement::MarkReleasing { by, shards: slow }));
        }
        if !done.is_empty() {
            self.is_freeing = true;
            out.push(Output::Run(Statement::Free { by, shards: done }));
        }
    }

    /// Moves to here: prepared while the old owner serves.
    fn arrive(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        let is_coming = |row: &&ShardRow| {
            row.target == Some(scene.me.node) && row.owner.is_some_and(|owner| owner.node != scene.me.node)
        };
        for row in scene.view.shards().filter(is_coming) {
            let is_new = self.arrivals.get(&row.shard).is_none_or(|arrival| arrival.epoch != row.epoch);
            if is_new {
                self.arrivals.insert(row.shard, Arrival::new(row.epoch));
                out.push(Output::Prepare { shard: row.shard, epoch: row.epoch });
            }
        }
        self.arrivals.retain(|shard, arrival| {
            let row = scene.view.shard(*shard);
            let is_on =
                row.is_some_and(|row| row.epoch == arrival.epoch && row.target == Some(scene.me.node));
            if !is_on {
                out.push(Output::Forget { shard: *shard });
            }
            let owner = row.and_then(|row| row.owner);
            if let Some(owner) = owner
                && is_on
                && arrival.tells(scene.now, scene.limits)
            {
                let message = Message::Prepared { shard: *shard, epoch: arrival.epoch };
                out.push(Output::Tell { to: owner.node, message });
            }
            is_on
        });
    }

    /// Claims what has no owner, when it is this node's turn.
    fn claim(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        if self.is_claiming {
            return;
        }
        let orphans: Vec<_> = scene.view.shards().filter(|row| is_orphan(row, scene.view)).collect();
        let shards: BTreeSet<_> = orphans.iter().map(|row| row.shard).collect();
        self.noticed.retain(|shard, _| shards.contains(shard));
        self.shunned.retain(|_, until| scene.now < *until);
        let mut due = Vec::new();
        for row in orphans {
            let noticed = self.noticed.entry(row.shard).or_insert((row.epoch, scene.now));
            if noticed.0 != row.epoch {
                *noticed = (row.epoch, scene.now);
            }
            let since = noticed.1;
            let is_shunned = self.shunned.contains_key(&row.shard);
            if !is_shunned && wait(row, scene).is_some_and(|wait| scene.now >= since.after(wait)) {
                due.push((row.shard, row.epoch));
            }
        }
        due.truncate(scene.limits.claim_batch);
        if !due.is_empty() && scene.holds_lease && scene.may_ask {
            self.is_claiming = true;
            out.push(Output::Run(Statement::Claim { by: scene.me, shards: due }));
        }
    }

    pub(crate) fn claimed(&mut self, result: Result<Vec<ShardRow>, Lost>, out: &mut Vec<Output>) {
        self.is_claiming = false;
        for row in result.unwrap_or_default() {
            self.open(&row, Some(row.tail), out);
        }
    }

    /// Says whether the shard is open now that was opening.
    pub(crate) fn opened(&mut self, shard: ShardId, epoch: Epoch) -> bool {
        match self.held.get_mut(&shard) {
            Some(held) if held.epoch == epoch && held.step == Step::Opening => {
                held.step = Step::Open;
                true
            }
            Some(_) | None => false,
        }
    }

    pub(crate) fn open_failed(&mut self, shard: ShardId, epoch: Epoch, now: BootTime, limits: &Limits) {
        if let Some(held) = self.held.get_mut(&shard)
            && held.epoch == epoch
        {
            held.step = Step::Leaving(Departure::unopened());
            self.shunned.insert(shard, now.after(limits.reopen));
        }
    }

    pub(crate) fn prepared(&mut self, shard: ShardId, epoch: Epoch, now: BootTime) {
        if let Some(arrival) = self.arrivals.get_mut(&shard)
            && arrival.epoch == epoch
        {
            arrival.prepared(now);
        }
    }

    /// Says whether the message was about a move that this node knows of.
    pub(crate) fn peer_prepared(&mut self, shard: ShardId, epoch: Epoch, now: BootTime) -> bool {
        let leaving = self.leaving(shard, epoch);
        let is_known = leaving.is_some();
        if let Some(departure) = leaving {
            departure.prepared(now);
        }
        is_known
    }

    pub(crate) fn flushed(&mut self, shard: ShardId, epoch: Epoch) {
        if let Some(departure) = self.leaving(shard, epoch) {
            departure.flushed();
        }
    }

    /// Says which of the shards were let go.
    pub(crate) fn freed(
        &mut self,
        mut shards: Vec<(ShardId, Epoch)>,
        result: Result<(), Lost>,
        out: &mut Vec<Output>,
    ) -> Vec<(ShardId, Epoch)> {
        self.is_freeing = false;
        shards.retain(|(shard, epoch)| match result {
            Ok(()) => {
                let was_held = self.held.get(shard).is_some_and(|held| held.epoch == *epoch);
                self.close(*shard, *epoch, out);
                was_held
            }
            Err(Lost) => {
                if let Some(departure) = self.leaving(*shard, *epoch) {
                    departure.unanswered();
                }
                false
            }
        });
        shards
    }

    /// An append was refused: somebody newer owns the shard.
    pub(crate) fn fenced(&mut self, shard: ShardId, epoch: Epoch, out: &mut Vec<Output>) {
        self.close(shard, epoch, out);
    }

    fn leaving(&mut self, shard: ShardId, epoch: Epoch) -> Option<&mut Departure> {
        match self.held.get_mut(&shard) {
            Some(Held { epoch: held, step: Step::Leaving(departure) }) if *held == epoch => Some(departure),
            Some(_) | None => None,
        }
    }
}

/// The move that a row of this node's asks for.
fn departure(row: &ShardRow, scene: Scene<'_>) -> Option<Departure> {
    let mut hosts = scene.view.hosts(row.shard.service).map(|host| host.incarnation.node);
    match row.target.filter(|to| *to != scene.me.node) {
        Some(to) => hosts.any(|host| host == to).then(|| Departure::to(to, scene.now, scene.limits)),
        None => {
            let others = scene.view.serving().any(|row| row.incarnation != scene.me);
            (scene.is_leaving && others && hosts.next().is_none()).then(|| Departure::to_nobody(scene.now))
        }
    }
}

/// Whether nobody owns the shard, or somebody who is down.
fn is_orphan(row: &ShardRow, view: &View) -> bool {
    match row.owner {
        None => true,
        Some(owner) => view.status(owner) == Some(Status::Down),
    }
}

/// How long this node waits before it claims an orphan: the heirs come one after the other, first the one that
/// the shard was meant for. None if it is no heir.
fn wait(row: &ShardRow, scene: Scene<'_>) -> Option<Duration> {
    let hosts: Vec<_> = scene.view.hosts(row.shard.service).collect();
    let meant_for = row.target.filter(|to| hosts.iter().any(|host| host.incarnation.node == *to));
    if meant_for == Some(scene.me.node) {
        return Some(Duration::ZERO);
    }
    let rank = |node: NodeId, weight: u8| (score(node, row.shard, weight), node);
    let mine = hosts.iter().find(|host| host.incarnation == scene.me)?;
    let mine = rank(scene.me.node, mine.profile.weight);
    let others = hosts.iter().map(|host| (host.incarnation.node, host.profile.weight));
    let before =
        others.filter(|(node, weight)| Some(*node) != meant_for && rank(*node, *weight) > mine).count();
    let turns = scene.limits.stagger * u32::try_from(before).unwrap_or(u32::MAX);
    Some(if meant_for.is_some() { scene.limits.reserve + turns } else { turns })
}

#[cfg(test)]
mod tests;
