//! What a member's step takes in and says, and what members say to each other.

use prognet_supervisor::ShardId;

use crate::{
    Epoch, Offset,
    membership::{Proof, Refusal},
    tables::{Answer, Incarnation, NodeId, Statement},
};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time passed.
    Tick,
    /// A statement was answered, or will never be.
    Answered(Answer),
    /// A link to a peer works both ways.
    PeerReached(NodeId),
    /// It does no longer.
    PeerLost(NodeId),
    /// A peer and this node will not link until a setting of one of the two is changed.
    PeerTurnedAway {
        /// The peer.
        node: NodeId,
        /// Why, with the setting to look at.
        why: String,
    },
    /// A process is gone for certain.
    PeerGone {
        /// Whose process.
        of: Incarnation,
        /// How that is known.
        proof: Proof,
    },
    /// A peer said something. It may be late, doubled or never come.
    Heard(Message),
    /// What [`Output::Prepare`] asked for is done.
    Prepared {
        /// The shard.
        shard: ShardId,
        /// The old owner's epoch.
        epoch: Epoch,
    },
    /// What [`Output::Open`] asked for is done.
    Opened {
        /// The shard.
        shard: ShardId,
        /// This node's epoch.
        epoch: Epoch,
    },
    /// It could not be done.
    OpenFailed {
        /// The shard.
        shard: ShardId,
        /// This node's epoch.
        epoch: Epoch,
    },
    /// After [`Output::Stop`]: everything that had begun is answered.
    Flushed {
        /// The shard.
        shard: ShardId,
        /// This node's epoch.
        epoch: Epoch,
    },
    /// An append was refused.
    Fenced {
        /// The shard.
        shard: ShardId,
        /// The epoch of the append.
        epoch: Epoch,
    },
    /// This node is to give its shards away, and to leave once its doors are closed.
    LeaveAsked,
    /// Nobody asks by way of this node any more: it may leave once it owns nothing.
    DoorsClosed,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Run it in the store.
    Run(Statement),
    /// The lease is over: answer no reads and start no appends, until [`Output::Resume`].
    Fence,
    /// The lease holds.
    Resume,
    /// Make ready for a shard that is about to come, without serving it: what is hot could be loaded. This build loads
    /// nothing, entities come back as they are asked for.
    Prepare {
        /// The shard.
        shard: ShardId,
        /// The old owner's epoch.
        epoch: Epoch,
    },
    /// Forget what was prepared: the shard does not come.
    Forget {
        /// The shard.
        shard: ShardId,
    },
    /// Serve a shard.
    Open {
        /// The shard.
        shard: ShardId,
        /// The epoch to append under.
        epoch: Epoch,
        /// Its last offset; none if that is to be read.
        tail: Option<Offset>,
    },
    /// Begin nothing new in a shard, hand back what waits, finish the rest.
    Stop {
        /// The shard.
        shard: ShardId,
        /// This node's epoch.
        epoch: Epoch,
    },
    /// Drop a shard with all that is in it: it is not this node's any more.
    Close {
        /// The shard.
        shard: ShardId,
    },
    /// Say something to a peer.
    Tell {
        /// Whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Say something to all peers.
    Announce(Message),
    /// This node may not join; nothing follows.
    Refused(Refusal),
    /// This node owns nothing, or nobody would take what it owns: it closes its doors, and asks others until then.
    Drained,
    /// This node has left; nothing follows.
    Left,
}

/// What nodes say to each other. It hastens what reading the tables would bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Message {
    /// The map has changed.
    Changed {
        /// Its number.
        map: u64,
    },
    /// The new owner of a shard is prepared.
    Prepared {
        /// The shard.
        shard: ShardId,
        /// The old owner's epoch.
        epoch: Epoch,
    },
    /// The old owner has let go of a shard.
    Freed {
        /// The shard.
        shard: ShardId,
        /// The old owner's epoch.
        epoch: Epoch,
    },
    /// The new owner serves a shard.
    Opened {
        /// The shard.
        shard: ShardId,
        /// The new epoch.
        epoch: Epoch,
        /// The new owner.
        owner: Incarnation,
    },
}
