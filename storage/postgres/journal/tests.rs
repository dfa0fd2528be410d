//! The journal's promises on a real server, and what only a server and a network can do to it.

mod proxy;
mod writers;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::{join, join_all};

use self::proxy::Proxy;
use super::*;
use crate::{
    Epoch, Seq,
    conformance::{Engine, JournalEngine, SERVICE, SHARD, append, entity, home, journal_promises, record},
    journal::{Appended, Cause, Record, RecordKind},
    keyring::MasterKey,
    postgres::testing::{Database, Server, Taking, settings},
};

/// The store of a test.
struct Shared(Database);

impl Engine for Shared {
    async fn fresh() -> Self {
        Self(Database::fresh())
    }
}

impl JournalEngine for Shared {
    type Journal = Taking;

    async fn journal(&self) -> Taking {
        on(&self.0).await
    }
}

journal_promises!(Shared);

const OTHER: ShardId = ShardId { service: SERVICE, number: 2 };

async fn on(database: &Database) -> Taking {
    Taking::open(database.store().await).await
}

async fn append_to(
    journal: &Taking,
    shard: ShardId,
    epoch: Epoch,
    records: Vec<Record>,
) -> Result<Appended, AppendError> {
    let (told, fate) = oneshot::channel();
    journal.append(Group { shard, epoch, records }, Box::new(move |fate| drop(told.send(fate))));
    fate.await.unwrap()
}

async fn all_of(journal: &Taking, shard: ShardId) -> Vec<Arc<Stored>> {
    let (mut all, mut after) = (Vec::new(), Offset(0));
    loop {
        let page = journal.read(shard, after, Limit::default()).await.unwrap();
        let Some(last) = page.last() else { return all };
        after = last.offset;
        all.extend(page);
    }
}

/// What clients of a journal saw: of each entity, the seqs that were acknowledged.
type Acknowledged = BTreeMap<u128, BTreeSet<u64>>;

/// Entities that append one record after the other until they are told to stop; a refused one is tried again.
async fn load(journal: &Taking, epoch: Epoch, entities: u128, stop: &AtomicBool) -> Acknowledged {
    let client = |id: u128| async move {
        let (mut acknowledged, mut seq) = (BTreeSet::new(), 1);
        while !stop.load(Ordering::Relaxed) {
            match append(journal, epoch, vec![record(id, seq, 200)]).await {
                Ok(_) => {
                    acknowledged.insert(seq);
                    seq += 1;
                }
                Err(AppendError::Unreachable { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
        (id, acknowledged)
    };
    join_all((1..=entities).map(client)).await.into_iter().collect()
}

/// Everything acknowledged is there once, everything there was acknowledged, and no place is left out.
async fn nothing_is_lost_or_doubled(journal: &Taking, acknowledged: &Acknowledged) {
    let stored = all_of(journal, SHARD).await;
    let mut found = Acknowledged::new();
    for (index, stored) in stored.iter().enumerate() {
        assert_eq!(stored.offset, Offset(index as u64 + 1));
        let is_new = found.entry(stored.record.entity.id).or_default().insert(stored.record.seq.0);
        assert!(is_new, "{} {} is there twice", stored.record.entity, stored.record.seq);
    }
    found.retain(|_, seqs| !seqs.is_empty());
    let mut acknowledged = acknowledged.clone();
    acknowledged.retain(|_, seqs| !seqs.is_empty());
    assert_eq!(found, acknowledged);
    let mut walked = journal.walk(Lsn(0), Limit { records: 100_000, bytes: 1 << 30 }).await.unwrap();
    walked.retain(|stored| stored.shard == SHARD);
    assert_eq!(walked.len(), stored.len());
    assert!(walked.iter().zip(&stored).all(|(walked, stored)| walked == stored));
}

/// A journal that reaches its database through a proxy.
async fn behind_proxy(database: &Database) -> (Proxy, Taking) {
    let proxy = Proxy::before(Server::shared().directory.join(".s.PGSQL.5432")).await;
    let url =
        format!("host=127.0.0.1 port={} user=postgres dbname={} sslmode=disable", proxy.port, database.name);
    let journal = Taking::open(Store::open(&settings(&url)).await.unwrap()).await;
    (proxy, journal)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_answer_is_lost_is_written_once() {
    // Four of five were passed on.
    const CUTS: usize = 250;
    let database = Database::fresh();
    let (proxy, journal) = behind_proxy(&database).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    let stop = AtomicBool::new(false);
    let cut = async {
        proxy.cuts.make(CUTS).await;
        stop.store(true, Ordering::Relaxed);
    };

    let (acknowledged, ()) = join(load(&journal, epoch, 8, &stop), cut).await;

    journal.close().await;
    nothing_is_lost_or_doubled(&on(&database).await, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_and_comes_back_has_everything_once() {
    const STOPS: usize = 3;
    let server = Arc::new(tokio::task::spawn_blocking(Server::start).await.unwrap());
    let database = server.database();
    let journal = on(&database).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    let stop = AtomicBool::new(false);
    let stops = async {
        let mut durable = journal.durable();
        for _ in 0..STOPS {
            let before = *durable.borrow_and_update();
            // Under load, and then while nothing can be reached.
            durable.wait_for(|lsn| lsn.0 > before.0 + 100).await.unwrap();
            on_server(&server, Server::stop).await;
            until(|| matches!(journal.health(), Health::Unreachable(_))).await;
            on_server(&server, Server::resume).await;
            until(|| journal.health() == Health::Writable).await;
        }
        stop.store(true, Ordering::Relaxed);
    };

    let (acknowledged, ()) = join(load(&journal, epoch, 8, &stop), stops).await;

    journal.close().await;
    nothing_is_lost_or_doubled(&on(&database).await, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_closed_in_doubt_says_that_it_does_not_know() {
    let database = Database::fresh();
    let (proxy, journal) = behind_proxy(&database).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    let cut = async {
        proxy.cuts.make(1).await;
        // Nobody listens there any more.
        drop(proxy);
        until(|| matches!(journal.health(), Health::Unreachable(_))).await;
        journal.close().await;
    };

    // In this order: the append is cut only if the proxy was told before it comes.
    let ((), fate) = join(cut, append(&journal, epoch, vec![record(1, 1, 9)])).await;

    assert!(matches!(fate, Err(AppendError::Poisoned { .. })), "{fate:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_s_key_overrules_is_refused_and_the_rest_is_written() {
    let (database, master) = (Database::fresh(), MasterKey::new([1; 32]));
    let keyring = Arc::new(Keyring::open_in(database.store().await, &master).await.unwrap());
    let other = Keyring::open_in(database.store().await, &master).await.unwrap();
    let journal = on(&database).await;
    journal.sync_first(Arc::clone(&keyring));
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    let sealed =
        |id| Record { body: keyring.seal_ahead(&home(id), b"", b"mine").unwrap(), ..record(id, 1, 0) };
    let (overruled, alone) = (sealed(1), sealed(2));
    other.seal(&home(1), b"", b"theirs").await.unwrap();

    let fates = join(append(&journal, epoch, vec![overruled]), append(&journal, epoch, vec![alone])).await;

    assert_eq!(fates.0, Err(AppendError::Overruled { entity: entity(1) }));
    fates.1.unwrap();
    append(&journal, epoch, vec![sealed(1)]).await.unwrap();
    assert_eq!(all_of(&journal, SHARD).await.len(), 2);
}

/// Starts or stops a server beside the test's tasks.
async fn on_server(server: &Arc<Server>, what: fn(&Server)) {
    let server = Arc::clone(server);
    tokio::task::spawn_blocking(move || what(&server)).await.unwrap();
}

/// Waits for a condition to hold.
async fn until(holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), held).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_the_store_is_out_of_reach_is_refused_and_taken_afterwards() {
    let server = Arc::new(tokio::task::spawn_blocking(Server::start).await.unwrap());
    let journal = on(&server.database()).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    on_server(&server, Server::stop).await;
    until(|| matches!(journal.health(), Health::Unreachable(_))).await;

    let refused = append(&journal, epoch, vec![record(1, 1, 9)]).await;
    let unclaimed = journal.claim(OTHER).await;

    assert!(matches!(refused, Err(AppendError::Unreachable { .. })), "{refused:?}");
    assert!(matches!(unclaimed, Err(AppendError::Unreachable { .. })), "{unclaimed:?}");
    on_server(&server, Server::resume).await;
    until(|| journal.health() == Health::Writable).await;
    append(&journal, epoch, vec![record(1, 1, 9)]).await.unwrap();
    assert_eq!(all_of(&journal, SHARD).await.len(), 1);
}

/// What the second claimer has appended: a copy of the first record, behind it.
const RECORD_OF_ANOTHER: &str = "insert into record (off, seq, epoch, at_ms, number, version, kind, home_kind, home_id, \
    entity_id, batch, service, entity_kind, name, body) select 2, 2, epoch + 1, at_ms, number, version, kind, \
    home_kind, home_id, entity_id, batch, service, entity_kind, name, body from record where number = 1; \
    update shard set tail = 2 where number = 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_claimer_fences_the_first_and_leaves_its_other_shards() {
    let database = Database::fresh();
    let first = on(&database).await;
    let (mine, other) = (first.claim(SHARD).await.unwrap(), first.claim(OTHER).await.unwrap());
    append(&first, mine.epoch, vec![record(1, 1, 9)]).await.unwrap();
    database.execute("update shard set epoch = epoch + 1 where number = 1").await;

    let (fenced, passed) = join(
        append(&first, mine.epoch, vec![record(3, 1, 9)]),
        append_to(&first, OTHER, other.epoch, vec![record(2, 1, 9)]),
    )
    .await;

    let current = mine.epoch.next();
    assert_eq!(fenced, Err(AppendError::Fenced { shard: SHARD, current, claimed: mine.epoch }));
    passed.unwrap();
    // Whoever claims again goes on where the other's history ends.
    database.execute(RECORD_OF_ANOTHER).await;
    let again = first.claim(SHARD).await.unwrap();
    assert_eq!(again, Claim { epoch: current.next(), tail: Offset(2) });
    append(&first, again.epoch, vec![record(1, 3, 9)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_the_store_forgot_takes_nothing_more_and_others_go_on() {
    let database = Database::fresh();
    let journal = on(&database).await;
    let (mine, other) = (journal.claim(SHARD).await.unwrap(), journal.claim(OTHER).await.unwrap());
    append(&journal, mine.epoch, vec![record(1, 1, 9), record(1, 2, 9)]).await.unwrap();
    database.execute("delete from record where off = 2; update shard set tail = 1 where number = 1").await;

    let refused = append(&journal, mine.epoch, vec![record(1, 3, 9)]).await;

    let known = Claim { tail: Offset(2), ..mine };
    let rolled_back =
        AppendError::RolledBack { shard: SHARD, known, found: Claim { tail: Offset(1), ..mine } };
    assert_eq!(refused, Err(rolled_back.clone()));
    assert_eq!(append(&journal, mine.epoch, vec![record(1, 2, 9)]).await, Err(rolled_back.clone()));
    assert_eq!(journal.claim(SHARD).await, Err(rolled_back));
    append_to(&journal, OTHER, other.epoch, vec![record(2, 1, 9)]).await.unwrap();
    assert_eq!(all_of(&journal, SHARD).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entity_that_is_not_remembered_still_goes_on_from_its_last_record() {
    let database = Database::fresh();
    let journal = on(&database).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    append(&journal, epoch, vec![record(1, 1, 9), record(1, 2, 9)]).await.unwrap();
    journal.close().await;
    let journal = on(&database).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;

    append(&journal, epoch, vec![record(1, 3, 9), record(2, 1, 9)]).await.unwrap();

    for (id, seq) in [(1, 3), (1, 5), (2, 1), (2, 3), (3, 2)] {
        let refused = append(&journal, epoch, vec![record(id, seq, 9)]).await;
        assert_eq!(refused, Err(AppendError::OutOfOrder { entity: entity(id), expected: Seq(seq - 1) }));
    }
    assert_eq!(all_of(&journal, SHARD).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entity_that_is_begun_twice_is_refused_and_its_batch_goes_on() {
    let database = Database::fresh();
    let journal = on(&database).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    append(&journal, epoch, vec![record(1, 1, 9)]).await.unwrap();
    journal.close().await;
    let journal = on(&database).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;

    let appends = [1, 2, 3].map(|id| append(&journal, epoch, vec![record(id, 1, 9)]));
    let fates = join_all(appends).await;

    assert_eq!(fates[0], Err(AppendError::OutOfOrder { entity: entity(1), expected: Seq(0) }));
    assert!(fates[1].is_ok() && fates[2].is_ok());
    assert_eq!(all_of(&journal, SHARD).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entity_is_read_on_from_any_offset() {
    let database = Database::fresh();
    let journal = on(&database).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    for seq in 1..=5 {
        append(&journal, epoch, vec![record(1, seq, 9), record(2, seq, 9)]).await.unwrap();
    }
    // Its records have the odd offsets.
    for (after, expected) in [(0, 5), (1, 4), (2, 4), (3, 3), (8, 1), (9, 0), (u64::MAX, 0)] {
        let page = journal.read_entity(SERVICE, entity(1), Offset(after), Limit::default()).await.unwrap();
        assert_eq!(page.len(), expected, "after {after}");
        assert!(page.iter().all(|stored| stored.offset.0 > after && stored.record.entity == entity(1)));
    }
    assert_eq!(journal.read_home(SERVICE, home(1), Offset(u64::MAX), Limit::default()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_read_back_with_all_its_fields() {
    let database = Database::fresh();
    let journal = on(&database).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    let cause = Cause { shard: OTHER, offset: Offset(7) };
    let full = Record {
        kind: RecordKind::Outgoing,
        name: Name::new("step"),
        version: u16::MAX,
        at_ms: i64::MIN,
        by: u128::MAX,
        trace: 1,
        caused_by: Some(cause),
        ..record(u128::MAX, 1, 3)
    };
    let empty = Record { at_ms: 0, by: 0, trace: 0, body: Vec::new(), ..record(u128::MAX, 2, 0) };
    append(&journal, epoch, vec![full.clone(), empty.clone()]).await.unwrap();

    let read = all_of(&journal, SHARD).await;

    assert_eq!(read.iter().map(|stored| stored.record.clone()).collect::<Vec<_>>(), [full, empty]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_node_is_walked_page_by_page_in_one_order() {
    let database = Database::fresh();
    let journal = on(&database).await;
    let (mine, other) = (journal.claim(SHARD).await.unwrap(), journal.claim(OTHER).await.unwrap());
    let appends = (1..=40).map(|id| {
        let (shard, epoch) = if id % 3 == 0 { (OTHER, other.epoch) } else { (SHARD, mine.epoch) };
        append_to(&journal, shard, epoch, (1..=id % 4 + 1).map(|seq| record(id.into(), seq, 100)).collect())
    });
    assert!(join_all(appends).await.iter().all(Result::is_ok));
    let recent = journal.walk(Lsn(0), Limit::default()).await.unwrap();
    journal.close().await;
    // Without what is in memory.
    let journal = on(&database).await;

    for limit in [Limit { records: 1, bytes: 1 << 20 }, Limit { records: 7, bytes: 450 }, Limit::default()] {
        let (mut walked, mut after) = (Vec::new(), Lsn(0));
        loop {
            let page = journal.walk(after, limit).await.unwrap();
            assert!(page.len() <= limit.records);
            let Some(last) = page.last() else { break };
            after = last.lsn;
            walked.extend(page);
        }
        assert_eq!(walked, recent);
        assert!(walked.iter().zip(1..).all(|(stored, lsn)| stored.lsn == Lsn(lsn)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_have_grown_are_looked_at_without_the_server_s_own_round() {
    let database = Database::fresh();
    let journal = on(&database).await;
    database.execute("alter table record set (autovacuum_enabled = false)").await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    let client = database.store().await.client().await.unwrap();
    let known = "select reltuples::int8 from pg_class where relname = 'record'";
    let known = async || client.query_one(known, &[]).await.unwrap().get::<_, i64>(0);

    append(&journal, epoch, (1..=999).map(|seq| record(1, seq, 20)).collect()).await.unwrap();
    let before = known().await;
    append(&journal, epoch, vec![record(1, 1_000, 20)]).await.unwrap();

    assert!(before <= 0, "nobody has looked yet");
    let is_known = async {
        while known().await < 1_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), is_known).await.unwrap();
}
