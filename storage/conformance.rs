//! What every engine promises, as tests: the contracts `journal.rs`, `snapshots.rs` and `read_model.rs`.
//!
//! An engine implements [`JournalEngine`] and [`TierEngine`] in its tests and says `journal_promises!(ItsEngine)`
//! and `tier_promises!(ItsEngine)`: one test a promise.
//! What only files or only servers can do to an engine is tested beside it.

mod journal;
mod tier;

use std::sync::Arc;

pub(crate) use self::{journal::*, tier::*};
use crate::{
    EntityRef, Epoch, Home, HomeKind, Journal, Name, ReadModel, Seq, ShardId, Snapshots,
    journal::{AppendError, Appended, Group, Record, RecordKind},
    keyring::{Keyring, MasterKey},
};

/// An engine on storage of its own, opened as often as asked.
pub(crate) trait Engine: Sized {
    /// One with nothing in it.
    async fn fresh() -> Self;
}

/// One that keeps journals.
pub(crate) trait JournalEngine: Engine {
    type Journal: Journal;

    /// What earlier journals, closed or dropped by now, left behind.
    async fn journal(&self) -> Self::Journal;
}

/// One that keeps what can be rebuilt.
pub(crate) trait TierEngine: Engine {
    type Tier: Snapshots + ReadModel;

    /// What earlier tiers, dropped by now, left behind.
    async fn tier(&self, keyring: Arc<Keyring>) -> Self::Tier;
}

/// Makes a test of every promise of a journal.
macro_rules! journal_promises {
    ($engine:ty) => {
        crate::conformance::promises! { $engine:
            records_are_there_after_a_restart_by_every_way_of_reading
            a_page_ends_at_its_limits_and_holds_a_record_at_least
            entities_of_a_home_are_told_apart
            offsets_have_no_gap_over_many_appenders
            a_group_is_there_whole_or_not_at_all
            an_earlier_owner_can_no_longer_append
            a_new_start_has_a_higher_epoch
            a_closed_journal_has_everything_it_took_and_takes_nothing_more
            readers_are_woken_by_what_is_durable
        }
    };
}
pub(crate) use journal_promises;

/// Makes a test of every promise of a tier.
macro_rules! tier_promises {
    ($engine:ty) => {
        crate::conformance::promises! { $engine:
            rows_and_position_are_there_after_a_restart
            rows_are_scanned_by_prefix_in_key_order
            rows_are_found_together_by_their_keys
            a_cleared_projection_has_no_rows_and_no_position
            a_row_of_an_erased_home_is_gone
            equal_rows_have_equal_digests_whatever_keys_seal_them
            a_snapshot_is_loaded_as_saved_and_never_replaced_by_an_older
            a_snapshot_of_an_erased_home_is_gone
        }
    };
}
pub(crate) use tier_promises;

macro_rules! promises {
    ($engine:ty: $($promise:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            crate::conformance::$promise::<$engine>().await;
        }
    )*};
}
pub(crate) use promises;

pub(crate) const SERVICE: Name = Name::new("tenancy");
pub(crate) const SHARD: ShardId = ShardId { service: SERVICE, number: 1 };

pub(crate) fn home(id: u128) -> Home {
    Home { kind: HomeKind::Tenant, id }
}

pub(crate) fn entity(id: u128) -> EntityRef {
    EntityRef { home: home(id), kind: Name::new("tenant"), id }
}

pub(crate) fn record(id: u128, seq: u64, bytes: usize) -> Record {
    Record {
        kind: RecordKind::Event,
        entity: entity(id),
        seq: Seq(seq),
        name: Name::new("renamed"),
        version: 1,
        at_ms: 1,
        by: 2,
        trace: 3,
        caused_by: None,
        body: vec![u8::try_from(seq % 251).unwrap(); bytes],
    }
}

pub(crate) async fn append(
    journal: &impl Journal,
    epoch: Epoch,
    records: Vec<Record>,
) -> Result<Appended, AppendError> {
    let (told, fate) = tokio::sync::oneshot::channel();
    journal.append(Group { shard: SHARD, epoch, records }, Box::new(move |fate| drop(told.send(fate))));
    fate.await.unwrap()
}

/// A keyring, and the directory it lives in.
fn keyring() -> (Arc<Keyring>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Arc::new(Keyring::open(directory.path(), &MasterKey::new([1; 32])).unwrap()), directory)
}
