//! Promises of the tier that can be rebuilt.

use super::{SERVICE, SHARD, TierEngine, entity, home, keyring};
use crate::{
    Lsn, Name, Offset, ReadModel, Seq, Snapshots,
    read_model::{Position, Row, RowChange},
    snapshots::Snapshot,
};

const ROWS: Name = Name::new("directory");

fn put(key: &str, value: u8) -> RowChange {
    RowChange::Put { key: key.into(), home: home(value.into()), value: vec![value; 3] }
}

fn row(key: &str, value: u8) -> Row {
    Row { key: key.into(), value: vec![value; 3] }
}

fn position(lsn: u64) -> Position {
    Position { lsn: Lsn(lsn), offsets: [(SHARD, Offset(lsn))].into() }
}

pub(crate) async fn rows_and_position_are_there_after_a_restart<E: TierEngine>() {
    let (engine, (keyring, _place)) = (E::fresh().await, keyring());
    let tier = engine.tier(keyring.clone()).await;
    tier.commit(ROWS, vec![put("a", 1), put("b", 2)], Lsn(0), position(5)).await.unwrap();
    let delete = RowChange::Delete { key: "a".into() };
    tier.commit(ROWS, vec![delete, put("b", 3)], Lsn(5), position(6)).await.unwrap();
    drop(tier);

    let tier = engine.tier(keyring).await;

    assert_eq!(tier.position(ROWS).await.unwrap(), position(6));
    assert_eq!(tier.get(ROWS, "a".into()).await.unwrap(), None);
    assert_eq!(tier.get(ROWS, "b".into()).await.unwrap(), Some(row("b", 3)));
}

pub(crate) async fn rows_are_scanned_by_prefix_in_key_order<E: TierEngine>() {
    let (engine, (keyring, _place)) = (E::fresh().await, keyring());
    let tier = engine.tier(keyring).await;
    let rows = ["b2", "a", "b1", "c", "b3"].map(|key| put(key, 1)).to_vec();
    tier.commit(ROWS, rows, Lsn(0), position(1)).await.unwrap();
    let scan = |after: Option<&str>, limit| tier.scan(ROWS, "b".into(), after.map(Into::into), limit);
    assert_eq!(scan(None, 9).await.unwrap(), ["b1", "b2", "b3"].map(|key| row(key, 1)));
    assert_eq!(scan(Some("b1"), 1).await.unwrap(), [row("b2", 1)]);
    assert_eq!(scan(Some("b3"), 9).await.unwrap(), []);
    assert_eq!(tier.scan(Name::new("other"), Vec::new(), None, 9).await.unwrap(), []);
}

pub(crate) async fn rows_are_found_together_by_their_keys<E: TierEngine>() {
    let (engine, (keyring, _place)) = (E::fresh().await, keyring());
    let tier = engine.tier(keyring.clone()).await;
    tier.commit(ROWS, ["a", "b", "c"].map(|key| put(key, 1)).to_vec(), Lsn(0), position(1)).await.unwrap();
    let keys = || ["c", "nobody", "a"].map(Into::into).to_vec();

    let mut found = tier.get_all(ROWS, keys()).await.unwrap();

    found.sort_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(found, ["a", "c"].map(|key| row(key, 1)));
    assert_eq!(tier.get_all(Name::new("other"), keys()).await.unwrap(), []);
    assert_eq!(tier.get_all(ROWS, Vec::new()).await.unwrap(), []);
    keyring.erase(&home(1)).await.unwrap();
    assert_eq!(tier.get_all(ROWS, keys()).await.unwrap(), []);
}

pub(crate) async fn a_cleared_projection_has_no_rows_and_no_position<E: TierEngine>() {
    let (engine, (keyring, _place)) = (E::fresh().await, keyring());
    let tier = engine.tier(keyring).await;
    let other = Name::new("directory2");
    for projection in [ROWS, other] {
        tier.commit(projection, vec![put("a", 1)], Lsn(0), position(1)).await.unwrap();
    }
    tier.clear(ROWS).await.unwrap();
    assert_eq!(tier.position(ROWS).await.unwrap(), Position::default());
    assert_eq!(tier.scan(ROWS, Vec::new(), None, 9).await.unwrap(), []);
    assert_eq!(tier.position(other).await.unwrap(), position(1));
    assert_eq!(tier.scan(other, Vec::new(), None, 9).await.unwrap(), [row("a", 1)]);
}

pub(crate) async fn a_row_of_an_erased_home_is_gone<E: TierEngine>() {
    let (engine, (keyring, _place)) = (E::fresh().await, keyring());
    let tier = engine.tier(keyring.clone()).await;
    tier.commit(ROWS, vec![put("a", 1), put("b", 2)], Lsn(0), position(1)).await.unwrap();
    keyring.erase(&home(1)).await.unwrap();
    assert_eq!(tier.get(ROWS, "a".into()).await.unwrap(), None);
    assert_eq!(tier.scan(ROWS, Vec::new(), None, 9).await.unwrap(), [row("b", 2)]);
    // Nor does it come back; the position moves on all the same.
    tier.commit(ROWS, vec![put("a", 1)], Lsn(1), position(2)).await.unwrap();
    assert_eq!(tier.get(ROWS, "a".into()).await.unwrap(), None);
    assert_eq!(tier.position(ROWS).await.unwrap(), position(2));
}

pub(crate) async fn equal_rows_have_equal_digests_whatever_keys_seal_them<E: TierEngine>() {
    let mut digests = Vec::new();
    for order in [["a", "b"], ["b", "a"], ["a", "c"]] {
        let (engine, (keyring, _place)) = (E::fresh().await, keyring());
        let tier = engine.tier(keyring).await;
        for (lsn, key) in order.iter().enumerate() {
            tier.commit(ROWS, vec![put(key, 1)], Lsn(lsn as u64), position(lsn as u64 + 1)).await.unwrap();
        }
        digests.push(tier.digest(ROWS).await.unwrap());
    }
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
}

pub(crate) async fn a_snapshot_is_loaded_as_saved_and_never_replaced_by_an_older<E: TierEngine>() {
    let (engine, (keyring, _place)) = (E::fresh().await, keyring());
    let tier = engine.tier(keyring.clone()).await;
    let snapshot = |seq| Snapshot { seq: Seq(seq), offset: Offset(seq), bytes: vec![7; 9] };
    assert_eq!(tier.load(SERVICE, entity(1)).await.unwrap(), None);
    for seq in [5, 4] {
        tier.save(SERVICE, entity(1), snapshot(seq)).await.unwrap();
    }
    drop(tier);
    let tier = engine.tier(keyring).await;
    assert_eq!(tier.load(SERVICE, entity(1)).await.unwrap(), Some(snapshot(5)));
    assert_eq!(tier.load(Name::new("users"), entity(1)).await.unwrap(), None);
    tier.save(SERVICE, entity(1), snapshot(6)).await.unwrap();
    assert_eq!(tier.load(SERVICE, entity(1)).await.unwrap(), Some(snapshot(6)));
}

pub(crate) async fn a_snapshot_of_an_erased_home_is_gone<E: TierEngine>() {
    let (engine, (keyring, _place)) = (E::fresh().await, keyring());
    let tier = engine.tier(keyring.clone()).await;
    let snapshot = Snapshot { seq: Seq(1), offset: Offset(1), bytes: vec![7] };
    tier.save(SERVICE, entity(1), snapshot).await.unwrap();
    keyring.erase(&home(1)).await.unwrap();
    assert_eq!(tier.load(SERVICE, entity(1)).await.unwrap(), None);
}
