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

mod erased;
mod host;
mod kept;
mod load;
mod message;
mod records;

use std::{
    collections::VecDeque,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use prognet_storage::{
    EntityRef, Epoch, Seq, ShardId,
    codec::{decode_event, encode_compact, encode_event},
    journal::{AppendError, Appended, Cause, Group, Record, RecordKind},
    snapshots::Snapshot,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use erased::Erasure;
pub(crate) use host::{EntityHost, Host};
pub(crate) use kept::TimerBody as TimerRecord;
use kept::{DoneBody, InboxBody, Kept, KeptReply, TimerBody};
pub(crate) use message::{AnyBox, AnyRefused, Ask, Delivered, Delivery, Fire, Heard, Message, Outcome, Seen};
use records::Header;
pub(crate) use records::open_body;

use crate::{
    Aggregate, Context, Decision, Unavailable,
    aggregate::{TimerChange, event_type},
    router::Written,
    runtime::Runtime,
    shard::{self, ShardMessage},
};

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

/// An entity may weigh so much more or less than the node knows: a third of an idle actor.
const BYTES_UNSAID: usize = 4 * 1024;

struct Live<A>(PhantomData<fn() -> A>);

/// A running entity.
struct Running<A: Aggregate> {
    shell: Shell,
    kept: Kept<A>,
    /// Batches handed to the journal, oldest first.
    under_way: VecDeque<Batch>,
    waiting: Vec<Ask>,
    since_snapshot: u64,
    /// What the state weighs, by estimate, and what was last said of it.
    bytes: (usize, usize),
    leaving: Leaving,
    erasure: Erasure,
}

/// A batch on its way to the disk.
struct Batch {
    /// Who hears of it, in order: whoever caused it, then whoever read the state it made.
    told: Vec<Tell>,
    snapshot: Option<Snapshot>,
    records: u64,
    /// From the hand-over to the journal until the batch has met its fate.
    span: tracing::Span,
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

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        shell: Shell,
    ) -> Result<Running<A>, ActorProcessingErr> {
        let erasure = Erasure::of(&shell.entity.home, &shell.runtime.keyring);
        let load::Loaded { kept, replayed, bytes } = load::load::<A>(&shell).await?;
        shell.runtime.residency.weigh(myself.get_id(), bytes, &shell.runtime.limits);
        Ok(Running {
            shell,
            kept,
            under_way: VecDeque::new(),
            waiting: Vec::new(),
            since_snapshot: replayed,
            bytes: (bytes, bytes),
            leaving: Leaving::No,
            erasure,
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
    Edge { keyed: Option<Keyed> },
    Entity { source: Cause },
    Timer { name: prognet_storage::Name },
    Answer { outgoing: Seq, cause: Cause },
}

/// What makes a second attempt the first.
#[derive(Debug, Clone, Copy)]
struct Keyed {
    key: u128,
    /// A digest of the command.
    body: u128,
    /// By the caller, who may come back for the first reply. A router asks again only if nobody had one: what changed
    /// nothing may as well be decided anew.
    is_given: bool,
}

/// What came of a command.
enum Decided<A: Aggregate> {
    /// Submitted, or nothing to write; the encoded reply where the journal keeps it.
    Accepted {
        reply: A::Reply,
        encoded: Vec<u8>,
    },
    Rejected(A::Rejection),
    Refused(AnyRefused),
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
                let returned = ShardMessage::Returned(myself.get_id(), self.shell.entity, command);
                shard::send_or_refuse(&self.shell.home, returned);
            }
            command if self.is_erased() => erased::answer::<A>(command),
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

    fn is_erased(&mut self) -> bool {
        self.erasure.look(&self.shell.entity.home, &self.shell.runtime.keyring)
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
        let body = digest(&encode_event(&*command).unwrap_or_default());
        let keyed = ask.key.or(ask.call).map(|key| Keyed { key, body, is_given: ask.key.is_some() });
        if let Some(keyed) = keyed {
            match self.kept.replied(keyed.key, keyed.body) {
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
        let _entered = ask.span.clone().entered();
        let ctx = self.context(now, ask.asker, ask.trace);
        match self.decide(*command, body, &ctx, &Origin::Edge { keyed }, myself) {
            Decided::Accepted { reply, .. } => self.tell_when_durable(answer(ask, Ok(Box::new(reply)))),
            Decided::Rejected(rejection) => {
                self.tell_when_durable(answer(ask, Err(AnyRefused::Rejected(Box::new(rejection)))));
            }
            Decided::Refused(why) => drop(ask.reply.send(Err(why))),
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
        let body = digest(&command);
        let Ok(command) = decode_event::<A::Command>(&command) else {
            tracing::error!(entity = %self.shell.entity, "an outgoing command does not decode");
            drop(reply.send(Err(AnyRefused::Fault)));
            return;
        };
        let ctx = self.context(self.shell.runtime.clock.now(), by, trace);
        let answer = match self.decide(command, body, &ctx, &Origin::Entity { source }, myself) {
            Decided::Accepted { encoded, .. } => Ok(encoded),
            Decided::Rejected(rejection) => Err(encode_event(&rejection).unwrap_or_default()),
            Decided::Refused(why) => {
                drop(reply.send(Err(why)));
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
        let (origin, body) = (Origin::Timer { name }, digest(&command));
        let Ok(command) = decode_event::<A::Command>(&command) else {
            tracing::error!(entity = %self.shell.entity, timer = %name, "a timer's command does not decode");
            drop(done.send(Err(AnyRefused::Fault)));
            return;
        };
        match self.decide(command, body, &ctx, &origin, myself) {
            Decided::Accepted { .. } => {}
            Decided::Rejected(rejection) => {
                tracing::debug!(entity = %self.shell.entity, timer = %name, %rejection, "a timer's command was refused");
                self.note(&ctx, &origin, myself);
            }
            Decided::Refused(why) => {
                drop(done.send(Err(why)));
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
            Ok(Some(command)) => {
                let body = digest(&encode_event(&command).unwrap_or_default());
                self.decide(command, body, &ctx, &origin, myself)
            }
            Ok(None) => {
                self.note(&ctx, &origin, myself);
                return self.tell_when_durable(done_when_durable(done));
            }
            Err(_) => Decided::Refused(AnyRefused::Fault),
        };
        match decided {
            Decided::Accepted { .. } => {}
            Decided::Rejected(rejection) => {
                tracing::warn!(entity = %self.shell.entity, step = answer.step(), %rejection, "an answer was refused");
                self.note(&ctx, &origin, myself);
            }
            Decided::Refused(why) => {
                drop(done.send(Err(why)));
                return;
            }
        }
        self.tell_when_durable(done_when_durable(done));
    }

    fn context(&self, now: crate::Timestamp, asker: u128, trace: u128) -> Context {
        Context { now, asker, trace, entity: self.shell.entity, clock: self.shell.runtime.clock.clone() }
    }

    /// Decides, seals, evolves, submits. A panic in `decide` leaves everything as it was; a command that keeps
    /// panicking is not even tried.
    fn decide(
        &mut self,
        command: A::Command,
        body: u128,
        ctx: &Context,
        origin: &Origin,
        myself: &ActorRef<Message>,
    ) -> Decided<A> {
        let entity = self.shell.entity;
        let span = tracing::debug_span!("decide", entity.kind = %entity.kind, trace = %format_args!("{:032x}", ctx.trace));
        let _entered = span.enter();
        let runtime = Arc::clone(&self.shell.runtime);
        let now = runtime.clock.now();
        if runtime.poison.is_poison(entity, body, now, &runtime.limits) {
            return Decided::Refused(AnyRefused::Poison);
        }
        let decision = match catch_unwind(AssertUnwindSafe(|| self.kept.state.decide(command, ctx))) {
            Ok(Ok(decision)) => decision,
            Ok(Err(rejection)) => return Decided::Rejected(rejection),
            Err(_) => {
                tracing::error!(entity = %entity, trace = %format_args!("{:032x}", ctx.trace), "deciding panicked");
                runtime.poison.panicked(entity, body, now, &runtime.limits);
                return Decided::Refused(AnyRefused::Fault);
            }
        };
        match self.commit(&decision, ctx, origin, myself) {
            Ok(decided) => decided,
            Err(error) => {
                tracing::error!(entity = %entity, trace = %format_args!("{:032x}", ctx.trace), error = &*error, "failed to commit");
                Decided::Refused(AnyRefused::Fault)
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
        let (encoded, own) = match self.origin_record(origin, ctx, &mut header, &reply, decision) {
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
        decision: &Decision<A>,
    ) -> Result<(Vec<u8>, Option<Record>), Box<dyn std::error::Error + Send + Sync>> {
        Ok(match *origin {
            Origin::Edge { keyed: None } => (Vec::new(), None),
            Origin::Edge { keyed: Some(keyed) } if decision.is_nothing() && !keyed.is_given => {
                (Vec::new(), None)
            }
            Origin::Edge { keyed: Some(Keyed { key, body, .. }) } => {
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
            Origin::Timer { name } if decision.sets(name) => (Vec::new(), None),
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
        self.bytes.0 += records.iter().map(|record| record.body.len()).sum::<usize>();
        let snapshot = if self.since_snapshot >= self.shell.runtime.limits.snapshot_every {
            self.since_snapshot = 0;
            self.snapshot()
        } else {
            None
        };
        self.weigh(snapshot.as_ref(), myself);
        let trace = records.first().map_or(0, |record| record.trace);
        let span = tracing::debug_span!("append", shard = %self.shell.shard, records = count, trace = %format_args!("{trace:032x}"));
        self.under_way.push_back(Batch { told: Vec::new(), snapshot, records: count, span });
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

    /// A snapshot says what the state weighs; between two, every body written since may be part of it.
    fn weigh(&mut self, snapshot: Option<&Snapshot>, myself: &ActorRef<Message>) {
        if let Some(snapshot) = snapshot {
            self.bytes.0 = snapshot.bytes.len();
        }
        let (bytes, said) = self.bytes;
        if bytes.abs_diff(said) >= BYTES_UNSAID {
            self.bytes.1 = bytes;
            let runtime = &self.shell.runtime;
            runtime.residency.weigh(myself.get_id(), bytes, &runtime.limits);
        }
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
                tracing::debug!(parent: &batch.span, offset = %appended.first, "appended");
                self.kept.offset = prognet_storage::Offset(appended.first.0 + batch.records - 1);
                if let Some(snapshot) = batch.snapshot {
                    self.save(Snapshot { offset: self.kept.offset, ..snapshot });
                }
                Ok(self.written())
            }
            Err(error) => {
                self.leaving = Leaving::Void;
                Err(batch.span.in_scope(|| self.append_failed(&error)))
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
                Unavailable::Moving
            }
            AppendError::Poisoned { .. } => Unavailable::OutcomeUnknown,
            // Its next life seals with the key that stands.
            AppendError::Overruled { .. } => Unavailable::Moving,
            AppendError::OutOfOrder { .. }
            | AppendError::Full
            | AppendError::Size { .. }
            | AppendError::Unreachable { .. }
            | AppendError::RolledBack { .. }
            | AppendError::Closed => Unavailable::NotWritten,
        }
    }

    fn save(&mut self, snapshot: Snapshot) {
        if self.is_erased() {
            return;
        }
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
            Message::Await(ask).refuse(Unavailable::Restarting);
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

/// A digest of an encoded command, to tell a retry from another command under the same key: whoever finds two
/// that share one has misled nobody but himself, so it is quick rather than hard to forge.
fn digest(command: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(command)
}
