//! The three kinds of failure: the domain's no, try again, and a bug.

use std::{convert::Infallible, time::Duration};

use prognet_storage::Name;
use serde::{Deserialize, Serialize};

/// Why a command was not answered with a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused<R> {
    /// The domain says no.
    #[error("{0}")]
    Rejected(R),
    /// The same idempotency key was used with another command.
    #[error("the idempotency key was used with another command")]
    KeyReused,
    /// The same command made its entity panic again and again: it is refused for an hour, nothing changed.
    #[error("the command keeps failing")]
    Poison,
    /// The entity's home was erased: there is nothing any more, and never will be.
    #[error("the home was erased")]
    Erased,
    /// Try again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A bug or broken data; logged where it happened, under the trace of the command.
    #[error("the command met a fault")]
    Fault,
}

impl<R> Refused<R> {
    /// The same, of a read: it decides nothing, so the domain does not refuse it.
    pub(crate) fn of_a_read(self) -> Refused<Infallible> {
        match self {
            Self::Unavailable(why) => Refused::Unavailable(why),
            Self::Erased => Refused::Erased,
            Self::Rejected(_) | Self::KeyReused | Self::Poison | Self::Fault => Refused::Fault,
        }
    }
}

/// Why to try again, and when.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Unavailable {
    /// A bounded queue is full.
    #[error("the {limit} queue is full")]
    Busy {
        /// Which: `entity`, `home`, `shard` or `node`.
        limit: Name,
    },
    /// The command's deadline passed before it was decided: nothing changed.
    #[error("the deadline passed")]
    Deadline,
    /// The saga goes on; the same key attaches to it again.
    #[error("still running")]
    StillRunning,
    /// The append failed for sure: nothing changed.
    #[error("the journal takes nothing now")]
    NotWritten,
    /// It may or may not have been written: retry with the same key.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
    /// The entity keeps failing and waits for an operator.
    #[error("the entity is quarantined")]
    Quarantined,
    /// It failed and is restarted after a pause.
    #[error("the entity restarts")]
    Restarting,
    /// No node hosts the service.
    #[error("no node hosts {service}")]
    NoHost {
        /// Which.
        service: Name,
    },
    /// Its shard moves to another node, waits for one, or met one that was quicker: nothing changed.
    #[error("the shard moves")]
    Moving,
    /// A read model has not come far enough in time.
    #[error("the list is not current yet")]
    Behind,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl Unavailable {
    /// When a retry is worth it.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        match self {
            Self::Quarantined | Self::NotWritten | Self::NoHost { .. } => Duration::from_secs(30),
            Self::Busy { .. }
            | Self::Deadline
            | Self::StillRunning
            | Self::OutcomeUnknown
            | Self::Restarting
            | Self::Behind
            | Self::Moving
            | Self::Stopping => Duration::from_secs(1),
        }
    }
}
