//! Where records lie: by shard, by home, by the node's count, so that no history is searched for.
//!
//! It is only in memory, about 56 bytes a record, and made anew at every open, which reads the segments anyway to
//! check them: a second file could disagree with the first, and would save little (docs/benchmarks.md, B11).

use crate::{AddressMap, EntityRef, Home, Lsn, Name, Offset, ShardId, journal::Stored};

/// A record's place on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) position: u32,
    pub(crate) lsn: Lsn,
}

/// A record in its home's history.
#[derive(Debug, Clone, Copy)]
struct OfHome {
    offset: Offset,
    /// A digest of the entity, so that other entities' records are skipped unread.
    tag: u64,
    place: Place,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// A shard's records; the one with offset n is the n-th, since there is no gap.
    shards: AddressMap<ShardId, Vec<Place>>,
    homes: AddressMap<(Name, Home), Vec<OfHome>>,
    /// The first record of each frame and where the frame lies.
    frames: Vec<Place>,
}

impl Index {
    pub(crate) fn add(&mut self, stored: &Stored, place: Place) {
        self.shards.entry(stored.shard).or_default().push(place);
        let home = (stored.shard.service, stored.record.entity.home);
        let tag = tag_of(&stored.record.entity);
        self.homes.entry(home).or_default().push(OfHome { offset: stored.offset, tag, place });
    }

    pub(crate) fn add_frame(&mut self, place: Place) {
        self.frames.push(place);
    }

    /// The shard's last offset.
    pub(crate) fn tail(&self, shard: ShardId) -> Offset {
        Offset(self.shards.get(&shard).map_or(0, |places| places.len() as u64))
    }

    /// At most `count` records of a shard after an offset.
    pub(crate) fn of_shard(&self, shard: ShardId, after: Offset, count: usize) -> Vec<Place> {
        let skipped = usize::try_from(after.0).unwrap_or(usize::MAX);
        self.shards
            .get(&shard)
            .map_or_else(Vec::new, |places| places.iter().skip(skipped).take(count).copied().collect())
    }

    /// At most `count` records of a home (or of one entity in it) after an offset.
    pub(crate) fn of_home(
        &self,
        service: Name,
        home: Home,
        entity: Option<&EntityRef>,
        after: Offset,
        count: usize,
    ) -> Vec<Place> {
        let Some(records) = self.homes.get(&(service, home)) else {
            return Vec::new();
        };
        let from = records.partition_point(|record| record.offset <= after);
        let tag = entity.map(tag_of);
        let fresh = records.iter().skip(from).filter(|record| tag.is_none_or(|tag| tag == record.tag));
        fresh.take(count).map(|record| record.place).collect()
    }

    /// The frame that holds the record, or the next one.
    pub(crate) fn frame_of(&self, lsn: Lsn) -> Option<Place> {
        let after = self.frames.partition_point(|frame| frame.lsn <= lsn);
        self.frames.get(after.saturating_sub(1)).copied()
    }
}

fn tag_of(entity: &EntityRef) -> u64 {
    let mut bytes = [0; Name::MAX + 16];
    let (kind, id) = bytes.split_at_mut(Name::MAX);
    let name = entity.kind.as_bytes();
    if let Some(kind) = kind.get_mut(..name.len()) {
        kind.copy_from_slice(name);
    }
    id.copy_from_slice(&entity.id.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes)
}
