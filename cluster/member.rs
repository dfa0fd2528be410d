//! One node's part in its cluster, as a pure machine: what happened goes in, what to do comes out.
//!
//! Whoever runs it has one for each process, feeds it in one place, one input at a time, runs each
//! [`Statement`] and feeds back its one answer (or [`crate::tables::Lost`], within the statement's time-out),
//! and feeds a tick at least every 100 ms. The heartbeat has a connection of its own. Nothing here waits.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use prognet_supervisor::ShardId;

use crate::{
    BootTime, Epoch, StoreTime,
    allocation::{self, Host, Pace, Placed},
    lease::Lease,
    limits::Limits,
    membership::{self, Candidate, Membership},
    ownership::{Ownership, Scene},
    step::{Input, Message, Output},
    tables::{Answer, Incarnation, Lost, NodeRow, ShardRow, Statement, Status},
    view::View,
};

/// How long nothing but the heartbeat is asked of a store that did not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// One node's state.
#[derive(Debug)]
pub struct Member {
    limits: Limits,
    membership: Membership,
    ownership: Ownership,
    view: View,
    /// The store's time when it last told it.
    store_now: StoreTime,
    /// The view and map that are known to be there.
    wanted: (u64, u64),
    must_read: bool,
    is_reading: bool,
    read_at: BootTime,
    /// Whether the tables were read, or time passed, since the last plan.
    may_plan: bool,
    is_proposing: bool,
    is_forgetting: bool,
    is_serving: bool,
    ask_at: BootTime,
}

impl Member {
    /// A node that is about to join.
    #[must_use]
    pub fn new(candidate: Candidate, limits: Limits) -> Self {
        Self {
            limits,
            membership: Membership::new(candidate),
            ownership: Ownership::default(),
            view: View::default(),
            store_now: StoreTime::default(),
            wanted: (0, 0),
            must_read: true,
            is_reading: false,
            read_at: BootTime::default(),
            may_plan: false,
            is_proposing: false,
            is_forgetting: false,
            is_serving: false,
            ask_at: BootTime::default(),
        }
    }

    /// Whether it is one of the cluster: no longer joining.
    #[must_use]
    pub const fn is_seated(&self) -> bool {
        self.membership.is_seated()
    }

    /// This node's incarnation, once it has joined.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.membership.me()
    }

    /// The lease, for whoever answers.
    #[must_use]
    pub const fn lease(&self) -> &Lease {
        &self.membership.lease
    }

    /// The tables as last read, for the router and for people.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// Whether a shard is open here under this epoch and takes commands, while the lease holds.
    #[must_use]
    pub fn serves(&self, shard: ShardId, epoch: Epoch, now: BootTime) -> bool {
        self.membership.lease.holds(now) && self.ownership.is_open(shard, epoch)
    }

    /// Whether a shard is open here under this epoch and takes commands, if the lease holds.
    #[must_use]
    pub fn is_open(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.ownership.is_open(shard, epoch)
    }

    /// Whether what was begun here under this epoch may be answered, if the lease holds.
    #[must_use]
    pub fn may_answer(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.ownership.may_answer(shard, epoch)
    }

    /// Takes in what happened; says what to do, in this order.
    pub fn step(&mut self, now: BootTime, input: Input) -> Vec<Output> {
        self.steps(now, [input])
    }

    /// The same for several things at once, e.g. that a hundred shards are open.
    pub fn steps(&mut self, now: BootTime, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
        let mut out = Vec::new();
        for input in inputs {
            if self.membership.is_over() {
                return out;
            }
            self.take_in(now, input, &mut out);
        }
        if !self.membership.is_over() {
            self.settle(now, &mut out);
        }
        out
    }

    fn take_in(&mut self, now: BootTime, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Tick => {}
            Input::Answered(answer) => self.answered(now, answer, out),
            Input::PeerReached(node) => self.membership.peer_reached(node),
            Input::PeerLost(node) => self.membership.peer_lost(node),
            Input::PeerTurnedAway { node, why } => self.membership.peer_turned_away(node, why),
            Input::PeerGone { of, proof } => self.membership.peer_gone(of, proof, &self.view),
            Input::Heard(message) => self.heard(now, message),
            Input::Prepared { shard, epoch } => self.ownership.prepared(shard, epoch, now),
            Input::Opened { shard, epoch } => self.opened(shard, epoch, out),
            Input::OpenFailed { shard, epoch } => self.ownership.open_failed(shard, epoch, now, &self.limits),
            Input::Flushed { shard, epoch } => self.ownership.flushed(shard, epoch),
            Input::Fenced { shard, epoch } => {
                self.ownership.fenced(shard, epoch, out);
                self.must_read = true;
            }
            Input::LeaveAsked => self.membership.leave(),
            Input::DoorsClosed => self.membership.close(),
        }
    }

    fn answered(&mut self, now: BootTime, answer: Answer, out: &mut Vec<Output>) {
        match answer {
            Answer::Read(result) => {
                self.is_reading = false;
                match result {
                    Ok(snapshot) => {
                        self.store_now = snapshot.now;
                        self.view.merge(snapshot);
                        self.may_plan = true;
                        self.membership.viewed(now, &self.view, &self.limits, out);
                    }
                    Err(Lost) => self.lost(now),
                }
            }
            Answer::Joined { asked_at, result } => {
                self.note(now, result.is_err());
                if self.membership.joined(now, asked_at, result, &self.limits) {
                    self.ownership = Ownership::default();
                }
                self.must_read = true;
            }
            Answer::Renewed { by, asked_at, result } => {
                if self.membership.renewed(by, asked_at, now, &result, &self.limits, out) {
                    self.over(out);
                }
                if let Ok(Some(renewal)) = result {
                    self.store_now = renewal.now;
                    self.view.expired(&renewal.expired);
                    self.want(renewal.view, renewal.map);
                    self.may_plan = true;
                }
            }
            Answer::StatusChanged { of, to, result } => {
                self.note(now, result.is_err());
                self.must_read = true;
                if self.membership.status_changed(of, to, result, out) {
                    self.over(out);
                }
            }
            Answer::DeclaredDown { of, result } => {
                self.note(now, result.is_err());
                self.membership.declared(of);
                self.must_read = true;
            }
            Answer::Forgotten(_) => self.is_forgetting = false,
            Answer::Claimed { by, result } => {
                self.note(now, result.is_err());
                self.must_read = true;
                if self.membership.me() == Some(by) {
                    self.view.take_in(result.clone().unwrap_or_default());
                    self.ownership.claimed(result, out);
                }
            }
            Answer::MarkedReleasing(_) => {}
            Answer::Freed { by, shards, result } => {
                self.note(now, result.is_err());
                if self.membership.me() == Some(by) {
                    self.freed(shards, result, out);
                }
            }
            Answer::Proposed(result) => {
                self.is_proposing = false;
                self.note(now, result.is_err());
                self.must_read = true;
                if let Ok(Some(map)) = result {
                    out.push(Output::Announce(Message::Changed { map }));
                }
            }
        }
    }

    fn freed(&mut self, shards: Vec<(ShardId, Epoch)>, result: Result<(), Lost>, out: &mut Vec<Output>) {
        for (shard, epoch) in self.ownership.freed(shards, result, out) {
            self.view.hear(shard, epoch, None);
            out.push(Output::Announce(Message::Freed { shard, epoch }));
        }
    }

    fn heard(&mut self, now: BootTime, message: Message) {
        match message {
            Message::Changed { map } => self.want(0, map),
            Message::Prepared { shard, epoch } => {
                let is_known = self.ownership.peer_prepared(shard, epoch, now);
                self.must_read |= !is_known && self.ownership.is_open(shard, epoch);
            }
            Message::Freed { shard, epoch } => self.view.hear(shard, epoch, None),
            Message::Opened { shard, epoch, owner } => self.view.hear(shard, epoch, Some(owner)),
        }
    }

    fn opened(&mut self, shard: ShardId, epoch: Epoch, out: &mut Vec<Output>) {
        if let Some(owner) = self.membership.me()
            && self.ownership.opened(shard, epoch)
        {
            out.push(Output::Announce(Message::Opened { shard, epoch, owner }));
        }
    }

    /// This incarnation is down.
    fn over(&mut self, out: &mut Vec<Output>) {
        self.ownership.drop_all(out);
        self.must_read = true;
    }

    fn want(&mut self, view: u64, map: u64) {
        self.wanted = (self.wanted.0.max(view), self.wanted.1.max(map));
    }

    fn note(&mut self, now: BootTime, is_lost: bool) {
        if is_lost {
            self.lost(now);
        }
    }

    /// Something may have happened that this node does not know of.
    fn lost(&mut self, now: BootTime) {
        self.must_read = true;
        self.ask_at = now.after(PAUSE);
    }

    /// Whether this node is about to go.
    pub(crate) const fn is_leaving(&self) -> bool {
        self.membership.is_leaving()
    }

    /// Everything that what is known and the time allow.
    fn settle(&mut self, now: BootTime, out: &mut Vec<Output>) {
        let may_ask = now >= self.ask_at;
        self.guard(now, out);
        self.membership.renew(now, &self.limits, out);
        if may_ask {
            self.read(now, out);
            let owns_nothing = self.owns_nothing();
            self.membership.settle(now, owns_nothing, &self.view, &self.limits, out);
        }
        if let Some(me) = self.membership.me() {
            let holds_lease = self.membership.lease.holds(now);
            let is_leaving = self.membership.is_leaving();
            let (view, limits) = (&self.view, &self.limits);
            let scene = Scene { now, me, view, limits, holds_lease, may_ask, is_leaving };
            self.ownership.settle(scene, out);
            if std::mem::take(&mut self.may_plan) && may_ask && holds_lease {
                self.plan(me, out);
            }
        }
    }

    /// Says when the lease begins and ceases to hold.
    fn guard(&mut self, now: BootTime, out: &mut Vec<Output>) {
        let is_serving = self.membership.me().is_some() && self.membership.lease.holds(now);
        if is_serving != self.is_serving {
            self.is_serving = is_serving;
            out.push(if is_serving { Output::Resume } else { Output::Fence });
        }
    }

    fn read(&mut self, now: BootTime, out: &mut Vec<Output>) {
        let known = self.view.meta().map_or((0, 0), |meta| (meta.view, meta.map));
        let is_behind = self.wanted.0 > known.0 || self.wanted.1 > known.1;
        // An outsider has no heartbeat to tell it what changed.
        let is_looking = self.membership.is_outside() && now >= self.read_at;
        if !self.is_reading && (self.must_read || is_behind || is_looking) {
            (self.is_reading, self.must_read) = (true, false);
            self.read_at = now.after(self.limits.heartbeat);
            out.push(Output::Run(Statement::Read { after: self.view.map() }));
        }
    }

    fn owns_nothing(&self) -> bool {
        let me = self.membership.me();
        self.ownership.is_empty()
            && !self.is_reading
            && self.view.shards().all(|row| row.owner.is_none() || row.owner != me)
    }

    /// The first of the nodes that are up, by name, proposes the moves. The proposal holds only for the view and
    /// the map it was made from, so that two who believe to be first cannot both succeed.
    fn plan(&mut self, me: Incarnation, out: &mut Vec<Output>) {
        let up = self.view.live().filter(|row| row.status == Status::Up);
        let is_allocator = up.map(|row| row.incarnation).min() == Some(me);
        let Some(meta) = self.view.meta().copied().filter(|_| is_allocator) else { return };
        if let Some(of) = membership::forgettable(&self.view, &self.limits).first()
            && !self.is_forgetting
        {
            self.is_forgetting = true;
            out.push(Output::Run(Statement::Forget { of: *of }));
        }
        let is_current = self.wanted.0 <= meta.view && self.wanted.1 <= meta.map;
        if self.is_proposing || self.is_reading || !is_current {
            return;
        }
        let is_quiet = self.store_now.since(meta.view_at) >= self.limits.quiet;
        let builds: BTreeSet<_> = self.view.live().map(|row| row.profile.build).collect();
        let pace = if is_quiet && builds.len() <= 1 { Pace::All } else { Pace::Drains };
        let moves = allocation::plan(&self.hosts(), &self.placed(), pace, &self.limits);
        if !moves.is_empty() {
            self.is_proposing = true;
            out.push(Output::Run(Statement::Propose { view: meta.view, map: meta.map, moves }));
        }
    }

    fn hosts(&self) -> Vec<Host> {
        let host = |row: &NodeRow| Host {
            node: row.incarnation.node,
            profile: Arc::clone(&row.profile),
            is_draining: row.status == Status::Draining,
        };
        self.view.serving().map(host).collect()
    }

    fn placed(&self) -> Vec<Placed> {
        let serving: BTreeSet<_> = self.view.serving().map(|row| row.incarnation).collect();
        let placed = |row: &ShardRow| Placed {
            shard: row.shard,
            epoch: row.epoch,
            owner: row.owner.filter(|owner| serving.contains(owner)).map(|owner| owner.node),
            target: row.target,
            load: 1,
        };
        self.view.shards().map(placed).collect()
    }
}
