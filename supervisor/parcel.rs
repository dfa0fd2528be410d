//! What crosses nodes: a command or an errand one way, its answer the other. MessagePack with field names, so that a
//! node one version older or younger reads it; the cluster carries it as opaque bytes.

use prognet_storage::{EntityRef, Name, Seq, codec, journal::Cause};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{EntityView, Timestamp, Unavailable, aggregate::Answer, entity::AnyRefused, router::Written};

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Parcel {
    /// How long whoever sent it waits, in milliseconds: the clocks of two nodes differ.
    pub(crate) wait_ms: u64,
    pub(crate) content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Content {
    /// A command, a read or a wait for a saga's end.
    Ask(AskParcel),
    /// What a reader brings to an entity.
    Errand { service: Name, entity: EntityRef, errand: Errand },
    /// Whether a projection that runs there has taken a record in.
    Reach { projection: Name, written: Written },
    /// How an entity stands.
    Inspect { service: Name, entity: EntityRef },
    /// Out of quarantine with it.
    Release { service: Name, entity: EntityRef },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AskParcel {
    pub(crate) service: Name,
    pub(crate) entity: EntityRef,
    /// None for a read.
    pub(crate) command: Option<ByteBuf>,
    pub(crate) is_to_end: bool,
    pub(crate) asker: u128,
    pub(crate) key: Option<u128>,
    pub(crate) trace: u128,
    /// The call that a command is part of, however often it is asked; zero for a read.
    #[serde(default)]
    pub(crate) call: u128,
    /// Attempts of the call before this one.
    #[serde(default)]
    pub(crate) attempt: u32,
}

/// What a reader brings to an entity, as often as it takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Errand {
    /// Another entity's outgoing command.
    Delivery {
        source: Cause,
        by: u128,
        trace: u128,
        #[serde(with = "serde_bytes")]
        command: Vec<u8>,
    },
    /// A timer that is due.
    Fire {
        name: Name,
        set_by: Seq,
        due: Timestamp,
        #[serde(with = "serde_bytes")]
        command: Vec<u8>,
    },
    /// The answer to an outgoing command.
    Heard { outgoing: Seq, cause: Cause, answer: Answer, trace: u128 },
}

/// The answer to a parcel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// To [`Content::Ask`].
    Answered { reply: ByteBuf, written: Option<Written> },
    /// To [`Content::Ask`]: the domain's no.
    Rejected(ByteBuf),
    /// To [`Errand::Delivery`]: the target's encoded reply or rejection.
    Delivered(Result<ByteBuf, ByteBuf>),
    /// To the other errands and [`Content::Reach`].
    Done,
    /// To [`Content::Inspect`].
    Inspected(Option<EntityView>),
    /// To [`Content::Release`].
    Released(bool),
    /// To whatever it was.
    Refused(Refusal),
}

/// [`AnyRefused`] without the domain's no, whose type is its own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Refusal {
    KeyReused,
    Poison,
    Erased,
    Unavailable(Unavailable),
    Fault,
}

impl From<Refusal> for AnyRefused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::KeyReused => Self::KeyReused,
            Refusal::Poison => Self::Poison,
            Refusal::Erased => Self::Erased,
            Refusal::Unavailable(why) => Self::Unavailable(why),
            Refusal::Fault => Self::Fault,
        }
    }
}

impl From<AnyRefused> for Refusal {
    fn from(refused: AnyRefused) -> Self {
        match refused {
            AnyRefused::KeyReused => Self::KeyReused,
            AnyRefused::Poison => Self::Poison,
            AnyRefused::Erased => Self::Erased,
            AnyRefused::Unavailable(why) => Self::Unavailable(why),
            // A domain's no goes as a reply of its own.
            AnyRefused::Rejected(_) | AnyRefused::Fault => Self::Fault,
        }
    }
}

/// The bytes of a parcel or of its answer.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    codec::encode_event(value).unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a parcel does not encode");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a later version may have them: with more to say.
    #[derive(Serialize, Deserialize)]
    struct LaterParcel {
        wait_ms: u64,
        content: LaterContent,
        hops: u8,
    }

    #[derive(Serialize, Deserialize)]
    enum LaterContent {
        Reach {
            projection: Name,
            written: Written,
            #[serde(default)]
            is_patient: bool,
        },
        Measure {
            service: Name,
        },
    }

    #[derive(Serialize, Deserialize)]
    enum LaterReply {
        Answered {
            reply: ByteBuf,
            written: Option<Written>,
            #[serde(default)]
            took_ms: u64,
        },
    }

    fn written() -> Written {
        let shard = prognet_storage::ShardId { service: Name::new("users"), number: 1 };
        Written { shard, offset: prognet_storage::Offset(7) }
    }

    #[test]
    fn a_node_one_version_older_reads_what_it_knows_and_one_younger_what_was_there() {
        let projection = Name::new("accounts");
        let content = LaterContent::Reach { projection, written: written(), is_patient: true };
        let later = encode(&LaterParcel { wait_ms: 5, content, hops: 2 });
        let read: Parcel = codec::decode_event(&later).unwrap();
        assert!(
            matches!(read, Parcel { wait_ms: 5, content: Content::Reach { written: read, .. } } if read == written())
        );

        let reply = encode(&LaterReply::Answered { reply: ByteBuf::from([1]), written: None, took_ms: 9 });
        assert!(
            matches!(codec::decode_event(&reply).unwrap(), Reply::Answered { reply, .. } if *reply == [1])
        );
        let reply = encode(&Reply::Answered { reply: ByteBuf::from([1]), written: None });
        let LaterReply::Answered { took_ms, .. } = codec::decode_event(&reply).unwrap();
        assert_eq!(took_ms, 0);
    }

    #[test]
    fn what_only_a_later_version_can_ask_for_is_no_parcel_here() {
        let content = LaterContent::Measure { service: Name::new("users") };
        let later = encode(&LaterParcel { wait_ms: 5, content, hops: 2 });

        assert!(codec::decode_event::<Parcel>(&later).is_err());
    }
}
