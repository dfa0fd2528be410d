//! What an entity's mailbox takes. None of it crosses nodes: the envelope that does is the cluster's.

use std::any::Any;

use prognet_storage::{
    Name, Seq,
    journal::{AppendError, Appended, Cause},
};
use tokio::sync::oneshot;

use crate::{Timestamp, Unavailable, aggregate::Answer, permits::Permit, router::Written};

/// See the module.
pub(crate) enum Message {
    /// A command (or, without one, a read) from the edge.
    Ask(Ask),
    /// Another entity's outgoing command.
    Delivery(Delivery),
    /// A timer is due.
    Fire(Fire),
    /// An outgoing command of this entity was answered.
    Heard(Heard),
    /// Somebody waits for the saga to end.
    Await(Ask),
    /// The oldest batch under way has met its fate.
    Flushed(Result<Appended, AppendError>),
    /// Finish, snapshot, stop.
    Passivate,
    /// Show yourself to an operator.
    Inspect(oneshot::Sender<Seen>),
}

#[cfg_attr(not(doc), allow(clippy::missing_trait_methods, reason = "local only"))]
impl ractor::Message for Message {}

/// A reply of any kind, back at the router, which knows the type.
pub(crate) type AnyBox = Box<dyn Any + Send>;

/// What the router gets back.
pub(crate) type Outcome = Result<(AnyBox, Option<Written>), AnyRefused>;

/// [`crate::Refused`] before the router knows the type.
pub(crate) enum AnyRefused {
    Rejected(AnyBox),
    KeyReused,
    Poison,
    Erased,
    Unavailable(Unavailable),
    Fault,
}

/// A command from the edge.
pub(crate) struct Ask {
    /// The aggregate's command, or nothing for a read.
    pub(crate) command: Option<AnyBox>,
    pub(crate) asker: u128,
    /// The caller's idempotency key: its first reply is kept.
    pub(crate) key: Option<u128>,
    /// A router's own, under which it may ask again before anybody has had an answer.
    pub(crate) call: Option<u128>,
    pub(crate) trace: u128,
    /// The span of the request it belongs to.
    pub(crate) span: tracing::Span,
    pub(crate) deadline: Timestamp,
    pub(crate) reply: oneshot::Sender<Outcome>,
    pub(crate) permit: Option<Permit>,
}

/// How the target of an outgoing command took it: encoded reply or encoded rejection.
pub(crate) type Delivered = Result<Result<Vec<u8>, Vec<u8>>, AnyRefused>;

/// An outgoing command on its way in.
pub(crate) struct Delivery {
    pub(crate) source: Cause,
    pub(crate) by: u128,
    pub(crate) trace: u128,
    pub(crate) command: Vec<u8>,
    pub(crate) reply: oneshot::Sender<Delivered>,
}

/// A timer that is due.
pub(crate) struct Fire {
    pub(crate) name: Name,
    pub(crate) set_by: Seq,
    pub(crate) due: Timestamp,
    pub(crate) command: Vec<u8>,
    pub(crate) done: oneshot::Sender<Result<(), AnyRefused>>,
}

/// The answer to an outgoing command.
pub(crate) struct Heard {
    pub(crate) outgoing: Seq,
    pub(crate) cause: Cause,
    pub(crate) answer: Answer,
    pub(crate) trace: u128,
    pub(crate) done: oneshot::Sender<Result<(), AnyRefused>>,
}

/// What an operator sees of an entity.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Seen {
    pub(crate) state: serde_json::Value,
    pub(crate) seq: u64,
    pub(crate) timers: usize,
    pub(crate) under_way: usize,
}

impl Message {
    /// Answers whoever waits that the command was not taken.
    pub(crate) fn refuse(self, why: Unavailable) {
        match self {
            Self::Ask(ask) | Self::Await(ask) => drop(ask.reply.send(Err(AnyRefused::Unavailable(why)))),
            Self::Delivery(delivery) => drop(delivery.reply.send(Err(AnyRefused::Unavailable(why)))),
            Self::Fire(fire) => drop(fire.done.send(Err(AnyRefused::Unavailable(why)))),
            Self::Heard(heard) => drop(heard.done.send(Err(AnyRefused::Unavailable(why)))),
            Self::Flushed(_) | Self::Passivate | Self::Inspect(_) => {}
        }
    }
}
