//! Asking an entity of this node.

use prognet_storage::{EntityRef, Epoch, Name};
use tokio::sync::oneshot;

use super::{Asking, Doors};
use crate::{
    Unavailable,
    entity::{AnyBox, AnyRefused, Ask, Delivered, Delivery, Fire, Heard, Message, Outcome},
    parcel::Errand,
    permits::Permit,
};

/// What is asked of an entity.
pub(crate) enum Question {
    /// What it shows of itself.
    Read,
    /// A command, its type erased, and what makes another attempt of this node's or another's router the first.
    Command(AnyBox, Option<u128>),
    /// What it shows once it has ended.
    End,
}

impl Question {
    /// Whether it changes nothing, so that it may be asked again whatever became of it.
    const fn is_idle(&self) -> bool {
        match self {
            Self::Read | Self::End => true,
            Self::Command(..) => false,
        }
    }
}

impl Doors {
    /// Asks an entity of this node and waits for its durable answer; under an epoch, only while this node owns the
    /// shard under it.
    pub(crate) async fn ask_here(
        &self,
        service: Name,
        entity: EntityRef,
        asking: &Asking,
        question: Question,
        epoch: Option<Epoch>,
    ) -> Outcome {
        let is_idle = question.is_idle();
        let (reply, answered) = oneshot::channel();
        let Asking { asker, key, trace, deadline } = *asking;
        let message = |permit: Permit| {
            let (message, command, call): (fn(Ask) -> Message, _, _) = match question {
                Question::Read => (Message::Ask, None, None),
                Question::Command(command, call) => (Message::Ask, Some(command), call),
                Question::End => (Message::Await, None, None),
            };
            let span = tracing::Span::current();
            message(Ask { command, asker, key, call, trace, span, deadline, reply, permit: Some(permit) })
        };
        let admitted = self.admit(service, entity, epoch, message).await;
        let outcome = match admitted {
            Ok(()) => self.outcome(answered, asking, is_idle, epoch).await,
            Err(why) => Err(AnyRefused::Unavailable(why)),
        };
        match epoch {
            Some(epoch) if !self.may_show(service, entity, epoch) => hidden(outcome, is_idle),
            Some(_) | None => outcome,
        }
    }

    /// Waits for an answer, for as long as whoever asks does.
    async fn outcome(
        &self,
        answered: oneshot::Receiver<Outcome>,
        asking: &Asking,
        is_idle: bool,
        epoch: Option<Epoch>,
    ) -> Outcome {
        // A read has no outcome: whatever became of it, it may be tried again.
        let (lost, late) = match (is_idle, epoch) {
            (true, None) => (Unavailable::Restarting, Unavailable::Deadline),
            (true, Some(_)) => (Unavailable::Moving, Unavailable::Deadline),
            (false, _) => (Unavailable::OutcomeUnknown, Unavailable::OutcomeUnknown),
        };
        tokio::select! {
            biased;
            outcome = answered => outcome.unwrap_or(Err(AnyRefused::Unavailable(lost))),
            () = self.runtime().clock.sleep_until(asking.deadline) => Err(AnyRefused::Unavailable(late)),
        }
    }

    /// Brings an errand to an entity of this node.
    pub(crate) async fn run_here(
        &self,
        service: Name,
        entity: EntityRef,
        errand: Errand,
        epoch: Option<Epoch>,
    ) -> Done {
        match errand {
            Errand::Delivery { source, by, trace, command } => {
                let (reply, answered) = oneshot::channel();
                let delivery = Delivery { source, by, trace, command, reply };
                self.send(service, entity, epoch, Message::Delivery(delivery)).await;
                let delivered: Delivered = answered.await.unwrap_or_else(unknown);
                delivered.map(Some)
            }
            Errand::Fire { name, set_by, due, command } => {
                let (done, fired) = oneshot::channel();
                let fire = Fire { name, set_by, due, command, done };
                self.send(service, entity, epoch, Message::Fire(fire)).await;
                fired.await.unwrap_or_else(unknown).map(|()| None)
            }
            Errand::Heard { outgoing, cause, answer, trace } => {
                let (done, heard) = oneshot::channel();
                let message = Message::Heard(Heard { outgoing, cause, answer, trace, done });
                self.send(service, entity, epoch, message).await;
                heard.await.unwrap_or_else(unknown).map(|()| None)
            }
        }
    }

    fn may_show(&self, service: Name, entity: EntityRef, epoch: Epoch) -> bool {
        let shard = self.shard_of(service, entity);
        self.placement().is_none_or(|placement| placement.may_show(shard, epoch))
    }
}

/// Whoever had it is gone.
fn unknown<T>(_closed: oneshot::error::RecvError) -> Result<T, AnyRefused> {
    Err(AnyRefused::Unavailable(Unavailable::OutcomeUnknown))
}

/// What became of an errand; of a delivery, the target's encoded reply or rejection.
pub(crate) type Done = Result<Option<Result<Vec<u8>, Vec<u8>>>, AnyRefused>;

/// What to say instead of something that may be old by now: of a command that was decided, that nobody knows.
fn hidden(outcome: Outcome, is_idle: bool) -> Outcome {
    let why = match outcome {
        Ok(_) if !is_idle => Unavailable::OutcomeUnknown,
        // A shard that has gone takes nothing, which looks as if it started afresh.
        Ok(_) | Err(AnyRefused::Rejected(_) | AnyRefused::Unavailable(Unavailable::Restarting)) => {
            Unavailable::Moving
        }
        Err(refused) => return Err(refused),
    };
    Err(AnyRefused::Unavailable(why))
}
