//! What breaks, and when.

use super::{
    Bug,
    world::{Event, Plan, World},
};

/// How long after the last fault everything must be as it should: a name's old lease and the grace for it, the
/// declaration, the claims, and the moves that follow at their rate.
pub(super) const SETTLED_WITHIN: u64 = 60_000;
/// The longest pause of a move that nothing disturbs: what has begun ends within its time, and if every message is
/// lost, the row is read after a heartbeat. The rest is two statements and the opening.
pub(super) const PAUSE_MAX: u64 = 2_000 + 1_000 + 500;

/// What a seed's world counted.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) reads: u64,
    pub(super) acknowledged: usize,
    pub(super) fenced: u64,
    pub(super) moves: usize,
}

/// Lives through a seed's world: 15 s in which things break (or only come and go), then calm until all is well.
pub(super) fn live(seed: u64, bug: Option<Bug>, is_traced: bool) -> Result<Counts, (String, Vec<String>)> {
    let mut world = made(seed, bug, is_traced);
    match world.live() {
        Ok(counts) => Ok(counts),
        Err(what) => Err((what, std::mem::take(&mut world.trace))),
    }
}

fn made(seed: u64, bug: Option<Bug>, is_traced: bool) -> World {
    let mut dice = super::dice::Dice::new(seed ^ 0x5eed);
    let plan = Plan {
        seed,
        machines: usize::try_from(dice.between(2, 5)).unwrap(),
        services: usize::try_from(dice.between(1, 2)).unwrap(),
        shards: u16::try_from(dice.between(2, 8)).unwrap(),
        is_rough: !seed.is_multiple_of(4),
        calm_from: 15_000,
        trust_refused: dice.percent(50),
        bug,
        is_traced,
    };
    let mut world = World::new(plan);
    for at in 0..world.machines.len() {
        world.machines[at].is_wanted = true;
        // One service each, now and then; the first machine hosts all.
        if at > 0 && dice.percent(15) {
            world.machines[at].lacks = dice.pick(&world.services).copied().into_iter().collect();
        }
        // The first is there from the start, so that whoever leaves a calm world has somebody to leave it to.
        let is_late = dice.percent(30) && (at > 0 || world.plan.is_rough);
        let late = if is_late { dice.between(0, 12_000) } else { dice.between(0, 500) };
        world.after(late, Event::Start { at });
    }
    let first = dice.between(500, 3_000);
    world.after(first, Event::Fault);
    world
}

impl World {
    fn live(&mut self) -> Result<Counts, String> {
        self.run_until(self.plan.calm_from)?;
        self.calm_down();
        let until = self.plan.calm_from + SETTLED_WITHIN;
        while let Some(what) = self.unsettled() {
            if self.now >= until {
                return Err(format!("still after {SETTLED_WITHIN} ms of calm: {what}"));
            }
            self.run_until(self.now + 500)?;
        }
        self.audit()?;
        let longest_pause = self.pauses.iter().copied().max().unwrap_or(0);
        if !self.plan.is_rough && longest_pause > PAUSE_MAX {
            return Err(format!("a move paused its shard for {longest_pause} ms"));
        }
        let (acknowledged, moves) = (self.acknowledged.len(), self.pauses.len());
        Ok(Counts { reads: self.reads, acknowledged, fenced: self.fenced, moves })
    }

    /// Faults end; whoever is down starts again.
    fn calm_down(&mut self) {
        self.store_down_until = self.store_down_until.min(self.now);
        self.store_slow_until = self.store_slow_until.min(self.now);
        self.cuts.clear();
        for machine in &mut self.machines {
            machine.store_cut_until = 0;
        }
        for at in 0..self.machines.len() {
            self.restart_soon(at);
        }
    }

    /// One thing breaks, or somebody comes or goes; then the next.
    pub(super) fn fault(&mut self) {
        let wait = self.dice.between(200, 2_500);
        if self.now + wait >= self.plan.calm_from {
            return;
        }
        self.after(wait, Event::Fault);
        let at = usize::try_from(self.dice.roll(self.machines.len() as u64)).unwrap();
        if !self.plan.is_rough {
            self.come_or_go(at);
            return;
        }
        let until = self.now + self.dice.between(300, 9_000);
        match self.dice.roll(11) {
            0..=1 => {
                self.crash(at);
                self.restart_soon(at);
            }
            2..=3 => self.freeze(at, until),
            4..=5 => self.machines[at].store_cut_until = until,
            6 => self.cut_links(at, until),
            7 => self.store_down_until = until,
            8 => self.store_slow_until = until,
            9 => {
                let by = self.dice.between(1, 10_000);
                self.machines[at].jump(by);
            }
            _ => self.come_or_go(at),
        }
    }

    pub(super) fn freeze(&mut self, at: usize, until: u64) {
        self.note(|| format!("{at} freezes until {until}"));
        self.machines[at].frozen_until = until;
    }

    fn cut_links(&mut self, at: usize, until: u64) {
        for other in 0..self.machines.len() {
            if other != at && self.dice.percent(60) {
                self.cuts.insert((at.min(other), at.max(other)), until);
                if self.plan.bug == Some(Bug::TrustsSilence)
                    && let Some(of) = self.machines[other].incarnation()
                {
                    self.refused(at, of);
                }
            }
        }
    }

    /// A machine is told to leave, if another stays that hosts everything; or its build is replaced.
    fn come_or_go(&mut self, at: usize) {
        let stays = self.machines.iter().filter(|machine| !machine.is_leaving).count();
        if at > 0 && stays > 1 && self.dice.percent(70) {
            self.note(|| format!("{at} is to leave"));
            self.machines[at].is_leaving = true;
        } else if self.dice.percent(30) {
            self.machines[at].build = 1;
        }
    }
}
