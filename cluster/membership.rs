//! This node among the others: joining, keeping its lease, and declaring down who is gone.
//!
//! ```text
//! Outside ──Join──▶ Joining ──a peer reached──▶ Seated ──▶ Leaving ──nothing left, doors closed──▶ Left
//!    ▲ └─refused──▶ Refused       │ too long ▶ Refused │         │
//!    └────────────── its row is down ──────────────────┘         └─its row is down─▶ Left
//! ```
//!
//! One rule decides everything: whoever renews its lease in the store is here.

mod candidate;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    BootTime, StoreTime,
    lease::Lease,
    limits::Limits,
    step::Output,
    tables::{Incarnation, Lost, NodeId, NodeRow, Renewal, Statement, Status},
    view::View,
};

use candidate::Admission;
pub use candidate::{Candidate, Proof, Refusal};

/// Where this node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seat {
    /// No row is its own; `earlier` is the lease of another incarnation of its name, and when it was first seen.
    Outside { earlier: Option<(Incarnation, StoreTime, BootTime)>, is_asking: bool },
    /// Its row is `Joining`.
    Joining { me: Incarnation, since: BootTime },
    /// Its row is `Up` or `Draining`, or is about to be.
    Seated(Incarnation),
    /// For ever.
    Over,
}

/// A change of this node's own status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Asked,
    /// Answered, in whatever way: the next reading shows what became of it.
    Answered,
}

/// The state of [`crate::Member`] that is about nodes.
#[derive(Debug)]
pub(crate) struct Membership {
    candidate: Candidate,
    seat: Seat,
    pub(crate) lease: Lease,
    renew_at: BootTime,
    is_renewing: bool,
    /// A change of its own row is under way, or not yet seen.
    change: Change,
    is_leaving: bool,
    /// It was said that there is nothing to wait for but the doors.
    is_drained: bool,
    /// Nobody asks by way of this node any more.
    is_closed: bool,
    /// Peers with a link that works both ways.
    reached: BTreeSet<NodeId>,
    /// Peers that will not link to this node, and why.
    turned_away: BTreeMap<NodeId, String>,
    /// Why it may not stay, once its row says that it is down.
    refusal: Option<Refusal>,
    /// Proven gone, not yet seen down.
    gone: BTreeSet<Incarnation>,
    /// Declarations under way.
    declaring: BTreeSet<Incarnation>,
}

impl Membership {
    pub(crate) fn new(candidate: Candidate) -> Self {
        Self {
            candidate,
            seat: Seat::Outside { earlier: None, is_asking: false },
            lease: Lease::default(),
            renew_at: BootTime::default(),
            is_renewing: false,
            change: Change::None,
            is_leaving: false,
            is_drained: false,
            is_closed: false,
            reached: BTreeSet::new(),
            turned_away: BTreeMap::new(),
            refusal: None,
            gone: BTreeSet::new(),
            declaring: BTreeSet::new(),
        }
    }

    /// This node's incarnation while it has a row that may be up.
    pub(crate) fn me(&self) -> Option<Incarnation> {
        match self.seat {
            Seat::Joining { me, .. } | Seat::Seated(me) => Some(me),
            Seat::Outside { .. } | Seat::Over => None,
        }
    }

    /// Whether it has proven that it can reach a peer, if there is one.
    pub(crate) const fn is_seated(&self) -> bool {
        matches!(self.seat, Seat::Seated(_))
    }

    pub(crate) fn is_outside(&self) -> bool {
        matches!(self.seat, Seat::Outside { .. })
    }

    pub(crate) fn is_over(&self) -> bool {
        self.seat == Seat::Over
    }

    pub(crate) const fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    pub(crate) fn peer_reached(&mut self, node: NodeId) {
        self.reached.insert(node);
        self.turned_away.remove(&node);
    }

    pub(crate) fn peer_turned_away(&mut self, node: NodeId, why: String) {
        self.turned_away.insert(node, why);
    }

    pub(crate) fn peer_lost(&mut self, node: NodeId) {
        self.reached.remove(&node);
    }

    /// Believes that a process is gone, if the proof is one here.
    pub(crate) fn peer_gone(&mut self, of: Incarnation, proof: Proof, view: &View) {
        if view.node(of).is_some_and(|row| self.candidate.trusts(proof, row)) && self.me() != Some(of) {
            self.gone.insert(of);
        }
    }

    pub(crate) fn leave(&mut self) {
        self.is_leaving = true;
    }

    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Renews the lease when it is time.
    pub(crate) fn renew(&mut self, now: BootTime, limits: &Limits, out: &mut Vec<Output>) {
        if let Some(by) = self.me()
            && !self.is_renewing
            && now >= self.renew_at
        {
            self.is_renewing = true;
            self.renew_at = now.after(limits.heartbeat);
            out.push(Output::Run(Statement::Renew { by }));
        }
    }

    /// The declarations that are due, and the next step of joining or leaving.
    pub(crate) fn settle(
        &mut self,
        now: BootTime,
        owns_nothing: bool,
        view: &View,
        limits: &Limits,
        out: &mut Vec<Output>,
    ) {
        self.gone.retain(|of| view.status(*of).is_some_and(|status| status != Status::Down));
        for of in self.gone.clone() {
            self.declare(of, true, out);
        }
        match self.seat {
            Seat::Outside { .. } if self.is_leaving => self.end(out, Output::Left),
            Seat::Joining { me, .. } if self.is_leaving || self.refusal.is_some() => {
                self.change(me, Status::Joining, Status::Down, out);
            }
            Seat::Joining { me, since } => self.prove(me, since, now, view, limits, out),
            // Somebody asked for it in the tables.
            Seat::Seated(me) if view.status(me) == Some(Status::Draining) => {
                self.is_leaving = true;
                self.go(me, owns_nothing, view, out);
            }
            Seat::Seated(me) if self.is_leaving => self.go(me, owns_nothing, view, out),
            Seat::Seated(me) if view.status(me) == Some(Status::Joining) => {
                self.change(me, Status::Joining, Status::Up, out);
            }
            Seat::Outside { .. } | Seat::Seated(_) | Seat::Over => {}
        }
    }

    /// A joining node is up once it reached a peer, or if there is none: what it will need when it matters is
    /// tried before. If all peers have turned it away it gives up early, but not before the lease of one that is
    /// gone would be over: somebody else may be at its address by now.
    fn prove(
        &mut self,
        me: Incarnation,
        since: BootTime,
        now: BootTime,
        view: &View,
        limits: &Limits,
        out: &mut Vec<Output>,
    ) {
        let peers: Vec<_> = view.serving().map(|row| row.incarnation.node).collect();
        let is_seen = view.status(me).is_some();
        if is_seen && (peers.is_empty() || peers.iter().any(|peer| self.reached.contains(peer))) {
            self.seat = Seat::Seated(me);
            self.change(me, Status::Joining, Status::Up, out);
            return;
        }
        let strangers = peers.iter().filter_map(|peer| Some((*peer, self.turned_away.get(peer)?)));
        let strangers: Vec<_> = strangers.map(|(peer, why)| (peer, why.clone())).collect();
        let waited = now.since(since);
        let is_hopeless = !peers.is_empty() && strangers.len() == peers.len();
        let refusal = match strangers.into_iter().next() {
            Some((node, why)) if is_hopeless && waited > limits.lease + 2 * limits.heartbeat => {
                Refusal::TurnedAway { node, why }
            }
            Some((node, why)) if waited >= limits.join => Refusal::TurnedAway { node, why },
            None if waited >= limits.join => Refusal::Unreached { peers },
            Some(_) | None => return,
        };
        self.refusal = Some(refusal);
        self.change(me, Status::Joining, Status::Down, out);
    }

    /// A leaving node drains, and goes once it owns nothing and its doors are closed: those who came to it before are
    /// still led to the others.
    /// If nobody else is here it does not drain: what it owns is anybody's once it is gone.
    fn go(&mut self, me: Incarnation, owns_nothing: bool, view: &View, out: &mut Vec<Output>) {
        let is_alone = view.serving().all(|row| row.incarnation == me);
        let is_done = is_alone || (owns_nothing && view.status(me) == Some(Status::Draining));
        if is_done && !self.is_closed {
            if !self.is_drained {
                self.is_drained = true;
                out.push(Output::Drained);
            }
            return;
        }
        match view.status(me) {
            Some(from @ (Status::Up | Status::Draining)) if is_alone => {
                // Whoever comes may own everything at once.
                self.lease.give_up();
                self.change(me, from, Status::Down, out);
            }
            Some(Status::Draining) if owns_nothing => self.change(me, Status::Draining, Status::Down, out),
            Some(from @ (Status::Up | Status::Joining)) => self.change(me, from, Status::Draining, out),
            Some(Status::Draining | Status::Down) | None => {}
        }
    }

    fn change(&mut self, of: Incarnation, from: Status, to: Status, out: &mut Vec<Output>) {
        if self.change == Change::None {
            self.change = Change::Asked;
            out.push(Output::Run(Statement::ChangeStatus { of, from, to }));
        }
    }

    fn declare(&mut self, of: Incarnation, is_proven: bool, out: &mut Vec<Output>) {
        if self.declaring.insert(of) {
            out.push(Output::Run(Statement::DeclareDown { of, is_proven }));
        }
    }

    fn end(&mut self, out: &mut Vec<Output>, why: Output) {
        self.seat = Seat::Over;
        self.lease = Lease::default();
        out.push(why);
    }

    /// The tables were read: an outsider decides whether to join.
    pub(crate) fn viewed(&mut self, now: BootTime, view: &View, limits: &Limits, out: &mut Vec<Output>) {
        if self.change == Change::Answered {
            self.change = Change::None;
        }
        let Seat::Outside { earlier, is_asking } = self.seat else { return };
        if is_asking || self.is_leaving {
            return;
        }
        match self.candidate.admit(view) {
            Err(refusal) => self.end(out, Output::Refused(refusal)),
            Ok(None) => {}
            Ok(Some(Admission::Join)) => {
                self.seat = Seat::Outside { earlier: None, is_asking: true };
                let (node, profile) = (self.candidate.node, Arc::clone(&self.candidate.profile));
                let view = view.meta().map_or(0, |meta| meta.view);
                out.push(Output::Run(Statement::Join { view, node, profile }));
            }
            Ok(Some(Admission::Blocked(row))) => self.wait_for(&row, earlier, now, view, limits, out),
        }
    }

    /// An earlier incarnation of this name is in the way: gone by proof, over when its lease is (and the store
    /// could have renewed it all that time), or alive.
    fn wait_for(
        &mut self,
        row: &NodeRow,
        earlier: Option<(Incarnation, StoreTime, BootTime)>,
        now: BootTime,
        view: &View,
        limits: &Limits,
        out: &mut Vec<Output>,
    ) {
        let of = row.incarnation;
        let (lease_until, since) = match earlier {
            Some((seen, lease_until, since)) if seen == of => (lease_until, since),
            Some(_) | None => (row.lease_until, now),
        };
        self.seat = Seat::Outside { earlier: Some((of, lease_until, since)), is_asking: false };
        if self.candidate.trusts(Proof::Lock, row) {
            self.declare(of, true, out);
        } else if row.lease_until > lease_until {
            let (node, address) = (of.node, row.profile.address.clone());
            self.end(out, Output::Refused(Refusal::NameTaken { node, address }));
        } else if row.lease_until < view.now() && now.since(since) >= limits.lease {
            self.declare(of, false, out);
        }
    }

    /// Says whether this node has a new incarnation.
    pub(crate) fn joined(
        &mut self,
        now: BootTime,
        asked_at: BootTime,
        result: Result<Option<Incarnation>, Lost>,
        limits: &Limits,
    ) -> bool {
        if !self.is_outside() {
            return false;
        }
        self.seat = match result {
            Ok(Some(me)) => {
                self.lease = Lease::default();
                self.lease.renewed(asked_at, now, limits);
                self.renew_at = now.after(limits.heartbeat);
                (self.is_renewing, self.change) = (false, Change::None);
                Seat::Joining { me, since: now }
            }
            Ok(None) | Err(Lost) => Seat::Outside { earlier: None, is_asking: false },
        };
        self.me().is_some()
    }

    /// Says whether this node's incarnation is over.
    pub(crate) fn renewed(
        &mut self,
        by: Incarnation,
        asked_at: BootTime,
        now: BootTime,
        result: &Result<Option<Renewal>, Lost>,
        limits: &Limits,
        out: &mut Vec<Output>,
    ) -> bool {
        if self.me() != Some(by) {
            return false;
        }
        self.is_renewing = false;
        match result {
            Ok(Some(renewal)) => {
                self.lease.renewed(asked_at, now, limits);
                // Whoever could not renew while the store was away had no chance yet.
                if self.lease.is_store_healthy(now, limits) {
                    for of in renewal.expired.iter().filter(|of| **of != by) {
                        self.declare(*of, false, out);
                    }
                }
                false
            }
            Ok(None) => {
                self.evicted(out);
                true
            }
            Err(Lost) => {
                self.lease.failed();
                false
            }
        }
    }

    /// This incarnation is over; the next one joins like any other.
    fn evicted(&mut self, out: &mut Vec<Output>) {
        if let Some(refusal) = self.refusal.take() {
            self.end(out, Output::Refused(refusal));
        } else if self.is_leaving {
            self.end(out, Output::Left);
        } else {
            self.lease = Lease::default();
            self.seat = Seat::Outside { earlier: None, is_asking: false };
        }
    }

    /// Says whether this node's incarnation is over.
    pub(crate) fn status_changed(
        &mut self,
        of: Incarnation,
        to: Status,
        result: Result<bool, Lost>,
        out: &mut Vec<Output>,
    ) -> bool {
        if self.me() != Some(of) {
            return false;
        }
        self.change = Change::Answered;
        let is_over = to == Status::Down && result == Ok(true);
        if is_over {
            self.evicted(out);
        }
        is_over
    }

    pub(crate) fn declared(&mut self, of: Incarnation) {
        self.declaring.remove(&of);
    }
}

/// Rows of nodes long down that no shard's row names any more.
pub(crate) fn forgettable(view: &View, limits: &Limits) -> Vec<Incarnation> {
    let named: BTreeSet<_> = view.shards().filter_map(|row| row.owner).collect();
    let is_old =
        |row: &&NodeRow| row.status == Status::Down && view.now() > row.lease_until.after(limits.retention);
    let old = view.nodes().iter().filter(is_old).map(|row| row.incarnation);
    old.filter(|of| !named.contains(of)).collect()
}

#[cfg(test)]
mod tests;
