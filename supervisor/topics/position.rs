//! A place in a topic.

use std::collections::BTreeMap;

use prognet_storage::{Name, journal::Stored};
use serde::Serialize;

use super::Topic;

/// A place in a topic, opaque to whoever holds it: everything up to it was delivered.
///
/// A home's topic is made of one log per service, so its place is an offset in each: it means the same on every
/// node. The platform's topic is this node's log, and its place one number in that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Position(BTreeMap<Name, u64>);

impl Position {
    /// The bytes a cursor carries.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * 24);
        for (service, number) in &self.0 {
            let service = service.as_str().as_bytes();
            bytes.push(u8::try_from(service.len()).unwrap_or(0));
            bytes.extend_from_slice(service);
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// The way back from [`Position::to_bytes`].
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut position = Self::default();
        while let Some((length, rest)) = bytes.split_first() {
            let (service, rest) = rest.split_at_checked(usize::from(*length))?;
            let (number, rest) = rest.split_first_chunk::<8>()?;
            let service = Name::parse(std::str::from_utf8(service).ok()?)?;
            position.0.insert(service, u64::from_be_bytes(*number));
            bytes = rest;
        }
        Some(position)
    }

    /// How far it is in a service; in the topic of the platform, under the empty name.
    pub(super) fn of(&self, service: Name) -> u64 {
        self.0.get(&service).copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, service: Name, number: u64) {
        if number > 0 {
            self.0.insert(service, number);
        }
    }

    /// A place that lies so many records further back in every log.
    pub(super) fn back(&self, records: u64) -> Self {
        let back = self.0.iter().map(|(service, number)| (*service, number.saturating_sub(records)));
        Self(back.filter(|(_, number)| *number > 0).collect())
    }

    /// Moves on to a record of its topic; false if it is past it already.
    pub(super) fn advance(&mut self, topic: Topic, stored: &Stored) -> bool {
        let (service, number) = match topic {
            Topic::System => (Name::default(), stored.lsn.0),
            Topic::Home(_) => (stored.shard.service, stored.offset.0),
        };
        let is_ahead = number > self.of(service);
        if is_ahead {
            self.set(service, number);
        }
        is_ahead
    }

    /// Whether it lies behind another everywhere: then nothing after it is lost.
    pub(super) fn is_within(&self, end: &Self) -> bool {
        self.0.iter().all(|(service, number)| *number <= end.of(*service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_bytes_and_others_are_refused() {
        let mut position = Position::default();
        position.set(Name::new("tenancy"), 7);
        position.set(Name::new("auth"), u64::MAX);
        let bytes = position.to_bytes();

        assert_eq!(Position::from_bytes(&bytes), Some(position));
        assert_eq!(Position::from_bytes(&[]), Some(Position::default()));
        assert_eq!(Position::from_bytes(&bytes[..bytes.len() - 1]), None);
    }
}
