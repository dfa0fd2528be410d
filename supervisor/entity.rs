//! THE loop: load, then decide > evolve > append > (durable) > reply, command by command.
//!
//! ```text
//!  mailbox ──▶ seen before? ──▶ decide ──▶ seal ──▶ evolve ──▶ journal.append ─┐ takes the next command
//!                                                                             │
//!  caller ◀── replies, in order ◀── Flushed ◀── (group commit, fdatasync) ◀────┘
//! ```
//!
//! The entity does not wait for the disk, so its state may be ahead of it; nothing that shows such a state
//! leaves before it is durable. When an append fails everything after it is void: the entity answers all
//! that waits, stops, and the next command starts it again from the journal.

mod kept;
mod load;
mod message;
mod records;

use std::{
    collections::VecDeque,
    fmt,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use prognet_storage::{
    EntityRef, Epoch, Seq, ShardId,
    codec::{decode_event, encode_compact, encode_event},
    journal::{AppendError, Appended, Cause, Group, Record, RecordKind},
    snapshots::Snapshot,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

pub(crate) use kept::TimerBody as TimerRecord;
use kept::{DoneBody, InboxBody, Kept, KeptReply, TimerBody};
pub(crate) use message::{AnyBox, AnyRefused, Ask, Delivery, Fire, Heard, Message, Outcome, Seen};
use records::Header;
pub(crate) use records::open_body;

use crate::{
    Aggregate, Context, Decision, Kind, Unavailable,
    aggregate::{TimerChange, event_type},
    projection::Recorded,
    router::Written,
    runtime::Runtime,
    shard::{self, ShardMessage},
};

/// What a kind of entity costs and suffers, counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hot: AtomicU64,
    pub(crate) activations: AtomicU64,
    pub(crate) restarts: AtomicU64,
    pub(crate) quarantined: AtomicU64,
}

/// Ends when the entity is loaded, or has failed to.
pub(crate) type Starting = tokio::task::JoinHandle<Result<tokio::task::JoinHandle<()>, ractor::SpawnErr>>;

/// A kind of entity, its type erased, so that a shard can host any.
pub(crate) trait EntityHost: fmt::Debug + Send + Sync {
    fn kind(&self) -> Kind;
    fn counters(&self) -> &Counters;
    /// Starts one; its mailbox takes commands at once, they wait for the load, whose end the handle tells.
    fn spawn(
        &self,
        shell: Shell,
        supervisor: ActorCell,
    ) -> Result<(ActorRef<Message>, Starting), ractor::SpawnErr>;
    /// The event as the public sees it, if it does.
    fn publish(&self, event: &Recorded) -> Option<serde_json::Value>;
}

/// See [`EntityHost`].
pub(crate) struct Host<A> {
    counters: Arc<Counters>,
    kind: PhantomData<fn() -> A>,
}

impl<A> Default for Host<A> {
    fn default() -> Self {
        Self { counters: Arc::default(), kind: PhantomData }
    }
}

impl<A> fmt::Debug for Host<A> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Host").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl<A: Aggregate> EntityHost for Host<A> {
    fn kind(&self) -> Kind {
        A::KIND
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn spawn(
        &self,
        shell: Shell,
        supervisor: ActorCell,
    ) -> Result<(ActorRef<Message>, Starting), ractor::SpawnErr> {
        ractor::ActorRuntime::spawn_linked_instant(None, Live::<A>(PhantomData), shell, supervisor)
    }

    fn publish(&self, event: &Recorded) -> Option<serde_json::Value> {
        event.of::<A>().and_then(|event| A::publish(&event))
    }
}

/// What an entity is started with.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) entity: EntityRef,
    pub(crate) shard: ShardId,
    pub(crate) epoch: Epoch,
    pub(crate) home: ActorRef<ShardMessage>,
    /// When it was last asked something, in clock milliseconds.
    pub(crate) used: Arc<AtomicI64>,
}

struct Live<A>(PhantomData<fn() -> A>);

/// A running entity.
struct Running<A: Aggregate> {
    shell: Shell,
    kept: Kept<A>,
    /// Batches handed to the journal, oldest first.
    under_way: VecDeque<Batch>,
    waiting: Vec<Ask>,
    since_snapshot: u64,
    leaving: Leaving,
}

/// A batch on its way to the disk.
struct Batch {
    /// Who hears of it, in order: whoever caused it, then whoever read the state it made.
    told: Vec<Tell>,
    snapshot: Option<Snapshot>,
    records: u64,
}

/// Passes a batch's fate on.
type Tell = Box<dyn FnOnce(Result<Option<Written>, Unavailable>) + Send>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// Idle: snapshot and stop once nothing is under way.
    Passivating,
    /// An append failed: stop once every batch has met its fate.
    Void,
    /// `evolve` panicked, so the state is neither the old nor the new: stop as a crash.
    Tainted,
}

impl<A: Aggregate> Actor for Live<A> {
    type Msg = Message;
    type State = Running<A>;
    type Arguments = Shell;

    async fn pre_start(&self, _: ActorRef<Message>, shell: Shell) -> Result<Running<A>, ActorProcessingErr> {
        let (kept, since_snapshot) = load::load::<A>(&shell).await?;
        Ok(Running {
            shell,
            kept,
            under_way: VecDeque::new(),
            waiting: Vec::new(),
            since_snapshot,
            leaving: Leaving::No,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        running: &mut Running<A>,
    ) -> Result<(), ActorProcessingErr> {
        running.handle(message, &myself);
        running.leave_if_done(&myself)
    }
}

/// Where a command came from, and with it what its acceptance leaves in the journal.
enum Origin {
    Edge { keyed: Option<(u128, u128)> },
    Entity { source: Cause },
    Timer { name: prognet_storage::Name },
    Answer { outgoing: Seq, cause: Cause },
}

/// What came of a command.
enum Decided<A: Aggregate> {
    /// Submitted, or nothing to write; the encoded reply where the journal keeps it.
    Accepted {
        reply: A::Reply,
        encoded: Vec<u8>,
    },
    Rejected(A::Rejection),
    Fault,
}

impl<A: Aggregate> Running<A> {
    fn handle(&mut self, message: Message, myself: &ActorRef<Message>) {
        match message {
            Message::Flushed(fate) => self.flushed(fate),
            Message::Passivate if self.leaving == Leaving::No => self.leaving = Leaving::Passivating,
            Message::Passivate => {}
            Message::Inspect(reply) => drop(reply.send(self.seen())),
            command if self.leaving != Leaving::No => {
                // It is for the entity that comes after this one.
                shard::send_or_refuse(&self.shell.home, ShardMessage::Returned(self.shell.entity, command));
            }
            Message::Ask(ask) => self.ask(ask, myself),
            Message::Delivery(delivery) => self.take_in(delivery, myself),
            Message::Fire(fire) => self.fire(fire, myself),
            Message::Heard(heard) => self.hear(heard, myself),
            Message::Await(ask) => {
                self.waiting.push(ask);
                self.answer_waiting();
            }
        }
    }

    /// A command or a read from the edge.
    fn ask(&mut self, mut ask: Ask, myself: &ActorRef<Message>) {
        let now = self.shell.runtime.clock.now();
        self.shell.used.store(now.as_millis(), Ordering::Relaxed);
        if now > ask.deadline {
            drop(ask.reply.send(Err(AnyRefused::Unavailable(Unavailable::Deadline))));
            return;
        }
        let Some(command) = ask.command.take() else {
            let shown: AnyBox = Box::new(self.kept.state.reply());
            return self.tell_when_durable(answer(ask, Ok(shown)));
        };
        let Ok(command) = command.downcast::<A::Command>() else {
            drop(ask.reply.send(Err(AnyRefused::Fault)));
            return;
        };
        let keyed = ask.key.map(|key| (key, digest(&*command)));
        if let Some((key, body)) = keyed {
            match self.kept.replied(key, body) {
                Some(Ok(first)) => {
                    let first = decode_event::<A::Reply>(first).map(|reply| Box::new(reply) as AnyBox);
                    return self.tell_when_durable(answer(ask, first.map_err(|_why| AnyRefused::Fault)));
                }
                Some(Err(_)) => {
                    drop(ask.reply.send(Err(AnyRefused::KeyReused)));
                    return;
                }
                None => {}
            }
        }
        let ctx = self.context(now, ask.asker, ask.trace);
        match self.decide(*command, &ctx, &Origin::Edge { keyed }, myself) {
            Decided::Accepted { reply, .. } => self.tell_when_durable(answer(ask, Ok(Box::new(reply)))),
            Decided::Rejected(rejection) => {
                self.tell_when_durable(answer(ask, Err(AnyRefused::Rejected(Box::new(rejection)))));
            }
            Decided::Fault => drop(ask.reply.send(Err(AnyRefused::Fault))),
        }
    }

    /// Another entity's outgoing command: taken in once, however often it comes.
    fn take_in(&mut self, delivery: Delivery, myself: &ActorRef<Message>) {
        let Delivery { source, by, trace, command, reply } = delivery;
        if let Some(taken) = self.kept.inbox.get(&source.shard)
            && taken.offset >= source.offset
        {
            let first = taken.reply.clone();
            return self.tell_when_durable(Box::new(move |fate| {
                drop(reply.send(fate.map(|_| Ok(first)).map_err(AnyRefused::Unavailable)));
            }));
        }
        let Ok(command) = decode_event::<A::Command>(&command) else {
            tracing::error!(entity = %self.shell.entity, "an outgoing command does not decode");
            drop(reply.send(Err(AnyRefused::Fault)));
            return;
        };
        let ctx = self.context(self.shell.runtime.clock.now(), by, trace);
        let answer = match self.decide(command, &ctx, &Origin::Entity { source }, myself) {
            Decided::Accepted { encoded, .. } => Ok(encoded),
            Decided::Rejected(rejection) => Err(encode_event(&rejection).unwrap_or_default()),
            Decided::Fault => {
                drop(reply.send(Err(AnyRefused::Fault)));
                return;
            }
        };
        self.tell_when_durable(Box::new(move |fate| {
            drop(reply.send(fate.map(|_| answer).map_err(AnyRefused::Unavailable)));
        }));
    }

    /// A timer is due; one that was cleared or set again meanwhile has nothing to say.
    fn fire(&mut self, fire: Fire, myself: &ActorRef<Message>) {
        let Fire { name, set_by, due, command, done } = fire;
        if self.kept.timers.get(&name) != Some(&set_by) {
            return self.tell_when_durable(done_when_durable(done));
        }
        let ctx = self.context(due, 0, 0);
        let origin = Origin::Timer { name };
        let Ok(command) = decode_event::<A::Command>(&command) else {
            tracing::error!(entity = %self.shell.entity, timer = %name, "a timer's command does not decode");
            drop(done.send(Err(AnyRefused::Fault)));
            return;
        };
        match self.decide(command, &ctx, &origin, myself) {
            Decided::Accepted { .. } => {}
            Decided::Rejected(rejection) => {
                tracing::debug!(entity = %self.shell.entity, timer = %name, %rejection, "a timer's command was refused");
                self.note(&ctx, &origin, myself);
            }
            Decided::Fault => {
                drop(done.send(Err(AnyRefused::Fault)));
                return;
            }
        }
        self.tell_when_durable(done_when_durable(done));
    }

    /// An outgoing command was answered: its meaning here, and its end, in one append.
    fn hear(&mut self, heard: Heard, myself: &ActorRef<Message>) {
        let Heard { outgoing, cause, answer, trace, done } = heard;
        if !self.kept.under_way.contains_key(&outgoing) {
            return self.tell_when_durable(done_when_durable(done));
        }
        let ctx = self.context(self.shell.runtime.clock.now(), 0, trace);
        let origin = Origin::Answer { outgoing, cause };
        let command = catch_unwind(AssertUnwindSafe(|| self.kept.state.heard(&answer)));
        let decided = match command {
            Ok(Some(command)) => self.decide(command, &ctx, &origin, myself),
            Ok(None) => {
                self.note(&ctx, &origin, myself);
                return self.tell_when_durable(done_when_durable(done));
            }
            Err(_) => Decided::Fault,
        };
        match decided {
            Decided::Accepted { .. } => {}
            Decided::Rejected(rejection) => {
                tracing::warn!(entity = %self.shell.entity, step = answer.step(), %rejection, "an answer was refused");
                self.note(&ctx, &origin, myself);
            }
            Decided::Fault => {
                drop(done.send(Err(AnyRefused::Fault)));
                return;
            }
        }
        self.tell_when_durable(done_when_durable(done));
    }

    fn context(&self, now: crate::Timestamp, asker: u128, trace: u128) -> Context {
        Context { now, asker, trace, entity: self.shell.entity, clock: self.shell.runtime.clock.clone() }
    }

    /// Decides, seals, evolves, submits. A panic in `decide` leaves everything as it was.
    fn decide(
        &mut self,
        command: A::Command,
        ctx: &Context,
        origin: &Origin,
        myself: &ActorRef<Message>,
    ) -> Decided<A> {
        let decision = match catch_unwind(AssertUnwindSafe(|| self.kept.state.decide(command, ctx))) {
            Ok(Ok(decision)) => decision,
            Ok(Err(rejection)) => return Decided::Rejected(rejection),
            Err(_) => {
                tracing::error!(entity = %self.shell.entity, trace = ctx.trace, "deciding panicked");
                return Decided::Fault;
            }
        };
        match self.commit(&decision, ctx, origin, myself) {
            Ok(decided) => decided,
            Err(error) => {
                tracing::error!(entity = %self.shell.entity, trace = ctx.trace, error = &*error, "failed to commit");
                Decided::Fault
            }
        }
    }

    /// Writes only what a command's origin leaves, e.g. that a timer is over.
    fn note(&mut self, ctx: &Context, origin: &Origin, myself: &ActorRef<Message>) {
        if let Err(error) = self.commit(&Decision::nothing(), ctx, origin, myself) {
            tracing::error!(entity = %self.shell.entity, error = &*error, "failed to note the end of a command");
        }
    }

    fn commit(
        &mut self,
        decision: &Decision<A>,
        ctx: &Context,
        origin: &Origin,
        myself: &ActorRef<Message>,
    ) -> Result<Decided<A>, Box<dyn std::error::Error + Send + Sync>> {
        let runtime = Arc::clone(&self.shell.runtime);
        let mut header = Header::new(&runtime, &self.shell, self.kept.seq, ctx, origin.cause());
        let mut records = Vec::with_capacity(decision.events.len() + 2);
        for event in &decision.events {
            records.push(header.event(event_type(event), A::EVENT_VERSION, &encode_event(event)?)?);
        }
        for change in &decision.timers {
            records.push(match change {
                TimerChange::Set { name, due, command } => {
                    let body = TimerBody { due: *due, command: encode_event(command)? };
                    header.next(RecordKind::TimerSet, *name, &encode_event(&body)?)?
                }
                TimerChange::Clear { name } => {
                    if !self.kept.timers.contains_key(name) {
                        continue;
                    }
                    header.next(RecordKind::TimerCleared, *name, &[])?
                }
            });
        }
        for outgoing in &decision.outgoing {
            records.push(header.next(RecordKind::Outgoing, outgoing.step, &encode_event(outgoing)?)?);
        }
        // From here on the state changes: a panic leaves it neither old nor new.
        let evolved = catch_unwind(AssertUnwindSafe(|| {
            for event in &decision.events {
                self.kept.state.evolve(event);
            }
            self.kept.state.reply()
        }));
        let Ok(reply) = evolved else {
            self.leaving = Leaving::Tainted;
            return Err("evolving panicked".into());
        };
        let is_rearmed = matches!(origin, Origin::Timer { name: fired } if decision.timers.iter().any(
            |change| matches!(change, TimerChange::Set { name, .. } if name == fired)));
        let (encoded, own) = match self.origin_record(origin, ctx, &mut header, &reply, is_rearmed) {
            Ok(own) => own,
            Err(error) => {
                // The state has moved on without its records.
                self.leaving = Leaving::Tainted;
                return Err(error);
            }
        };
        records.extend(own);
        if !records.is_empty() {
            self.book(&records);
            self.submit(records, myself);
        }
        Ok(Decided::Accepted { reply, encoded })
    }

    /// The record that makes a command's acceptance idempotent, and the encoded reply it keeps.
    fn origin_record(
        &mut self,
        origin: &Origin,
        ctx: &Context,
        header: &mut Header<'_>,
        reply: &A::Reply,
        is_rearmed: bool,
    ) -> Result<(Vec<u8>, Option<Record>), Box<dyn std::error::Error + Send + Sync>> {
        Ok(match *origin {
            Origin::Edge { keyed: None } => (Vec::new(), None),
            Origin::Edge { keyed: Some((key, body)) } => {
                let kept = KeptReply { key, body, at: ctx.now, reply: encode_event(reply)? };
                let record = header.next(RecordKind::Reply, A::KIND.name, &encode_event(&kept)?)?;
                self.kept.keep_reply(kept, &self.shell.runtime.limits);
                (Vec::new(), Some(record))
            }
            Origin::Entity { source } => {
                let body = InboxBody { source, reply: encode_event(reply)? };
                let record = header.next(RecordKind::Inbox, A::KIND.name, &encode_event(&body)?)?;
                let encoded = body.reply.clone();
                self.kept.take(body);
                (encoded, Some(record))
            }
            // A command that set its own timer again has ended the one that fired by that.
            Origin::Timer { .. } if is_rearmed => (Vec::new(), None),
            Origin::Timer { name } => {
                let record = header.next(RecordKind::TimerCleared, name, &[])?;
                (Vec::new(), Some(record))
            }
            Origin::Answer { outgoing, .. } => {
                let body = encode_event(&DoneBody { outgoing })?;
                self.kept.under_way.remove(&outgoing);
                (Vec::new(), Some(header.next(RecordKind::OutgoingDone, A::KIND.name, &body)?))
            }
        })
    }

    /// Keeps what the records say about timers and outgoing commands.
    fn book(&mut self, records: &[Record]) {
        for record in records {
            match record.kind {
                RecordKind::TimerSet => drop(self.kept.timers.insert(record.name, record.seq)),
                RecordKind::TimerCleared => drop(self.kept.timers.remove(&record.name)),
                RecordKind::Outgoing => drop(self.kept.under_way.insert(record.seq, record.name)),
                RecordKind::Event
                | RecordKind::OutgoingDone
                | RecordKind::Reply
                | RecordKind::Inbox
                | RecordKind::Cursor
                | RecordKind::Fence => {}
            }
            self.kept.seq = record.seq;
        }
    }

    /// Hands a batch to the journal; its fate comes back as a message.
    fn submit(&mut self, records: Vec<Record>, myself: &ActorRef<Message>) {
        let count = records.len() as u64;
        self.since_snapshot += count;
        let snapshot = if self.since_snapshot >= self.shell.runtime.limits.snapshot_every {
            self.since_snapshot = 0;
            self.snapshot()
        } else {
            None
        };
        self.under_way.push_back(Batch { told: Vec::new(), snapshot, records: count });
        let (myself, group) =
            (myself.clone(), Group { shard: self.shell.shard, epoch: self.shell.epoch, records });
        self.shell.runtime.journal.append(
            group,
            Box::new(move |fate| {
                // It cannot be gone: it stops only when no batch is under way.
                drop(myself.cast(Message::Flushed(fate)));
            }),
        );
    }

    fn snapshot(&self) -> Option<Snapshot> {
        let bytes = encode_compact(&self.kept).ok()?;
        Some(Snapshot { seq: self.kept.seq, offset: self.kept.offset, bytes })
    }

    /// Tells once everything decided so far is durable: at once, if it is.
    fn tell_when_durable(&mut self, tell: Tell) {
        match self.under_way.back_mut() {
            Some(batch) => batch.told.push(tell),
            None => tell(Ok(self.written())),
        }
    }

    fn written(&self) -> Option<Written> {
        (self.kept.offset.0 > 0).then_some(Written { shard: self.shell.shard, offset: self.kept.offset })
    }

    /// The oldest batch has met its fate.
    fn flushed(&mut self, fate: Result<Appended, AppendError>) {
        let Some(batch) = self.under_way.pop_front() else {
            return;
        };
        let told = match fate {
            Ok(appended) => {
                self.kept.offset = prognet_storage::Offset(appended.first.0 + batch.records - 1);
                if let Some(snapshot) = batch.snapshot {
                    self.save(Snapshot { offset: self.kept.offset, ..snapshot });
                }
                Ok(self.written())
            }
            Err(error) => {
                self.leaving = Leaving::Void;
                Err(self.append_failed(&error))
            }
        };
        for tell in batch.told {
            tell(told.clone());
        }
        self.answer_waiting();
    }

    fn append_failed(&self, error: &AppendError) -> Unavailable {
        tracing::warn!(entity = %self.shell.entity, shard = %self.shell.shard, error = error as &dyn std::error::Error, "failed to append");
        match error {
            AppendError::Fenced { .. } => {
                drop(self.shell.home.cast(ShardMessage::Fenced));
                Unavailable::NotWritten
            }
            AppendError::Poisoned { .. } => Unavailable::OutcomeUnknown,
            AppendError::OutOfOrder { .. }
            | AppendError::Full
            | AppendError::Size { .. }
            | AppendError::Closed => Unavailable::NotWritten,
        }
    }

    fn save(&self, snapshot: Snapshot) {
        let (runtime, entity, service) =
            (Arc::clone(&self.shell.runtime), self.shell.entity, self.shell.shard.service);
        // The offset inside is the one before the batch; loading takes the snapshot's own.
        self.shell.runtime.tasks.spawn(async move {
            if let Err(error) = runtime.snapshots.save(service, entity, snapshot).await {
                tracing::warn!(entity = %entity, error = &error as &dyn std::error::Error, "failed to save a snapshot");
            }
        });
    }

    /// A saga that has ended, durably, answers whoever waited.
    fn answer_waiting(&mut self) {
        if self.waiting.is_empty() || !self.under_way.is_empty() || self.leaving == Leaving::Void {
            return;
        }
        if !self.kept.state.has_ended() {
            let now = self.shell.runtime.clock.now();
            self.waiting.retain(|ask| ask.deadline > now && !ask.reply.is_closed());
            return;
        }
        for ask in std::mem::take(&mut self.waiting) {
            let written = self.written();
            drop(ask.reply.send(Ok((Box::new(self.kept.state.reply()), written))));
        }
    }

    /// Stops, if it is leaving and nothing is under way any more.
    fn leave_if_done(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        if self.leaving == Leaving::No || !self.under_way.is_empty() {
            return Ok(());
        }
        for ask in std::mem::take(&mut self.waiting) {
            Message::Await(ask).refuse(Unavailable::StillRunning);
        }
        match self.leaving {
            Leaving::No => {}
            Leaving::Tainted => return Err("evolving panicked".into()),
            Leaving::Void => {
                // What is in the mailbox is passed on to the next life.
                drop(myself.drain());
            }
            Leaving::Passivating => {
                if self.since_snapshot > 0
                    && let Some(snapshot) = self.snapshot()
                {
                    self.since_snapshot = 0;
                    self.save(snapshot);
                }
                drop(myself.drain());
            }
        }
        Ok(())
    }

    fn seen(&self) -> Seen {
        Seen {
            state: self.kept.state.inspect(),
            seq: self.kept.seq.0,
            timers: self.kept.timers.len(),
            under_way: self.kept.under_way.len(),
        }
    }
}

impl Origin {
    const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Entity { source } => Some(*source),
            Self::Answer { cause, .. } => Some(*cause),
            Self::Edge { .. } | Self::Timer { .. } => None,
        }
    }
}

/// Answers a caller with what is known already, once it is durable.
fn answer(ask: Ask, known: Result<AnyBox, AnyRefused>) -> Tell {
    Box::new(move |fate| {
        let outcome = match (fate, known) {
            (Ok(written), Ok(reply)) => Ok((reply, written)),
            (Ok(_), Err(refused)) => Err(refused),
            (Err(unavailable), _) => Err(AnyRefused::Unavailable(unavailable)),
        };
        drop(ask.reply.send(outcome));
        drop(ask.permit);
    })
}

fn done_when_durable(done: oneshot::Sender<Result<(), AnyRefused>>) -> Tell {
    Box::new(move |fate| drop(done.send(fate.map(|_| ()).map_err(AnyRefused::Unavailable))))
}

/// A digest of a command, to tell a retry from another command under the same key.
fn digest<C: serde::Serialize>(command: &C) -> u128 {
    let bytes = encode_event(command).unwrap_or_default();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    digest.as_ref().iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}
