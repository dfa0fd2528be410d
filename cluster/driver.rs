//! The one place that feeds a [`Member`]: on a thread of its own, so that a busy node keeps its lease.
//!
//! ```text
//!  ticks, answers of the store, words of peers, done work ──▶ Member::step ──▶ statements, words, work for the host
//!                                                                  └──▶ the map that routers read
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use prognet_supervisor::{Epoch, ShardId, leases::Leases};
use tokio::{
    runtime::Handle,
    sync::{Mutex, mpsc, watch},
    time::sleep,
};

use crate::{
    BootTime, Input, Member, Output,
    carrier::{Carrier, Frame},
    clocks::boot_time,
    host::Host,
    link::{FrameHandler, Link, LinkEvent},
    map::Maps,
    membership::{Proof, Refusal},
    numbers::{Moves, Numbers, Unanswered},
    seen::Seen,
    tables::{Answer, Incarnation, Lost, NodeId, NodeRow, Statement, Status},
};

/// Between two ticks: half of what a member asks for at least.
const TICK: Duration = Duration::from_millis(50);
/// Between two words about how far the log is known.
const DURABLE_EVERY: Duration = Duration::from_millis(2);
/// Between two looks which keys were destroyed.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// How long after its lease a node that is down is still linked to.
const LINGERS: Duration = Duration::from_secs(5 * 60);
/// Inputs taken in together at most, so that none waits long for what it leads to.
const AT_ONCE: usize = 512;
/// Inputs that wait: far more than a step leaves behind.
const INPUTS: usize = 16 * 1024;
/// How long a link is down before that is said.
const MISSED_AFTER: Duration = Duration::from_secs(1);

/// Whose links are down, since when, and whether they were about to leave.
type Missed = BTreeMap<NodeId, (BootTime, bool)>;

/// How a membership ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It has given everything away and left.
    Left,
    /// It may not join.
    Refused(Refusal),
}

/// What a driver works with.
pub(crate) struct Driver {
    pub(crate) leases: Arc<dyn Leases>,
    pub(crate) link: Arc<dyn Link>,
    pub(crate) carrier: Arc<Carrier>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) maps: Arc<Maps>,
    pub(crate) numbers: Arc<Numbers>,
    /// Where the host's work runs.
    pub(crate) work: Handle,
    pub(crate) ended: watch::Sender<Option<Ended>>,
    pub(crate) drained: watch::Sender<bool>,
    pub(crate) me: watch::Sender<Option<Incarnation>>,
    pub(crate) inputs: mpsc::Sender<Input>,
    /// Steps of one shard are taken one after the other.
    turns: Mutex<HashMap<ShardId, Arc<Mutex<()>>>>,
    /// The last word about the log.
    told: AtomicU64,
    seen: std::sync::Mutex<Seen>,
}

/// The way in.
pub(crate) fn inputs() -> (mpsc::Sender<Input>, mpsc::Receiver<Input>) {
    mpsc::channel(INPUTS)
}

impl Driver {
    #[expect(clippy::too_many_arguments, reason = "its parts, each once")]
    pub(crate) fn new(
        leases: Arc<dyn Leases>,
        link: Arc<dyn Link>,
        carrier: Arc<Carrier>,
        host: Arc<dyn Host>,
        maps: Arc<Maps>,
        numbers: Arc<Numbers>,
        work: Handle,
        ended: watch::Sender<Option<Ended>>,
        drained: watch::Sender<bool>,
        me: watch::Sender<Option<Incarnation>>,
        inputs: mpsc::Sender<Input>,
    ) -> Arc<Self> {
        let (turns, told, seen) = (Mutex::default(), AtomicU64::new(0), std::sync::Mutex::default());
        Arc::new(Self {
            leases,
            link,
            carrier,
            host,
            maps,
            numbers,
            work,
            ended,
            drained,
            me,
            inputs,
            turns,
            told,
            seen,
        })
    }

    /// Feeds the member until it is over.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut member: Member,
        mut inputs: mpsc::Receiver<Input>,
        mut events: mpsc::Receiver<LinkEvent>,
    ) {
        self.link.handle_by(Arc::<Self>::downgrade(&self));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut refresh = tokio::time::interval(REFRESH_EVERY);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        aside(Arc::clone(&self).tell_durable());
        let mut moves = Moves::default();
        let mut missed = Missed::new();
        while self.ended.borrow().is_none() {
            let input = tokio::select! {
                biased;
                _ = tick.tick() => {
                    say_who_is_missed(&mut missed);
                    Input::Tick
                }
                Some(input) = inputs.recv() => input,
                Some(event) = events.recv() => match self.met(event, &member, &mut missed) {
                    Some(input) => input,
                    None => continue,
                },
                _ = refresh.tick() => {
                    let host = Arc::clone(&self.host);
                    drop(self.work.spawn(async move { host.refresh().await }));
                    continue;
                }
            };
            // What is done meanwhile is taken in together: settling costs as much for one input as for many.
            let mut together = vec![input];
            together.extend(std::iter::from_fn(|| inputs.try_recv().ok()).take(AT_ONCE));
            let now = boot_time();
            moves.take_in(&together, now, &self.numbers);
            let out = member.steps(now, together);
            moves.follow(&out, &member, now, &self.numbers);
            self.carry_out(&mut member, out);
        }
    }

    fn carry_out(self: &Arc<Self>, member: &mut Member, out: Vec<Output>) {
        let (now, mut was) = (member.incarnation(), None);
        self.me.send_if_modified(|me| {
            was = std::mem::replace(me, now);
            was != now
        });
        // Whoever ends is no longer here either, but means it.
        let is_end = |output: &Output| matches!(output, Output::Refused(_) | Output::Left);
        if was.is_some() && now.is_none() && !out.iter().any(is_end) {
            self.numbers.evictions.once();
        }
        if let Some(me) = now {
            self.link.became(me);
        }
        self.maps.publish(member);
        let mut opening = Vec::new();
        for output in out {
            match output {
                Output::Run(statement) => self.ask(statement),
                Output::Open { shard, epoch, .. } => opening.push((shard, epoch)),
                Output::Stop { shard, epoch } => self.stop(shard, epoch),
                Output::Close { shard } => self.close(shard),
                // What is hot is read by whoever asks first: the store answers in a millisecond.
                Output::Prepare { shard, epoch } => self.feed(Input::Prepared { shard, epoch }),
                Output::Forget { .. } => {}
                Output::Fence if member.is_leaving() => tracing::info!("this node answers nothing any more"),
                Output::Fence => {
                    self.numbers.fences.once();
                    tracing::warn!("the lease is over: this node answers nothing until it has it again");
                }
                Output::Resume => tracing::info!("the lease holds"),
                Output::Tell { to, message } => self.carrier.tell(to, &Frame::Tell(message)),
                Output::Announce(message) => self.carrier.announce(&Frame::Tell(message)),
                Output::Refused(refusal) => drop(self.ended.send(Some(Ended::Refused(refusal)))),
                Output::Drained => drop(self.drained.send_replace(true)),
                Output::Left => drop(self.ended.send(Some(Ended::Left))),
            }
        }
        if !opening.is_empty() {
            self.open(opening);
        }
        self.meet(member);
    }

    /// Keeps links to whoever is here, or may be: a node that lost its lease still leads requests to the others.
    fn meet(&self, member: &Member) {
        let (Some(me), view) = (member.incarnation(), member.view()) else { return };
        let may_be_here = |row: &&NodeRow| {
            row.incarnation.node != me.node
                && (row.status != Status::Down || view.now() < row.lease_until.after(LINGERS))
        };
        let mut newest: BTreeMap<NodeId, &NodeRow> = BTreeMap::new();
        for row in view.nodes().iter().filter(may_be_here) {
            let known = newest.entry(row.incarnation.node).or_insert(row);
            if known.incarnation < row.incarnation {
                *known = row;
            }
        }
        let peers = newest.into_values().map(|row| (row.incarnation, row.profile.address.clone()));
        self.link.meet(peers.collect());
    }

    fn feed(&self, input: Input) {
        if self.inputs.try_send(input).is_err() {
            tracing::error!("the member is behind: what it was told is lost, its tables will say it");
        }
    }

    /// Runs a statement; its answer comes back as an input, as does that there is none.
    fn ask(self: &Arc<Self>, statement: Statement) {
        let driver = Arc::clone(self);
        // On this thread: a busy node keeps its lease.
        aside(async move {
            let answer = driver.answer(statement).await;
            drop(driver.inputs.send(Input::Answered(answer)).await);
        });
    }

    async fn answer(&self, statement: Statement) -> Answer {
        let (leases, asked_at) = (&self.leases, boot_time());
        let what = statement.name();
        let lost = |error: prognet_supervisor::leases::Error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store did not {what}");
            Lost
        };
        match statement {
            Statement::Read { after } => Answer::Read(leases.read(after).await.map_err(lost)),
            Statement::Join { view, node, profile } => {
                let result = leases.join(view, node, &profile).await.map_err(lost);
                Answer::Joined { asked_at, result }
            }
            Statement::Renew { by } => {
                let result = leases.renew(by).await.map_err(lost);
                if result.is_err() {
                    self.numbers.renewals_failed.once();
                }
                Answer::Renewed { by, asked_at, result }
            }
            Statement::ChangeStatus { of, from, to } => Answer::StatusChanged {
                of,
                to,
                result: leases.change_status(of, from, to).await.map_err(lost),
            },
            Statement::DeclareDown { of, is_proven } => {
                let result = leases.declare_down(of, is_proven).await.map_err(lost);
                if result == Ok(true) {
                    self.numbers.declared_down.once();
                    tracing::warn!(node = %of.node, incarnation = of.number, "declared {of} down");
                }
                Answer::DeclaredDown { of, result }
            }
            Statement::Forget { of } => Answer::Forgotten(leases.forget(of).await.map_err(lost)),
            Statement::Claim { by, shards } => {
                Answer::Claimed { by, result: leases.claim(by, &shards).await.map_err(lost) }
            }
            Statement::MarkReleasing { by, shards } => {
                Answer::MarkedReleasing(leases.mark_releasing(by, &shards).await.map(drop).map_err(lost))
            }
            Statement::Free { by, shards } => {
                let result = leases.free(by, &shards).await.map(drop).map_err(lost);
                Answer::Freed { by, shards, result }
            }
            Statement::Propose { view, map, moves } => {
                Answer::Proposed(leases.propose(view, map, &moves).await.map_err(lost))
            }
        }
    }

    /// A shard's turn: what was asked of it before is done when it comes.
    async fn turn(&self, shard: ShardId) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = Arc::clone(self.turns.lock().await.entry(shard).or_default());
        turn.lock_owned().await
    }

    fn open(self: &Arc<Self>, shards: Vec<(ShardId, Epoch)>) {
        let driver = Arc::clone(self);
        aside(async move {
            let mut turns = Vec::with_capacity(shards.len());
            for (shard, _) in &shards {
                turns.push(driver.turn(*shard).await);
            }
            let granted = driver.host.grant(shards.clone()).await.unwrap_or_else(|error| {
                tracing::warn!(error, shards = shards.len(), "failed to open shards");
                Vec::new()
            });
            for (shard, epoch) in shards {
                let input = if granted.contains(&shard) {
                    Input::Opened { shard, epoch }
                } else {
                    Input::OpenFailed { shard, epoch }
                };
                drop(driver.inputs.send(input).await);
            }
            drop(turns);
        });
    }

    fn stop(self: &Arc<Self>, shard: ShardId, epoch: Epoch) {
        let driver = Arc::clone(self);
        drop(self.work.spawn(async move {
            driver.host.drain(shard).await;
            drop(driver.inputs.send(Input::Flushed { shard, epoch }).await);
        }));
    }

    fn close(self: &Arc<Self>, shard: ShardId) {
        let driver = Arc::clone(self);
        aside(async move {
            let _turn = driver.turn(shard).await;
            driver.host.close(shard).await;
        });
    }

    /// Says how far the log is known here whenever nobody said so before.
    async fn tell_durable(self: Arc<Self>) {
        let mut durable = self.host.durable();
        while durable.changed().await.is_ok() {
            let lsn = *durable.borrow_and_update();
            if self.told.fetch_max(lsn.0, Ordering::Relaxed) < lsn.0 {
                self.carrier.announce(&Frame::Durable(lsn));
            }
            sleep(DURABLE_EVERY).await;
        }
    }

    fn met(self: &Arc<Self>, event: LinkEvent, member: &Member, missed: &mut Missed) -> Option<Input> {
        match event {
            LinkEvent::Up(peer) => {
                self.numbers.links_made.once();
                tracing::info!(node = %peer.node, "linked to {peer}");
                missed.remove(&peer.node);
                Some(Input::PeerReached(peer.node))
            }
            LinkEvent::Down(node) => {
                self.numbers.links_lost.once();
                missed.insert(node, (boot_time(), is_leaving(member, node)));
                self.carrier.lost(node);
                Some(Input::PeerLost(node))
            }
            LinkEvent::Refused { of, address } => {
                Some(Input::PeerGone { of, proof: Proof::Refused(address) })
            }
            LinkEvent::TurnedAway { of, why } => Some(Input::PeerTurnedAway { node: of.node, why }),
            LinkEvent::Failed { of, address, error } => {
                let error: &dyn std::error::Error = &*error;
                if is_leaving(member, of.node) {
                    tracing::debug!(node = %of.node, address, error, "failed to link to {of}, which leaves");
                } else {
                    tracing::warn!(node = %of.node, address, error, "failed to link to {of}");
                }
                None
            }
        }
    }

    fn heard(self: &Arc<Self>, from: Incarnation, frame: &[u8]) {
        let Some(frame) = Frame::decode(frame) else {
            tracing::warn!(node = %from.node, "a frame of {from} says nothing that this build knows");
            return;
        };
        match frame {
            Frame::Ask { id, to, parcel } => self.asked(from, id, to, parcel),
            Frame::Answer { id, parcel } => {
                let answer = parcel.map(serde_bytes::ByteBuf::into_vec);
                self.carrier.answered(id, answer.ok_or(Unanswered::Elsewhere));
            }
            Frame::Undelivered { id } => self.carrier.answered(id, Err(Unanswered::LinkLost)),
            Frame::Relay { from: sender, to, frame } => {
                if self.me.borrow().is_some_and(|me| me.node == to) {
                    // A relayed frame is never one that was relayed before.
                    match Frame::decode(&frame) {
                        Some(Frame::Relay { .. }) | None => {}
                        Some(_) => self.heard(sender, &frame),
                    }
                } else {
                    self.carrier.relay(sender, to, frame);
                }
            }
            Frame::Tell(message) => {
                self.maps.stir();
                self.feed(Input::Heard(message));
            }
            Frame::Durable(lsn) => {
                self.told.fetch_max(lsn.0, Ordering::Relaxed);
                self.host.heard_of(lsn);
            }
        }
    }

    /// A node asks: looked at on the host's threads.
    fn asked(self: &Arc<Self>, from: Incarnation, id: u64, to: Incarnation, parcel: Vec<u8>) {
        let Some(me) = *self.me.borrow() else { return };
        if !self.seen.lock().unwrap_or_else(PoisonError::into_inner).is_first(from, id) {
            return;
        }
        let driver = Arc::clone(self);
        drop(self.work.spawn(async move {
            let answer = if me == to { Some(driver.host.receive(parcel).await) } else { None };
            driver.carrier.answer(me, from.node, id, answer);
        }));
    }
}

impl FrameHandler for Driver {
    fn handle(self: Arc<Self>, from: Incarnation, frame: Bytes) {
        self.numbers.received_bytes.add(frame.len());
        self.heard(from, &frame);
    }
}

/// Whether a node gives its shards away, or has left: it hangs up in the end, as it should.
fn is_leaving(member: &Member, node: NodeId) -> bool {
    let runs = member.view().nodes().iter().filter(|row| row.incarnation.node == node);
    let last = runs.max_by_key(|row| row.incarnation);
    last.is_some_and(|row| matches!(row.status, Status::Draining | Status::Down))
}

/// Says whose links are down and stay so: one that is dialled anew at once, or from both ends, is no news.
fn say_who_is_missed(missed: &mut Missed) {
    let now = boot_time();
    missed.retain(|node, (since, is_leaving)| {
        let is_news = now.since(*since) > MISSED_AFTER;
        if is_news && *is_leaving {
            tracing::info!(node = %node, "the link to {node} is down: it leaves");
        } else if is_news {
            tracing::warn!(node = %node, "the link to {node} is down");
        }
        !is_news
    });
}

/// Works beside the driver, on its thread.
fn aside(work: impl Future<Output = ()> + Send + 'static) {
    drop(Handle::current().spawn(work));
}
