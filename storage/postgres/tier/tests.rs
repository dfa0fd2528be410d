//! The tier's promises on a real server, and what only a store that is shared can do to it.

use futures_util::future::join_all;

use super::*;
use crate::{
    Journal, Seq,
    conformance::{Engine, SERVICE, SHARD, TierEngine, append, entity, home, record, tier_promises},
    journal::Limit,
    keyring::MasterKey,
    postgres::testing::{Database, Server, Taking},
};

const ROWS: Name = Name::new("directory");

/// The store of a test.
struct Shared(Database);

impl Engine for Shared {
    async fn fresh() -> Self {
        Self(Database::fresh())
    }
}

impl TierEngine for Shared {
    type Tier = PostgresTier;

    async fn tier(&self, keyring: Arc<Keyring>) -> PostgresTier {
        PostgresTier::new(self.0.store().await, keyring)
    }
}

tier_promises!(Shared);

/// A store, and the tier that a process has on it.
async fn begun() -> (Database, PostgresTier) {
    let database = Database::fresh();
    let tier = tier_on(&database).await;
    (database, tier)
}

async fn tier_on(database: &Database) -> PostgresTier {
    let store = database.store().await;
    let keyring = Keyring::open_in(store.clone(), &MasterKey::new([1; 32])).await.unwrap();
    PostgresTier::new(store, Arc::new(keyring))
}

fn put(key: &[u8], id: u128, value: Vec<u8>) -> RowChange {
    RowChange::Put { key: key.to_vec(), home: home(id), value }
}

fn position(offset: u64) -> Position {
    Position { lsn: Lsn(offset), offsets: [(SHARD, Offset(offset))].into() }
}

/// As somebody with a password of the database.
async fn alter(database: &Database, sql: &str) {
    Server::shared().execute(&database.name, sql).await;
}

async fn ask(database: &Database, sql: &str) -> String {
    let client = database.store().await.client().await.unwrap();
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn keys(tier: &PostgresTier, prefix: &[u8], limit: usize) -> Vec<Vec<u8>> {
    let rows = tier.scan(ROWS, prefix.to_vec(), None, limit).await.unwrap();
    rows.into_iter().map(|row| row.key).collect()
}

#[tokio::test]
async fn a_scan_ends_where_its_prefix_does_whatever_bytes_keys_have() {
    let (_database, tier) = begun().await;
    let all: [&[u8]; 7] = [b"", b"\x00", b"a", b"a\xff", b"a\xff\xff", b"b", b"\xff\xff"];
    tier.commit(ROWS, all.map(|key| put(key, 1, vec![1])).to_vec(), Lsn(0), position(1)).await.unwrap();
    assert_eq!(keys(&tier, b"", 9).await, all);
    assert_eq!(keys(&tier, b"a", 9).await, all[2..5]);
    assert_eq!(keys(&tier, b"a\xff", 9).await, all[3..5]);
    assert_eq!(keys(&tier, b"\xff", 9).await, all[6..]);
    let after = tier.scan(ROWS, b"a".to_vec(), Some(b"\x00".to_vec()), 9).await.unwrap();
    assert_eq!(after.len(), 3, "a place before the prefix leaves nothing out");
}

#[tokio::test]
async fn a_scan_goes_on_behind_rows_of_erased_homes_and_behind_a_page() {
    let (_database, tier) = begun().await;
    let rows: Vec<_> =
        (0_u16..2_500).map(|at| put(&at.to_be_bytes(), u128::from(at % 5 == 0), vec![1])).collect();
    tier.commit(ROWS, rows, Lsn(0), position(1)).await.unwrap();

    tier.keyring.erase(&home(0)).await.unwrap();

    let kept: Vec<_> = (0_u16..2_500).step_by(5).map(|at| at.to_be_bytes().to_vec()).collect();
    assert_eq!(keys(&tier, b"", usize::MAX).await, kept);
    assert_eq!(keys(&tier, b"", 300).await, kept[..300]);
}

#[tokio::test]
async fn the_last_change_of_a_key_in_a_commit_counts() {
    let (_database, tier) = begun().await;
    let delete = |key: &[u8]| RowChange::Delete { key: key.to_vec() };
    let changes =
        vec![put(b"a", 1, vec![1]), delete(b"a"), delete(b"b"), put(b"b", 1, vec![1]), put(b"b", 2, vec![2])];
    tier.commit(ROWS, changes, Lsn(0), position(1)).await.unwrap();
    assert_eq!(keys(&tier, b"", 9).await, [b"b"]);
    assert_eq!(tier.get(ROWS, b"b".to_vec()).await.unwrap().unwrap().value, [2]);
}

#[tokio::test]
async fn a_large_value_comes_back_whole() {
    let (_database, tier) = begun().await;
    let value = vec![7; 5 * 1024 * 1024];
    tier.commit(ROWS, vec![put(b"a", 1, value.clone())], Lsn(0), position(1)).await.unwrap();
    assert_eq!(tier.get(ROWS, b"a".to_vec()).await.unwrap().unwrap().value, value);
}

/// Two processes that follow the journal for one projection are nothing wanted; the late one must do no harm.
#[tokio::test]
async fn a_reader_that_another_has_overtaken_changes_nothing() {
    let (database, tier) = begun().await;
    let late = tier_on(&database).await;
    tier.commit(ROWS, vec![put(b"a", 1, vec![5])], Lsn(0), position(5)).await.unwrap();

    for (from, to) in [(0, 4), (0, 6), (4, 6)] {
        let row = vec![put(b"a", 1, vec![4])];
        let refused = late.commit(ROWS, row, Lsn(from), position(to)).await.unwrap_err();
        assert_eq!(refused.source.to_string(), "another reader has taken in more", "from {from} to {to}");
    }
    assert_eq!(late.get(ROWS, b"a".to_vec()).await.unwrap().unwrap().value, [5]);
    assert_eq!(late.position(ROWS).await.unwrap(), position(5));

    late.clear(ROWS).await.unwrap();
    let row = vec![put(b"a", 1, vec![6])];
    assert!(tier.commit(ROWS, row, Lsn(5), position(6)).await.is_err(), "the other has begun again");
    assert_eq!(tier.position(ROWS).await.unwrap(), Position::default());
}

#[tokio::test]
async fn rows_and_snapshots_sealed_by_another_process_open_here() {
    let (database, tier) = begun().await;
    let other = tier_on(&database).await;
    let snapshot = Snapshot { seq: Seq(1), offset: Offset(1), bytes: vec![7] };
    other.commit(ROWS, vec![put(b"a", 1, vec![1])], Lsn(0), position(1)).await.unwrap();
    other.save(SERVICE, entity(2), snapshot.clone()).await.unwrap();
    assert_eq!(tier.get(ROWS, b"a".to_vec()).await.unwrap().unwrap().value, [1]);
    assert_eq!(tier.load(SERVICE, entity(2)).await.unwrap(), Some(snapshot));
}

/// The projection is cleared and rebuilt by whoever follows the journal for it: that is what this error says.
#[tokio::test]
async fn a_row_that_was_changed_or_given_to_another_home_or_key_is_of_another_shape() {
    let changes = [
        "set value = set_byte(value, 20, get_byte(value, 20) # 1)",
        "set home_id = '00000000-0000-0000-0000-000000000002'",
        "set home_kind = 9",
        "set key = 'c'",
    ];
    for change in changes {
        let (database, tier) = begun().await;
        tier.commit(ROWS, vec![put(b"a", 1, vec![1])], Lsn(0), position(1)).await.unwrap();
        tier.keyring.seal(&home(2), b"", b"").await.unwrap();

        alter(&database, &format!("update model_row {change}")).await;

        let refused = tier.scan(ROWS, Vec::new(), None, 9).await.unwrap_err();
        let why = refused.source.downcast_ref::<codec::Error>();
        assert!(matches!(why, Some(codec::Error::Shape)), "{change}: {refused:?}");
        tier.clear(ROWS).await.unwrap();
        assert_eq!(tier.position(ROWS).await.unwrap(), Position::default());
    }
}

#[tokio::test]
async fn a_row_of_a_home_without_a_key_is_an_error_and_a_snapshot_of_one_is_none() {
    let (database, tier) = begun().await;
    let snapshot = Snapshot { seq: Seq(1), offset: Offset(1), bytes: vec![7] };
    tier.commit(ROWS, vec![put(b"a", 1, vec![1])], Lsn(0), position(1)).await.unwrap();
    tier.save(SERVICE, entity(1), snapshot).await.unwrap();
    alter(&database, "delete from key where subject like 'tenant/%'").await;

    let tier = tier_on(&database).await;

    let refused = tier.get(ROWS, b"a".to_vec()).await.unwrap_err();
    assert_eq!(refused.source.downcast_ref(), Some(&OpenError::Unknown));
    assert_eq!(tier.load(SERVICE, entity(1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_changed_snapshot_is_none_and_is_replaced_by_the_next() {
    let (database, tier) = begun().await;
    let snapshot = |seq| Snapshot { seq: Seq(seq), offset: Offset(seq), bytes: vec![7] };
    tier.save(SERVICE, entity(1), snapshot(1)).await.unwrap();
    alter(&database, "update snapshot set state = 'nothing'").await;
    assert_eq!(tier.load(SERVICE, entity(1)).await.unwrap(), None);
    tier.save(SERVICE, entity(1), snapshot(2)).await.unwrap();
    assert_eq!(tier.load(SERVICE, entity(1)).await.unwrap(), Some(snapshot(2)));
}

/// A journal of an entity with so many records, on a database.
async fn journal_of(database: &Database, records: u64) -> Taking {
    let journal = Taking::open(database.store().await).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    let records = (1..=records).map(|seq| record(1, seq, 20)).collect();
    append(&journal, epoch, records).await.unwrap();
    journal
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_found_together_with_what_is_behind_it() {
    let (database, tier) = begun().await;
    let journal = journal_of(&database, 5).await;
    let all = journal.read_entity(SERVICE, entity(1), Offset(0), Limit::default()).await.unwrap();
    let from = |seq: usize| {
        let behind = all[seq - 1..].iter().map(|stored| (stored.offset, stored.record.clone()));
        behind.collect::<Vec<_>>()
    };

    let recalled = tier.recall(SERVICE, entity(1)).await.unwrap();
    assert_eq!((recalled.snapshot, recalled.records, recalled.is_all), (None, from(1), true));

    let snapshot = Snapshot { seq: Seq(3), offset: all[2].offset, bytes: vec![7] };
    tier.save(SERVICE, entity(1), snapshot.clone()).await.unwrap();
    let recalled = tier.recall(SERVICE, entity(1)).await.unwrap();
    assert_eq!((recalled.snapshot, recalled.records, recalled.is_all), (Some(snapshot), from(4), true));

    alter(&database, "update snapshot set state = 'nothing'").await;
    let recalled = tier.recall(SERVICE, entity(1)).await.unwrap();
    assert_eq!((recalled.snapshot, recalled.records, recalled.is_all), (None, Vec::new(), false));

    let nobody = tier.recall(SERVICE, entity(2)).await.unwrap();
    assert_eq!((nobody.snapshot, nobody.records, nobody.is_all), (None, Vec::new(), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_long_tail_and_of_one_that_is_damaged_it_is_said_that_there_is_more() {
    let (database, tier) = begun().await;
    let _journal = journal_of(&database, RECALLED as u64 + 1).await;

    let recalled = tier.recall(SERVICE, entity(1)).await.unwrap();
    assert_eq!((recalled.records.len(), recalled.is_all), (RECALLED, false));

    alter(&database, "update record set kind = 99 where seq = 5").await;
    let recalled = tier.recall(SERVICE, entity(1)).await.unwrap();
    assert_eq!((recalled.records.len(), recalled.is_all), (4, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_snapshots_saved_at_once_the_newest_is_kept() {
    let (_database, tier) = begun().await;
    let snapshot = |seq| Snapshot { seq: Seq(seq), offset: Offset(seq), bytes: vec![7] };
    let saved = join_all((1..=20).rev().map(|seq| tier.save(SERVICE, entity(1), snapshot(seq)))).await;
    assert!(saved.into_iter().all(|saved| saved.is_ok()));
    assert_eq!(tier.load(SERVICE, entity(1)).await.unwrap(), Some(snapshot(20)));
}

/// What an operator sees.
#[tokio::test]
async fn sql_tells_whose_a_row_is_and_not_what_it_says() {
    let (database, tier) = begun().await;
    tier.commit(ROWS, vec![put(b"a", 0xab, b"Ada Lovelace".to_vec())], Lsn(0), position(1)).await.unwrap();
    let whose = "select home_kind || ' ' || home_id || ' ' || projection || ' ' || off
        from model_row join model_offset using (projection)";
    assert_eq!(ask(&database, whose).await, "1 00000000-0000-0000-0000-0000000000ab directory 1");
    let subject = "select subject from key where subject like 'tenant/%' and erased is null";
    assert_eq!(ask(&database, subject).await, "tenant/00000000-0000-0000-0000-0000000000ab");
    let legible = "select count(*)::text from model_row where position('Ada' in encode(value, 'escape')) > 0";
    assert_eq!(ask(&database, legible).await, "0");
}
