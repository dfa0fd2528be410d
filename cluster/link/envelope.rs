//! What the gateways of two nodes say to each other: frames, and how many of them have come.
//!
//! ```text
//! version u8 = 1 │ word u8 │ incarnation u64 │ name: length u8, bytes │ taken u64 │ stamp u64 │ frame
//! ```
//! Numbers are big-endian. A later version of it is not understood, and answered by nobody: which versions two nodes have
//! in common is settled when they meet (`hello.rs`).

use bytes::{Buf, BufMut, Bytes};
use prognet_supervisor::Name;

use crate::tables::{Incarnation, NodeId};

const VERSION: u8 = 1;

/// What an envelope is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// It carries a frame.
    Frame = 0,
    /// Say that you are there.
    Ping = 1,
    /// The answer, with the ping's stamp.
    Pong = 2,
    /// Nothing but how many frames were taken.
    Taken = 3,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) word: Word,
    pub(super) from: Incarnation,
    /// Frames that the sender has taken over this link so far.
    pub(super) taken: u64,
    pub(super) stamp: u64,
    pub(super) frame: Bytes,
}

impl Envelope {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let name = self.from.node.0;
        let name = name.as_bytes();
        let mut bytes = Vec::with_capacity(27 + name.len() + self.frame.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(self.word as u8);
        bytes.put_u64(self.from.number);
        bytes.put_u8(u8::try_from(name.len()).unwrap_or(0));
        bytes.put_slice(name);
        bytes.put_u64(self.taken);
        bytes.put_u64(self.stamp);
        bytes.put_slice(&self.frame);
        bytes
    }

    pub(super) fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let mut bytes = Bytes::from(bytes);
        let (version, word) = (bytes.try_get_u8().ok()?, bytes.try_get_u8().ok()?);
        let word = match word {
            0 => Word::Frame,
            1 => Word::Ping,
            2 => Word::Pong,
            3 => Word::Taken,
            _ => return None,
        };
        let number = bytes.try_get_u64().ok()?;
        let length = usize::from(bytes.try_get_u8().ok()?);
        if version != VERSION || bytes.remaining() < length {
            return None;
        }
        let name = Name::parse(std::str::from_utf8(&bytes.split_to(length)).ok()?)?;
        let (taken, stamp) = (bytes.try_get_u64().ok()?, bytes.try_get_u64().ok()?);
        Some(Self { word, from: Incarnation { node: NodeId(name), number }, taken, stamp, frame: bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_survives_its_bytes_and_a_cut_one_is_none() {
        let from = Incarnation { node: NodeId(Name::new("a")), number: 7 };
        let frame = Bytes::from_static(b"what it carries");
        for word in [Word::Frame, Word::Ping, Word::Pong, Word::Taken] {
            let envelope = Envelope { word, from, taken: 3, stamp: u64::MAX, frame: frame.clone() };
            let bytes = envelope.to_bytes();
            assert_eq!(Envelope::from_bytes(bytes.clone()), Some(envelope));
            for length in 0..bytes.len() - frame.len() {
                assert_eq!(Envelope::from_bytes(bytes[..length].to_vec()), None);
            }
        }
    }
}
