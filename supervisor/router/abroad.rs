//! Asking an entity of whichever node owns its shard, one attempt after the other, until one counts.
//!
//! ```text
//! settled ──▶ here  ──▶ ask_here ─┐
//!    ▲  └───▶ there ──▶ carry ────┤ answered, refused for good: done
//!    └─────── moved, or unknown ──┘ (the same key makes a second attempt the first)
//! ```

use std::{sync::Arc, time::Duration};

use prognet_storage::{EntityRef, Name, codec};
use serde_bytes::ByteBuf;

use super::{
    Asking, Doors,
    here::{Done, Question},
};
use crate::{
    Aggregate, Answered, Refused, Unavailable,
    entity::{AnyRefused, Outcome},
    leases::Incarnation,
    node::typed,
    parcel::{AskParcel, Content, Errand, Parcel, Reply, encode},
    permits::Permit,
    placement::{Place, Placement, Uncarried},
};

/// How long a reader waits for the answer to an errand before it brings it again.
const ERRAND: Duration = Duration::from_secs(10);

/// A question that may be asked several times.
pub(crate) enum Said<C> {
    Read,
    Command(C),
    End,
}

/// What came of an attempt.
enum Attempt<A: Aggregate> {
    Counts(Result<Answered<A::Reply>, Refused<A::Rejection>>),
    /// Nothing happened, or the same key finds out.
    Again(Unavailable),
}

impl Doors {
    /// Asks an entity wherever it is.
    pub(crate) async fn ask_anywhere<A: Aggregate>(
        &self,
        placement: &Arc<dyn Placement>,
        asking: &Asking,
        entity: EntityRef,
        said: Said<A::Command>,
    ) -> Result<Answered<A::Reply>, Refused<A::Rejection>> {
        let shard = self.shard_of(A::KIND.service, entity);
        let (command, is_to_end) = match &said {
            Said::Read => (None, false),
            Said::End => (None, true),
            Said::Command(command) => {
                let encoded = codec::encode_event(command).map_err(|error| {
                    tracing::error!(error = &error as &dyn std::error::Error, "a command does not encode");
                    Refused::Fault
                })?;
                (Some(ByteBuf::from(encoded)), false)
            }
        };
        let (mut refused, mut why) = (None, None);
        let (mut call, mut attempt) = (None, 0);
        loop {
            let left = asking.deadline.since(self.runtime().clock.now());
            let settled = placement.settled(shard, refused, left).await;
            // What the last attempt said is nearer to the truth than that the time is over.
            let place = settled.map_err(|unsettled| Refused::Unavailable(why.take().unwrap_or(unsettled)))?;
            let attempt = match place {
                Place::Here(epoch) => {
                    let question = match &command {
                        Some(command) => match codec::decode_event::<A::Command>(command) {
                            Ok(command) => Question::Command(Box::new(command), call),
                            Err(_) => return Err(Refused::Fault),
                        },
                        None if is_to_end => Question::End,
                        None => Question::Read,
                    };
                    let outcome = self.ask_here(A::KIND.service, entity, asking, question, Some(epoch)).await;
                    let may_repeat = command.is_none() || asking.key.is_some() || call.is_some();
                    self.judge::<A>(outcome, asking, may_repeat, is_to_end)
                }
                Place::There(node, _) => {
                    // Whoever did not ask for a retry gets one: a link that breaks must not cost an answer.
                    if command.is_some() && call.is_none() {
                        call = Some(self.runtime().clock.fresh_id());
                    }
                    let ask = AskParcel {
                        service: A::KIND.service,
                        entity,
                        command: command.clone(),
                        is_to_end,
                        asker: asking.asker,
                        key: asking.key,
                        trace: asking.trace,
                        call: call.unwrap_or_default(),
                        attempt,
                    };
                    attempt += u32::from(command.is_some());
                    self.ask_there::<A>(&**placement, node, ask, asking).await?
                }
            };
            match attempt {
                Attempt::Counts(outcome) => return outcome,
                Attempt::Again(again) => why = Some(again),
            }
            refused = Some(place);
        }
    }

    /// Whether an attempt counts.
    fn judge<A: Aggregate>(
        &self,
        outcome: Outcome,
        asking: &Asking,
        may_repeat: bool,
        is_to_end: bool,
    ) -> Attempt<A> {
        let is_over = asking.deadline <= self.runtime().clock.now();
        match outcome {
            // Whoever waited for a saga's end is let go when it leaves: it waits on, where the saga is then.
            Err(AnyRefused::Unavailable(why @ Unavailable::Restarting)) if !is_over && is_to_end => {
                Attempt::Again(why)
            }
            Err(AnyRefused::Unavailable(why)) if !is_over && is_worth_another(&why, may_repeat) => {
                Attempt::Again(why)
            }
            outcome => Attempt::Counts(typed::<A>(outcome)),
        }
    }

    async fn ask_there<A: Aggregate>(
        &self,
        placement: &dyn Placement,
        node: Incarnation,
        ask: AskParcel,
        asking: &Asking,
    ) -> Result<Attempt<A>, Refused<A::Rejection>> {
        let limit = self.runtime().limits.node_queue;
        let _waiting = Permit::take([(&self.waiting, limit, "node")])?;
        let (is_idle, is_to_end) = (ask.command.is_none(), ask.is_to_end);
        // An answer that was lost on its way leaves time to ask once more.
        let wait = asking.deadline.since(self.runtime().clock.now()) / 2;
        let reply = self.exchange(placement, node, ask.entity, Content::Ask(ask), wait).await;
        let outcome = match reply {
            Ok(Reply::Answered { reply, written }) => match codec::decode_event::<A::Reply>(&reply) {
                Ok(reply) => return Ok(Attempt::Counts(Ok(Answered { reply, written }))),
                Err(_) => Err(AnyRefused::Fault),
            },
            Ok(Reply::Rejected(rejection)) => match codec::decode_event::<A::Rejection>(&rejection) {
                Ok(rejection) => return Ok(Attempt::Counts(Err(Refused::Rejected(rejection)))),
                Err(_) => Err(AnyRefused::Fault),
            },
            Ok(Reply::Refused(refusal)) => Err(refusal.into()),
            Ok(Reply::Delivered(_) | Reply::Done | Reply::Inspected(_) | Reply::Released(_)) => {
                Err(AnyRefused::Fault)
            }
            Err(Uncarried::Large) => Err(AnyRefused::Fault),
            Err(Uncarried::NotTaken) => Err(AnyRefused::Unavailable(Unavailable::Moving)),
            Err(Uncarried::Lost) if is_idle => Err(AnyRefused::Unavailable(Unavailable::Moving)),
            Err(Uncarried::Lost) => Err(AnyRefused::Unavailable(Unavailable::OutcomeUnknown)),
        };
        // A command has its call.
        Ok(self.judge(outcome, asking, true, is_to_end))
    }

    /// Brings an errand to an entity wherever it is: one attempt.
    pub(crate) async fn run(&self, service: Name, entity: EntityRef, errand: Errand) -> Done {
        let Some(placement) = self.placement() else {
            return self.run_here(service, entity, errand, None).await;
        };
        let place = placement.place(self.shard_of(service, entity)).map_err(AnyRefused::Unavailable)?;
        let node = match place {
            Place::Here(epoch) => return self.run_here(service, entity, errand, Some(epoch)).await,
            Place::There(node, _) => node,
        };
        let content = Content::Errand { service, entity, errand };
        match self.exchange(&**placement, node, entity, content, ERRAND).await {
            Ok(Reply::Delivered(outcome)) => {
                Ok(Some(outcome.map(ByteBuf::into_vec).map_err(ByteBuf::into_vec)))
            }
            Ok(Reply::Done) => Ok(None),
            Ok(Reply::Refused(refusal)) => Err(refusal.into()),
            Ok(Reply::Answered { .. } | Reply::Rejected(_) | Reply::Inspected(_) | Reply::Released(_)) => {
                Err(AnyRefused::Fault)
            }
            Err(Uncarried::Large) => Err(AnyRefused::Fault),
            Err(Uncarried::NotTaken) => Err(AnyRefused::Unavailable(Unavailable::Moving)),
            Err(Uncarried::Lost) => Err(AnyRefused::Unavailable(Unavailable::OutcomeUnknown)),
        }
    }

    /// Sends a parcel and reads what comes back.
    pub(crate) async fn exchange(
        &self,
        placement: &dyn Placement,
        node: Incarnation,
        entity: EntityRef,
        content: Content,
        wait: Duration,
    ) -> Result<Reply, Uncarried> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let parcel = encode(&Parcel { wait_ms, content });
        let lane = xxhash_rust::xxh3::xxh3_64(&entity.home.canonical());
        let reply = placement.carry(node, lane, parcel, wait).await?;
        codec::decode_event(&reply).map_err(|error| {
            tracing::error!(node = %node, error = &error as &dyn std::error::Error, "the answer of {node} does not decode");
            Uncarried::Lost
        })
    }
}

/// Whether another attempt may bring more than this refusal.
fn is_worth_another(why: &Unavailable, may_repeat: bool) -> bool {
    match why {
        Unavailable::Moving | Unavailable::Stopping => true,
        Unavailable::OutcomeUnknown => may_repeat,
        Unavailable::Busy { .. }
        | Unavailable::Deadline
        | Unavailable::StillRunning
        | Unavailable::NotWritten
        | Unavailable::Quarantined
        | Unavailable::Restarting
        | Unavailable::NoHost { .. }
        | Unavailable::Behind => false,
    }
}
