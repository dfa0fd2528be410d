//! The contract of the domain: what an aggregate is, and what it may decide.

mod event_type;

use std::{fmt, marker::PhantomData};

use prognet_storage::{
    EntityRef, Home, Name,
    codec::{self, Upcaster, decode_event, decode_versioned, encode_event},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Clock, Timestamp};
pub(crate) use event_type::event_type;

/// The name of an aggregate and the service that hosts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    /// The service, e.g. `tenancy`.
    pub service: Name,
    /// The kind, e.g. `tenant`; unique on the platform.
    pub name: Name,
}

impl Kind {
    /// A kind, named at build time.
    #[must_use]
    pub const fn new(service: &'static str, name: &'static str) -> Self {
        Self { service: Name::new(service), name: Name::new(name) }
    }
}

/// A consistency boundary: state that only its own events change, and the decisions that make them.
///
/// State, commands, events, replies and rejections are serializable and `Send`: they cross nodes and restarts.
pub trait Aggregate:
    Default + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + Sized + 'static
{
    /// Its name.
    const KIND: Kind;
    /// The version of the events written today; older ones are upcast when read.
    const EVENT_VERSION: u16 = 1;
    /// What can be asked.
    type Command: Serialize + DeserializeOwned + fmt::Debug + Send + 'static;
    /// What has happened; serde writes a variant as `snake_case`, which is the event's type.
    type Event: Serialize + DeserializeOwned + fmt::Debug + Send + 'static;
    /// What it shows of itself after a command, and to a read.
    type Reply: Serialize + DeserializeOwned + fmt::Debug + Send + 'static;
    /// Why it says no.
    type Rejection: Serialize + DeserializeOwned + std::error::Error + Send + Sync + 'static;

    /// Pure: no I/O, no clock, no randomness but what `ctx` carries.
    ///
    /// # Errors
    /// The domain's own no; nothing changes then.
    fn decide(&self, command: Self::Command, ctx: &Context) -> Result<Decision<Self>, Self::Rejection>;

    /// Pure and total: an old event must always apply.
    fn evolve(&mut self, event: &Self::Event);

    /// What an accepted command is answered with, taken from the state after its events.
    fn reply(&self) -> Self::Reply;

    /// The command that an outgoing command's answer amounts to; `None` if it changes nothing here.
    fn heard(&self, answer: &Answer) -> Option<Self::Command> {
        let _ = answer;
        None
    }

    /// A saga has an outcome once it has ended: whoever waits for it is answered then.
    fn has_ended(&self) -> bool {
        false
    }

    /// The event as tenants and consoles see it, if it is public: its data, without secrets.
    fn publish(event: &Self::Event) -> Option<serde_json::Value> {
        let _ = event;
        None
    }

    /// How events of older versions become those of today, one step a version; a type without a step is unchanged.
    fn upcasters() -> &'static [Upcaster] {
        &[]
    }

    /// The state as an operator may see it: no secrets, no personal data.
    fn inspect(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

/// A typed reference to one entity.
pub struct Entity<A> {
    home: Home,
    id: u128,
    kind: PhantomData<fn() -> A>,
}

impl<A: Aggregate> Entity<A> {
    /// The entity of this kind with an id, in a home.
    #[must_use]
    pub const fn new(home: Home, id: u128) -> Self {
        Self { home, id, kind: PhantomData }
    }

    /// The same, untyped.
    #[must_use]
    pub const fn reference(&self) -> EntityRef {
        EntityRef { home: self.home, kind: A::KIND.name, id: self.id }
    }
}

impl<A> Clone for Entity<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Entity<A> {}

impl<A> fmt::Debug for Entity<A> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.id)
    }
}

/// What a decision may know of the world.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) now: Timestamp,
    pub(crate) asker: u128,
    pub(crate) trace: u128,
    pub(crate) entity: EntityRef,
    pub(crate) clock: Clock,
}

impl Context {
    /// The time of the decision; for a command fired by a timer, when it was **due**.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The account that asks, or 0 for the platform itself.
    #[must_use]
    pub const fn asker(&self) -> u128 {
        self.asker
    }

    /// The trace the command belongs to.
    #[must_use]
    pub const fn trace(&self) -> u128 {
        self.trace
    }

    /// The entity that decides.
    #[must_use]
    pub const fn entity(&self) -> EntityRef {
        self.entity
    }

    /// An id nobody has yet.
    #[must_use]
    pub fn fresh_id(&self) -> u128 {
        self.clock.fresh_id()
    }
}

/// What a command leads to. The host writes all of it in one append.
#[derive(Debug)]
pub struct Decision<A: Aggregate> {
    pub(crate) events: Vec<A::Event>,
    pub(crate) timers: Vec<TimerChange<A>>,
    pub(crate) outgoing: Vec<Outgoing>,
}

/// A timer of the entity, set or cleared.
#[derive(Debug)]
pub(crate) enum TimerChange<A: Aggregate> {
    Set { name: Name, due: Timestamp, command: A::Command },
    Clear { name: Name },
}

/// A command to another entity, delivered at least once and taken in once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(crate) struct Outgoing {
    /// What the sender calls it; comes back with the answer.
    pub(crate) step: Name,
    pub(crate) service: Name,
    pub(crate) target: EntityRef,
    /// The command, MessagePack with field names.
    pub(crate) command: Vec<u8>,
}

impl<A: Aggregate> Decision<A> {
    /// Nothing changes; the reply shows the state.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { events: Vec::new(), timers: Vec::new(), outgoing: Vec::new() }
    }

    /// One event.
    #[must_use]
    pub fn event(event: A::Event) -> Self {
        Self::nothing().and(event)
    }

    /// One more event.
    #[must_use]
    pub fn and(mut self, event: A::Event) -> Self {
        self.events.push(event);
        self
    }

    /// Sets a timer (again): at `due` the entity is given the command.
    #[must_use]
    pub fn timer(mut self, name: &'static str, due: Timestamp, command: A::Command) -> Self {
        self.timers.push(TimerChange::Set { name: Name::new(name), due, command });
        self
    }

    /// Clears a timer, if it is set.
    #[must_use]
    pub fn clear(mut self, name: &'static str) -> Self {
        self.timers.push(TimerChange::Clear { name: Name::new(name) });
        self
    }

    /// Sends a command to another entity; its answer comes back to [`Aggregate::heard`] under `step`.
    #[must_use]
    pub fn send<B: Aggregate>(mut self, step: &'static str, to: Entity<B>, command: &B::Command) -> Self {
        // A command that does not serialize is a bug of its type; the target answers it with a fault.
        let command = encode_event(command).unwrap_or_default();
        self.outgoing.push(Outgoing {
            step: Name::new(step),
            service: B::KIND.service,
            target: to.reference(),
            command,
        });
        self
    }

    /// Whether it changes nothing.
    pub(crate) const fn is_nothing(&self) -> bool {
        self.events.is_empty() && self.timers.is_empty() && self.outgoing.is_empty()
    }

    /// Whether it sets this timer.
    pub(crate) fn sets(&self, timer: Name) -> bool {
        self.timers.iter().any(|change| matches!(change, TimerChange::Set { name, .. } if *name == timer))
    }
}

/// What became of an outgoing command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Answer {
    pub(crate) step: Name,
    pub(crate) outcome: Result<Vec<u8>, Vec<u8>>,
}

impl Answer {
    /// The name it was sent under.
    #[must_use]
    pub fn step(&self) -> &str {
        self.step.as_str()
    }

    /// The target's reply or rejection; `None` if it was not this kind that answered.
    #[must_use]
    pub fn of<B: Aggregate>(&self) -> Option<Result<B::Reply, B::Rejection>> {
        match &self.outcome {
            Ok(reply) => decode_event(reply).ok().map(Ok),
            Err(rejection) => decode_event(rejection).ok().map(Err),
        }
    }

    /// Whether the target accepted.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        self.outcome.is_ok()
    }
}

/// An event as it was written, in whatever version, as the event of today.
pub(crate) fn event_of<A: Aggregate>(
    name: Name,
    version: u16,
    body: &[u8],
) -> Result<A::Event, codec::Error> {
    let is_old = |step: &&Upcaster| step.name == name && step.from >= version && step.from < A::EVENT_VERSION;
    let mut steps: Vec<_> = A::upcasters().iter().filter(is_old).collect();
    if steps.is_empty() {
        return decode_event(body);
    }
    steps.sort_by_key(|step| step.from);
    let mut body = body.to_vec();
    for step in steps {
        let to = step.from + 1;
        let lifted: rmpv::Value = decode_versioned(name, step.from, to, std::slice::from_ref(step), &body)?;
        body = encode_event(&lifted)?;
    }
    decode_event(&body)
}
