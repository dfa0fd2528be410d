//! The journal's contract: what an engine must promise about the one thing that must never lie.
//!
//! A record is appended under its shard's epoch, is durable before `done` is called, keeps its place in
//! the shard (`offset`) and in its entity (`seq`) for ever, and is read back by shard, by home, by entity
//! or by walking the whole node. The conformance suite (`conformance.rs`) is this page as tests.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::{EntityRef, Epoch, Home, Lsn, Name, Offset, Seq, ShardId};

/// What a record says. The numbers are stored: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// A fact about the entity; the only kind that changes its state.
    Event = 1,
    /// A timer was set (or set again under the same name); the body says when and what.
    TimerSet = 2,
    /// A timer was cleared, or has fired.
    TimerCleared = 3,
    /// A command to another entity, to be delivered at least once, in order per target.
    Outgoing = 4,
    /// An outgoing command was answered; `caused_by` is its own offset.
    OutgoingDone = 5,
    /// The reply to a keyed command, kept for retries.
    Reply = 6,
    /// How far this entity has taken in the outgoing commands of a source shard.
    Inbox = 7,
    /// How far a reader with outside effects has come.
    Cursor = 8,
    /// A new owner took over: readers ignore it.
    Fence = 9,
}

impl RecordKind {
    /// The kind behind a stored number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Event,
            2 => Self::TimerSet,
            3 => Self::TimerCleared,
            4 => Self::Outgoing,
            5 => Self::OutgoingDone,
            6 => Self::Reply,
            7 => Self::Inbox,
            8 => Self::Cursor,
            9 => Self::Fence,
            _ => return None,
        })
    }
}

/// A place in a shard of another service (or the same) that led to this record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Cause {
    /// The shard.
    pub shard: ShardId,
    /// The record in it.
    pub offset: Offset,
}

/// One record, as its entity hands it in. The header is clear, the body is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub kind: RecordKind,
    /// Whose history it belongs to.
    pub entity: EntityRef,
    /// Its place in that history: one more than the entity's last.
    pub seq: Seq,
    /// The event's type, the timer's name, the outgoing command's step, ...
    pub name: Name,
    /// The version of the body's shape.
    pub version: u16,
    /// When it was decided, in milliseconds since 1970.
    pub at_ms: i64,
    /// The account that asked, or 0 for the platform itself.
    pub by: u128,
    /// The trace it belongs to, or 0.
    pub trace: u128,
    /// What led to it, if that lies in a shard.
    pub caused_by: Option<Cause>,
    /// The sealed body; may be empty.
    pub body: Vec<u8>,
}

/// A durable record and its places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place on this node.
    pub lsn: Lsn,
    /// Its shard.
    pub shard: ShardId,
    /// The epoch it was written under.
    pub epoch: Epoch,
    /// Its place in the shard.
    pub offset: Offset,
    /// The record.
    pub record: Record,
}

/// Records of one shard that become durable together or not at all.
#[derive(Debug, Clone)]
pub struct Group {
    /// The shard.
    pub shard: ShardId,
    /// The epoch the caller believes it owns.
    pub epoch: Epoch,
    /// At least one record; at most [`Group::MAX_BYTES`] in all.
    pub records: Vec<Record>,
}

impl Group {
    /// The largest group, in bytes of bodies: what one command may write.
    pub const MAX_BYTES: usize = 1024 * 1024;
}

/// Where a group came to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first record; the others follow without a gap.
    pub first: Offset,
    /// The node's place of its last record.
    pub last_lsn: Lsn,
}

/// Why a group was not appended. Nothing of it is in the journal, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Somebody newer owns the shard: step down.
    #[error("shard {shard} is owned under epoch {current}, not {claimed}")]
    Fenced {
        /// The shard.
        shard: ShardId,
        /// The epoch it is owned under.
        current: Epoch,
        /// The epoch the group came with.
        claimed: Epoch,
    },
    /// The entity's history has another end than the group supposes (an earlier group of it failed).
    #[error("entity {entity} is not at seq {expected}")]
    OutOfOrder {
        /// The entity.
        entity: EntityRef,
        /// The seq before the group's first record.
        expected: Seq,
    },
    /// Another process made a key of the home at the same moment, and its key stands: nobody could read what was
    /// sealed with ours (see `Keyring::stands`). The entity is to be loaded again.
    #[error("what entity {entity} wrote is sealed with a key that was overruled")]
    Overruled {
        /// The entity.
        entity: EntityRef,
    },
    /// The disk is full; the journal was cut back to its durable end and may go on once there is room.
    #[error("the disk is full")]
    Full,
    /// A group is larger than [`Group::MAX_BYTES`] or empty.
    #[error("a group of {bytes} bytes and {records} records cannot be appended")]
    Size {
        /// Bytes of bodies.
        bytes: usize,
        /// Records.
        records: usize,
    },
    /// A sync failed, so nobody knows what is on the disk: the journal takes nothing until the node restarts.
    /// The group may or may not be there after the restart.
    #[error("the journal is poisoned: {reason}")]
    Poisoned {
        /// What failed.
        reason: String,
    },
    /// The store is not there, or takes nothing of this process; it is tried again, and the group may be, too.
    #[error("the store takes nothing now: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// The store has forgotten what it said was durable: it was restored, or an asynchronous standby took over.
    /// The shard takes nothing until the node restarts, so that nothing is written over what may be lost.
    #[error("the store was rolled back: shard {shard} was at {known}, and is at {found}")]
    RolledBack {
        /// The shard.
        shard: ShardId,
        /// Where it was.
        known: Claim,
        /// Where it is.
        found: Claim,
    },
    /// The node is shutting down.
    #[error("the journal is closed")]
    Closed,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The engine failed.
    #[error("failed to read the journal at {position}")]
    Engine {
        /// Where.
        position: String,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are not what was written.
    #[error("the journal is damaged at {position}: {what}")]
    Damaged {
        /// Where.
        position: String,
        /// In what way.
        what: String,
    },
}

/// Called once when a group's fate is known, on the engine's own thread: it must not block.
pub type Done = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// What a new owner of a shard gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claim {
    /// The epoch to append under.
    pub epoch: Epoch,
    /// The shard's last offset.
    pub tail: Offset,
}

impl fmt::Display for Claim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "epoch {}, offset {}", self.epoch, self.tail)
    }
}

/// How much to read at once: the first limit reached ends the page, but a page holds at least one record.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Records.
    pub records: usize,
    /// Bytes of bodies.
    pub bytes: usize,
}

impl Default for Limit {
    /// A page that is quick to decode and small to hold.
    fn default() -> Self {
        Self { records: 1_000, bytes: 1024 * 1024 }
    }
}

/// Whether the journal takes records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Yes.
    Writable,
    /// No room; it takes records again once there is some.
    Full,
    /// Not before a restart.
    Poisoned(String),
    /// Not while the store is out of reach; it is tried again and again.
    Unreachable(String),
}

/// A durable, ordered, fenced log of all the shards of a node.
pub trait Journal: Send + Sync + 'static {
    /// Takes a shard over: raises its epoch, so that whoever had it can no longer append.
    fn claim(&self, shard: ShardId) -> BoxFuture<'_, Result<Claim, AppendError>>;

    /// Queues a group; groups of one shard are appended in the order of the calls.
    fn append(&self, group: Group, done: Done);

    /// Records of a shard after an offset, in order, without a gap.
    fn read(
        &self,
        shard: ShardId,
        after: Offset,
        limit: Limit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, ReadError>>;

    /// Records of a home in a service after an offset, in order; never reads the rest of the shard.
    fn read_home(
        &self,
        service: Name,
        home: Home,
        after: Offset,
        limit: Limit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, ReadError>>;

    /// Records of one entity after an offset of its shard, in order: what its activation replays.
    fn read_entity(
        &self,
        service: Name,
        entity: EntityRef,
        after: Offset,
        limit: Limit,
    ) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, ReadError>>;

    /// Durable records of the whole node after a place, in an order that agrees with every shard's.
    fn walk(&self, after: Lsn, limit: Limit) -> BoxFuture<'_, Result<Vec<Arc<Stored>>, ReadError>>;

    /// The last durable record's place; changes wake the readers.
    fn durable(&self) -> watch::Receiver<Lsn>;

    /// Whether it takes records.
    fn health(&self) -> Health;

    /// Takes no more groups, finishes those it has and syncs.
    fn close(&self) -> BoxFuture<'_, ()>;
}
