//! What an entity keeps beside its state: first replies, sources taken in, timers, commands under way.
//!
//! All of it is made of journal records, so it survives with the state and is rebuilt like it.

use std::collections::{BTreeMap, VecDeque};

use prognet_storage::{Name, Offset, Seq, ShardId, journal::Cause};
use serde::{Deserialize, Serialize};

use crate::{Timestamp, limits::Limits};

/// State and bookkeeping of one entity, as snapshots hold it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kept<A> {
    pub(crate) state: A,
    pub(crate) seq: Seq,
    pub(crate) offset: Offset,
    /// First replies to keyed commands, oldest first.
    pub(crate) replies: VecDeque<KeptReply>,
    /// Per source shard the last outgoing command taken in, and its answer, without expiry.
    pub(crate) inbox: BTreeMap<ShardId, Taken>,
    /// Timers that are set: the seq of the record that set them.
    pub(crate) timers: BTreeMap<Name, Seq>,
    /// Own outgoing commands without an answer, by the seq of their record.
    pub(crate) under_way: BTreeMap<Seq, Name>,
}

/// The reply a retry gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeptReply {
    pub(crate) key: u128,
    /// A digest of the command, so that a key is not used for another one.
    pub(crate) body: u128,
    pub(crate) at: Timestamp,
    pub(crate) reply: Vec<u8>,
}

/// The last command of a source shard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) offset: Offset,
    pub(crate) reply: Vec<u8>,
}

/// The body of a timer's record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TimerBody {
    pub(crate) due: Timestamp,
    pub(crate) command: Vec<u8>,
}

/// The body of an inbox record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InboxBody {
    pub(crate) source: Cause,
    pub(crate) reply: Vec<u8>,
}

/// The body of an outgoing command's acknowledgement: the seq of the record it ends.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct DoneBody {
    pub(crate) outgoing: Seq,
}

impl<A> Kept<A> {
    /// The first reply to this key, or that the key belongs to another command.
    pub(crate) fn replied(&self, key: u128, body: u128) -> Option<Result<&[u8], KeyReused>> {
        let kept = self.replies.iter().rev().find(|kept| kept.key == key)?;
        Some(if kept.body == body { Ok(&kept.reply) } else { Err(KeyReused) })
    }

    /// Keeps a reply, and forgets those past the window.
    pub(crate) fn keep_reply(&mut self, reply: KeptReply, limits: &Limits) {
        let now = reply.at;
        self.replies.push_back(reply);
        while self.replies.len() > limits.reply_window
            || self.replies.front().is_some_and(|oldest| now.since(oldest.at) > limits.reply_age)
        {
            self.replies.pop_front();
        }
    }

    /// Takes a source's command in, unless a later one was.
    pub(crate) fn take(&mut self, body: InboxBody) {
        self.inbox.insert(body.source.shard, Taken { offset: body.source.offset, reply: body.reply });
    }
}

/// See [`Kept::replied`].
#[derive(Debug)]
pub(crate) struct KeyReused;
