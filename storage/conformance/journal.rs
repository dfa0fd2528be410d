//! Promises of the journal.

use std::{collections::BTreeSet, sync::Arc};

use super::{JournalEngine, SERVICE, SHARD, append, entity, home, record};
use crate::{
    EntityRef, Journal, Lsn, Name, Offset, Seq,
    journal::{AppendError, Group, Limit, Record, RecordKind, Stored},
};

/// All records, page by page.
async fn walked(journal: &impl Journal, limit: Limit) -> Vec<Arc<Stored>> {
    let (mut all, mut after) = (Vec::<Arc<Stored>>::new(), Lsn(0));
    loop {
        let page = journal.walk(after, limit).await.unwrap();
        assert!(page.len() <= limit.records);
        let Some(last) = page.last() else { return all };
        after = last.lsn;
        all.extend(page);
    }
}

/// Events of the shard.
async fn events(journal: &impl Journal) -> Vec<Arc<Stored>> {
    let mut page = journal.read(SHARD, Offset(0), Limit::default()).await.unwrap();
    for (index, stored) in page.iter().enumerate() {
        assert_eq!(stored.offset, Offset(index as u64 + 1), "offsets have no gap");
    }
    page.retain(|stored| stored.record.kind == RecordKind::Event);
    page
}

pub(crate) async fn records_are_there_after_a_restart_by_every_way_of_reading<E: JournalEngine>() {
    let engine = E::fresh().await;
    let journal = engine.journal().await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    for seq in 1..=50 {
        append(&journal, epoch, vec![record(1, seq, 60), record(2, seq, 60)]).await.unwrap();
    }
    journal.close().await;
    drop(journal);

    let journal = engine.journal().await;

    let whole = events(&journal).await;
    let expected: Vec<_> = (1..=50).flat_map(|seq| [record(1, seq, 60), record(2, seq, 60)]).collect();
    assert_eq!(whole.iter().map(|stored| stored.record.clone()).collect::<Vec<_>>(), expected);
    let mut by_walk = walked(&journal, Limit { records: 7, bytes: 1000 }).await;
    by_walk.retain(|stored| stored.record.kind == RecordKind::Event);
    assert_eq!(by_walk, whole);
    let of_one: Vec<_> = whole.iter().filter(|stored| stored.record.entity == entity(1)).cloned().collect();
    let limit = Limit::default();
    assert_eq!(journal.read_entity(SERVICE, entity(1), Offset(0), limit).await.unwrap(), of_one);
    assert_eq!(journal.read_home(SERVICE, home(1), Offset(0), limit).await.unwrap(), of_one);
    let after = of_one[9].offset;
    assert_eq!(journal.read_home(SERVICE, home(1), after, limit).await.unwrap(), of_one[10..]);
    assert_eq!(journal.read_home(Name::new("users"), home(1), Offset(0), limit).await.unwrap(), []);
}

pub(crate) async fn a_page_ends_at_its_limits_and_holds_a_record_at_least<E: JournalEngine>() {
    let engine = E::fresh().await;
    let journal = engine.journal().await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    for seq in 1..=9 {
        append(&journal, epoch, vec![record(1, seq, 1000)]).await.unwrap();
    }
    for (records, bytes, expected) in [(4, 1 << 20, 4), (100, 3000, 3), (100, 1, 1)] {
        let limit = Limit { records, bytes };
        assert_eq!(journal.read(SHARD, Offset(0), limit).await.unwrap().len(), expected);
        assert_eq!(journal.read_home(SERVICE, home(1), Offset(0), limit).await.unwrap().len(), expected);
        assert_eq!(journal.read_entity(SERVICE, entity(1), Offset(0), limit).await.unwrap().len(), expected);
    }
}

pub(crate) async fn entities_of_a_home_are_told_apart<E: JournalEngine>() {
    let engine = E::fresh().await;
    let journal = engine.journal().await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    let member = EntityRef { kind: Name::new("member"), ..entity(1) };
    let second = EntityRef { id: 2, ..entity(1) };
    for of in [entity(1), member, second] {
        append(&journal, epoch, vec![Record { entity: of, ..record(1, 1, 9) }]).await.unwrap();
    }
    for of in [entity(1), member, second] {
        let page = journal.read_entity(SERVICE, of, Offset(0), Limit::default()).await.unwrap();
        assert_eq!(page.iter().map(|stored| stored.record.entity).collect::<Vec<_>>(), [of]);
    }
    assert_eq!(journal.read_home(SERVICE, home(1), Offset(0), Limit::default()).await.unwrap().len(), 3);
}

#[expect(clippy::disallowed_methods, reason = "tasks stand for entities, and each is awaited")]
pub(crate) async fn offsets_have_no_gap_over_many_appenders<E: JournalEngine>() {
    let engine = E::fresh().await;
    let journal = Arc::new(engine.journal().await);
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    let appenders = (1..=16_u128).map(|id| {
        let journal = Arc::clone(&journal);
        tokio::task::spawn(async move {
            let mut offsets = Vec::new();
            for seq in 1..=50 {
                offsets.push(append(&*journal, epoch, vec![record(id, seq, 200)]).await.unwrap().first);
            }
            assert!(offsets.is_sorted());
            offsets
        })
    });
    let mut all = BTreeSet::new();
    for appender in appenders.collect::<Vec<_>>() {
        all.extend(appender.await.unwrap());
    }
    assert_eq!(all.len(), 16 * 50);
    assert_eq!(events(&*journal).await.len(), 16 * 50);
}

pub(crate) async fn a_group_is_there_whole_or_not_at_all<E: JournalEngine>() {
    let engine = E::fresh().await;
    let journal = engine.journal().await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    append(&journal, epoch, vec![record(1, 1, 9)]).await.unwrap();
    let gap = append(&journal, epoch, vec![record(1, 2, 9), record(1, 4, 9)]).await;
    assert_eq!(gap, Err(AppendError::OutOfOrder { entity: entity(1), expected: Seq(3) }));
    for records in [vec![record(1, 2, Group::MAX_BYTES + 1)], Vec::new()] {
        assert!(matches!(append(&journal, epoch, records).await, Err(AppendError::Size { .. })));
    }
    assert_eq!(events(&journal).await.len(), 1);
}

pub(crate) async fn an_earlier_owner_can_no_longer_append<E: JournalEngine>() {
    let engine = E::fresh().await;
    let journal = engine.journal().await;
    let earlier = journal.claim(SHARD).await.unwrap();
    append(&journal, earlier.epoch, vec![record(1, 1, 9)]).await.unwrap();
    let newer = journal.claim(SHARD).await.unwrap();
    assert!(newer.epoch > earlier.epoch && newer.tail > earlier.tail);

    let late = append(&journal, earlier.epoch, vec![record(1, 2, 9)]).await;

    let fenced = AppendError::Fenced { shard: SHARD, current: newer.epoch, claimed: earlier.epoch };
    assert_eq!(late, Err(fenced));
    append(&journal, newer.epoch, vec![record(1, 2, 9)]).await.unwrap();
    assert_eq!(events(&journal).await.len(), 2);
}

pub(crate) async fn a_new_start_has_a_higher_epoch<E: JournalEngine>() {
    let engine = E::fresh().await;
    let journal = engine.journal().await;
    journal.claim(SHARD).await.unwrap();
    let before = journal.claim(SHARD).await.unwrap();
    journal.close().await;
    drop(journal);
    let after = engine.journal().await.claim(SHARD).await.unwrap();
    assert!(after.epoch > before.epoch && after.tail >= before.tail);
}

pub(crate) async fn a_closed_journal_has_everything_it_took_and_takes_nothing_more<E: JournalEngine>() {
    let engine = E::fresh().await;
    let journal = engine.journal().await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    append(&journal, epoch, vec![record(1, 1, 9)]).await.unwrap();
    journal.close().await;
    assert_eq!(append(&journal, epoch, vec![record(1, 2, 9)]).await, Err(AppendError::Closed));
    assert_eq!(journal.claim(SHARD).await, Err(AppendError::Closed));
    assert_eq!(events(&journal).await.len(), 1);
}

pub(crate) async fn readers_are_woken_by_what_is_durable<E: JournalEngine>() {
    let engine = E::fresh().await;
    let journal = engine.journal().await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    let mut durable = journal.durable();
    let before = *durable.borrow_and_update();
    let appended = append(&journal, epoch, vec![record(1, 1, 9)]).await.unwrap();
    let seen = *durable.wait_for(|lsn| *lsn > before).await.unwrap();
    assert_eq!(seen, appended.last_lsn);
    assert_eq!(journal.walk(before, Limit::default()).await.unwrap().last().unwrap().lsn, seen);
}
