//! What lies between machines, and between a machine and the store.

use std::net::{Ipv4Addr, SocketAddr};

use super::{
    machine::Pending,
    store,
    world::{Event, World},
};
use crate::{
    BootTime, Input, Message,
    membership::Proof,
    tables::{Incarnation, Statement},
};

/// How long a statement may take before nobody waits for its answer, in milliseconds.
const STATEMENT_MAX: u64 = 1_000;

impl World {
    /// Tells a machine which peers it can reach.
    pub(super) fn links(&mut self, at: usize) {
        for other in 0..self.machines.len() {
            let node = self.machines[other].node;
            let is_up = other != at && self.machines[other].process.is_some() && !self.is_cut(at, other);
            let Some(process) = &mut self.machines[at].process else { return };
            let was_up = process.reached.contains(&node);
            if is_up && !was_up {
                process.reached.insert(node);
                self.feed(at, Input::PeerReached(node));
            } else if was_up && !is_up {
                process.reached.remove(&node);
                self.feed(at, Input::PeerLost(node));
            }
        }
    }

    pub(super) fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cuts.get(&(one.min(other), one.max(other))).is_some_and(|until| self.now < *until)
    }

    /// A message may be lost, late or doubled.
    pub(super) fn say(&mut self, from: usize, to: usize, message: Message) {
        if from == to || self.is_cut(from, to) {
            return;
        }
        let times = match self.dice.roll(20) {
            0 => 0,
            1 => 2,
            _ => 1,
        };
        for _ in 0..times {
            let late = if self.is_rough() && self.dice.percent(5) { 3_000 } else { 50 };
            let wait = self.dice.between(1, late);
            let run = self.machines[to].runs;
            self.after(wait, Event::Deliver { at: to, run, what: Pending::Input(Input::Heard(message)) });
        }
    }

    /// Sends a statement to the store; sooner or later it is answered, or given up.
    pub(super) fn send(&mut self, at: usize, statement: Statement) {
        let (run, asked_at) = (self.machines[at].runs, self.machines[at].local(self.now));
        let lost = store::lost(&statement, asked_at);
        let is_cut = self.now < self.machines[at].store_cut_until;
        let is_away = is_cut || self.now < self.store_down_until;
        let fails = is_away || (self.is_rough() && self.dice.percent(2));
        let slow = if self.now < self.store_slow_until { 600 } else { 15 };
        let (there, back) = (self.dice.between(1, slow), self.dice.between(1, slow));
        // It may have arrived all the same, and even after it was given up.
        let arrives = !fails || self.dice.percent(30);
        let is_late = fails && self.dice.percent(30);
        let there = if is_late { there + self.dice.between(0, 4_000) } else { there };
        let is_answered = !fails && there + back <= STATEMENT_MAX;
        if !is_answered {
            let wait = self.dice.between(50, STATEMENT_MAX);
            self.after(wait, Event::Deliver { at, run, what: Pending::Input(Input::Answered(lost)) });
        }
        if arrives {
            let answer_at = is_answered.then_some(self.now + there + back);
            self.after(there, Event::Execute { at, run, statement, asked_at, answer_at });
        }
    }

    pub(super) fn execute(
        &mut self,
        at: usize,
        run: u64,
        statement: Statement,
        asked_at: BootTime,
        answer_at: Option<u64>,
    ) {
        let answer = if self.now < self.store_down_until {
            store::lost(&statement, asked_at)
        } else {
            self.store.run(statement, asked_at)
        };
        if let Some(answer_at) = answer_at {
            let what = Pending::Input(Input::Answered(answer));
            self.after(answer_at - self.now, Event::Deliver { at, run, what });
        }
    }

    /// A process ends without a word. Its peers' connections are refused from now on.
    pub(super) fn crash(&mut self, at: usize) {
        let Some(process) = self.machines[at].process.take() else { return };
        self.note(|| format!("{at} crashes"));
        let Some(of) = process.member.incarnation() else { return };
        for peer in 0..self.machines.len() {
            if peer != at && !self.is_cut(at, peer) {
                self.refused(peer, of);
            }
        }
    }

    /// A peer finds that the process's address refuses connections.
    pub(super) fn refused(&mut self, peer: usize, of: Incarnation) {
        let address = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 7_000));
        let (wait, run) = (self.dice.between(50, 600), self.machines[peer].runs);
        let what = Pending::Input(Input::PeerGone { of, proof: Proof::Refused(address) });
        self.after(wait, Event::Deliver { at: peer, run, what });
    }

    pub(super) fn restart_soon(&mut self, at: usize) {
        let wait = self.dice.between(200, 6_000);
        self.after(wait, Event::Start { at });
    }
}
