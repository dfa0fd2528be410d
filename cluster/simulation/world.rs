//! Machines, a network and a store, on one line of time that a seed lays out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
    time::Duration,
};

use prognet_supervisor::{Name, ShardId};

use super::{
    Bug,
    dice::Dice,
    machine::{Machine, Pending, Process, Serving},
    store::{GENERATION, Store},
};
use crate::{
    BootTime, Epoch, Input, Limits, Member, Output, StoreTime,
    membership::Candidate,
    tables::{Answer, Build, Incarnation, NodeId, Profile, Statement, Status, Wire},
};

/// Between two ticks of a machine, in milliseconds.
const TICK: u64 = 250;

/// What happens at a moment.
#[derive(Debug)]
pub(super) enum Event {
    Start {
        at: usize,
    },
    Tick {
        at: usize,
        run: u64,
    },
    /// A statement reaches the store.
    Execute {
        at: usize,
        run: u64,
        statement: Statement,
        asked_at: BootTime,
        answer_at: Option<u64>,
    },
    /// Something reaches a machine.
    Deliver {
        at: usize,
        run: u64,
        what: Pending,
    },
    /// An append reaches the store.
    Append {
        at: usize,
        run: u64,
        by: Incarnation,
        shard: ShardId,
        epoch: Epoch,
        id: u64,
    },
    /// Somebody asks a machine.
    Client {
        at: usize,
    },
    /// Something breaks.
    Fault,
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// How a world is made.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) machines: usize,
    pub(super) services: usize,
    pub(super) shards: u16,
    /// Whether messages get lost, statements time out and processes die at any step, until `calm_from`.
    pub(super) is_rough: bool,
    /// When faults stop, in milliseconds.
    pub(super) calm_from: u64,
    /// Whether a refused connection is a proof.
    pub(super) trust_refused: bool,
    pub(super) bug: Option<Bug>,
    pub(super) is_traced: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now: u64,
    pub(super) dice: Dice,
    pub(super) store: Store,
    pub(super) machines: Vec<Machine>,
    pub(super) limits: Limits,
    pub(super) services: Vec<Name>,
    /// When the store can be reached again, and when it is quick again.
    pub(super) store_down_until: u64,
    pub(super) store_slow_until: u64,
    /// Links that are cut, until when.
    pub(super) cuts: BTreeMap<(usize, usize), u64>,
    /// Appends that a client was told of.
    pub(super) acknowledged: BTreeMap<u64, ShardId>,
    /// When the owner of a shard stopped for a move.
    pub(super) stopped: BTreeMap<ShardId, u64>,
    /// Pauses of moves that ended, in milliseconds.
    pub(super) pauses: Vec<u64>,
    pub(super) reads: u64,
    pub(super) fenced: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    pub(super) ids: u64,
    pub(super) trace: Vec<String>,
}

pub(super) const SERVICES: [Name; 2] = [Name::new("users"), Name::new("tenancy")];
pub(super) const NODES: [Name; 5] =
    [Name::new("n0"), Name::new("n1"), Name::new("n2"), Name::new("n3"), Name::new("n4")];

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let limits = Limits { quiet: Duration::from_secs(3), ..Limits::default() };
        let services: Vec<_> = SERVICES.into_iter().take(plan.services).collect();
        let mut dice = Dice::new(plan.seed);
        let machines = (0..plan.machines).map(|at| Machine::new(NodeId(NODES[at]), &mut dice)).collect();
        let mut world = Self {
            now: 0,
            store: Store::new(&services, plan.shards, limits.clone(), plan.bug),
            machines,
            limits,
            services,
            store_down_until: 0,
            store_slow_until: 0,
            cuts: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            stopped: BTreeMap::new(),
            pauses: Vec::new(),
            reads: 0,
            fenced: 0,
            queue: BinaryHeap::new(),
            order: 0,
            ids: 0,
            trace: Vec::new(),
            dice,
            plan,
        };
        for at in 0..world.machines.len() {
            world.after(100, Event::Client { at });
        }
        world
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if self.plan.is_traced {
            self.trace.push(format!("{:>7} {}", self.now, what()));
        }
    }

    pub(super) fn after(&mut self, wait: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at: self.now + wait, order: self.order, event }));
    }

    pub(super) fn is_rough(&self) -> bool {
        self.plan.is_rough && self.now < self.plan.calm_from
    }

    /// Runs until a moment, or until something has happened that must not.
    pub(super) fn run_until(&mut self, until: u64) -> Result<(), String> {
        while let Some(Reverse(next)) = self.queue.peek()
            && next.at <= until
        {
            let Some(Reverse(next)) = self.queue.pop() else { break };
            self.now = next.at;
            self.store.now = StoreTime::from_millis(1_000_000 + self.now);
            self.happen(next.event);
            if let Some(what) = &self.store.broken {
                return Err(format!("at {} ms: {what}", self.now));
            }
        }
        self.now = until;
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { at } => self.start(at),
            Event::Tick { at, run } => self.tick(at, run),
            Event::Execute { at, run, statement, asked_at, answer_at } => {
                self.execute(at, run, statement, asked_at, answer_at);
            }
            Event::Deliver { at, run, what } => self.deliver(at, run, what),
            Event::Append { at, run, by, shard, epoch, id } => {
                let can_reach = self.now >= self.store_down_until;
                let landed = can_reach.then(|| self.store.append(by, shard, epoch, id));
                let wait = self.dice.between(1, 20);
                self.after(
                    wait,
                    Event::Deliver { at, run, what: Pending::Appended { shard, epoch, id, landed } },
                );
            }
            Event::Client { at } => self.client(at),
            Event::Fault => self.fault(),
        }
    }

    /// A process begins on a machine, unless one runs there or it has left for good.
    pub(super) fn start(&mut self, at: usize) {
        if self.machines[at].process.is_some() || self.machines[at].has_left {
            return;
        }
        let machine = &self.machines[at];
        let roles: BTreeSet<_> =
            self.services.iter().copied().filter(|service| !machine.lacks.contains(service)).collect();
        let profile = Profile {
            address: format!("{}:7000", machine.node),
            directory: at as u128,
            roles,
            weight: machine.weight,
            build: Build { major: 1, minor: machine.build, patch: 0 },
            wire: Wire { min: 1, max: 1 },
        };
        let candidate = Candidate {
            node: machine.node,
            profile: Arc::new(profile),
            generation: GENERATION,
            shards: self.plan.shards,
            services: self.services.iter().copied().collect(),
            allow_partial: true,
            holds_lock: machine.has_directory,
            trust_refused: self.plan.trust_refused,
        };
        let run = machine.runs + 1;
        self.note(|| format!("{at} starts, run {run}"));
        let mut limits = self.limits.clone();
        if self.plan.bug == Some(Bug::MovesTooMuch) {
            (limits.moving_percent, limits.moves_per_node, limits.drains_per_node) = (100, 100, 100);
        }
        let member = Member::new(candidate, limits);
        let machine = &mut self.machines[at];
        machine.runs = run;
        machine.process = Some(Process::new(member));
        self.after(1, Event::Tick { at, run });
    }

    pub(super) fn tick(&mut self, at: usize, run: u64) {
        let machine = &self.machines[at];
        if machine.runs != run || machine.process.is_none() {
            return;
        }
        if self.now < machine.frozen_until {
            let wait = machine.frozen_until - self.now;
            self.after(wait, Event::Tick { at, run });
            return;
        }
        self.after(TICK, Event::Tick { at, run });
        self.links(at);
        if self.machines[at].is_leaving {
            self.feed(at, Input::LeaveAsked);
        }
        self.feed(at, Input::Tick);
    }

    /// Feeds a process and does what it says; in rough times it may die before, between or after.
    pub(super) fn feed(&mut self, at: usize, input: Input) {
        let now = self.machines[at].local(self.now);
        let Some(process) = &mut self.machines[at].process else { return };
        let outputs = process.member.step(now, input);
        let dies_after =
            (self.is_rough() && self.dice.roll(2_000) == 0).then(|| self.dice.roll(outputs.len() as u64 + 1));
        for (done, output) in outputs.into_iter().enumerate() {
            if dies_after == Some(done as u64) {
                break;
            }
            self.act(at, output);
        }
        if dies_after.is_some() {
            self.crash(at);
            self.restart_soon(at);
        }
    }

    pub(super) fn act(&mut self, at: usize, output: Output) {
        self.note(|| format!("{at}: {output:?}"));
        let run = self.machines[at].runs;
        match output {
            Output::Run(statement) => self.send(at, statement),
            Output::Fence | Output::Resume => {}
            Output::Prepare { shard, epoch } => {
                let wait = self.dice.between(10, 100);
                let what = Pending::Input(Input::Prepared { shard, epoch });
                self.after(wait, Event::Deliver { at, run, what });
            }
            Output::Forget { .. } => {}
            Output::Open { shard, epoch, .. } => {
                let wait = self.dice.between(5, 50);
                let fails = self.is_rough() && self.dice.percent(2);
                let input =
                    if fails { Input::OpenFailed { shard, epoch } } else { Input::Opened { shard, epoch } };
                self.after(wait, Event::Deliver { at, run, what: Pending::Input(input) });
            }
            Output::Stop { shard, epoch } => self.stop(at, shard, epoch),
            Output::Close { shard } => {
                if let Some(process) = &mut self.machines[at].process {
                    process.serving.remove(&shard);
                }
            }
            Output::Tell { to, message } => {
                let peer = self.machines.iter().position(|machine| machine.node == to);
                self.say(at, peer.unwrap_or(at), message);
            }
            Output::Announce(message) => {
                for peer in 0..self.machines.len() {
                    self.say(at, peer, message);
                }
            }
            Output::Refused(_) => {
                self.machines[at].process = None;
                self.restart_soon(at);
            }
            Output::Drained => {
                let wait = self.dice.between(5, 500);
                self.after(wait, Event::Deliver { at, run, what: Pending::Input(Input::DoorsClosed) });
            }
            Output::Left => {
                self.machines[at].process = None;
                self.machines[at].has_left = true;
            }
        }
    }

    pub(super) fn stop(&mut self, at: usize, shard: ShardId, epoch: Epoch) {
        // Without a target nobody waits for it: there was no other host.
        if self.store.shards.get(&shard).is_some_and(|row| row.target.is_some()) {
            self.stopped.insert(shard, self.now);
        }
        let run = self.machines[at].runs;
        let ignores = self.plan.bug == Some(Bug::ServesAfterStop);
        let Some(process) = &mut self.machines[at].process else { return };
        let Some(serving) = process.serving.get_mut(&shard) else { return };
        serving.is_stopped = !ignores;
        if serving.under_way == 0 || ignores {
            self.after(0, Event::Deliver { at, run, what: Pending::Input(Input::Flushed { shard, epoch }) });
        }
    }

    pub(super) fn deliver(&mut self, at: usize, run: u64, what: Pending) {
        let machine = &self.machines[at];
        if machine.runs != run || machine.process.is_none() {
            return;
        }
        if self.now < machine.frozen_until {
            // What waited while it was frozen comes in any order when it wakes.
            let wait = machine.frozen_until - self.now + self.dice.between(0, 20);
            self.after(wait, Event::Deliver { at, run, what });
            return;
        }
        match what {
            Pending::Input(input) => self.deliver_input(at, input),
            Pending::Appended { shard, epoch, id, landed } => self.appended(at, shard, epoch, id, landed),
        }
    }

    fn deliver_input(&mut self, at: usize, mut input: Input) {
        self.plant(at, &mut input);
        if let Input::Opened { shard, epoch } = input {
            if let Some(process) = &mut self.machines[at].process {
                process.serving.insert(shard, Serving { epoch, is_stopped: false, under_way: 0 });
            }
            if let Some(since) = self.stopped.remove(&shard) {
                self.pauses.push(self.now - since);
            }
        }
        self.note(|| format!("{at} <- {input:?}"));
        self.feed(at, input);
    }

    /// Makes a member believe what its bug would.
    fn plant(&self, at: usize, input: &mut Input) {
        let Input::Answered(answer) = input else { return };
        let machine = &self.machines[at];
        if let (Answer::Renewed { asked_at, .. }, Some(Bug::CountsFromTheReply)) =
            (&mut *answer, self.plan.bug)
        {
            *asked_at = machine.local(self.now);
        }
        if let (Answer::Read(Ok(snapshot)), Some(Bug::IgnoresDrains)) = (answer, self.plan.bug) {
            let others = snapshot.nodes.iter_mut().filter(|row| row.incarnation.node != machine.node);
            for row in others.filter(|row| row.status == Status::Draining) {
                row.status = Status::Up;
            }
        }
    }
}
