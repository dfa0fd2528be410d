//! Moving a data directory to a real PostgreSQL: everything, once, whatever happens on the way.

mod wrong;

use std::{future::poll_fn, path::PathBuf, pin::pin, task::Poll};

use super::*;
use crate::{
    EntityRef, Epoch, Home, HomeKind, Journal, Seq,
    embedded::{EmbeddedJournal, moved_to},
    journal::{Cause, Group, Record, RecordKind, Stored},
    keyring::Keyring,
    postgres::testing::{Database, Server, Taking},
};

const SHARDS: [ShardId; 3] = [
    ShardId { service: Name::new("tenancy"), number: 1 },
    ShardId { service: Name::new("tenancy"), number: 2 },
    ShardId { service: Name::new("users"), number: 200 },
];
/// More than one batch of them.
const ROUNDS: u64 = 40;
const A_ROUND: u64 = 30;
/// Rounds enough for a segment: what the journal knows of fences ends there.
const BETWEEN_FENCES: u64 = 15;

fn home(number: u128) -> Home {
    Home { kind: if number == 3 { HomeKind::Account } else { HomeKind::Tenant }, id: number }
}

fn record(number: u128, seq: u64, caused_by: Option<Cause>) -> Record {
    Record {
        kind: if seq.is_multiple_of(7) { RecordKind::Cursor } else { RecordKind::Event },
        entity: EntityRef { home: home(number), kind: Name::new("thing"), id: number << 100 | 7 },
        seq: Seq(seq),
        name: Name::new("happened"),
        version: 3,
        at_ms: 1_767_268_800_000 + i64::try_from(seq).unwrap(),
        by: if seq.is_multiple_of(2) { 0 } else { u128::MAX },
        trace: u128::from(seq.is_multiple_of(3)),
        caused_by,
        body: seq.to_be_bytes().repeat(usize::try_from(seq % 20).unwrap()),
    }
}

/// A data directory, and a database to move it to.
struct Case {
    place: tempfile::TempDir,
    database: Database,
    store: Store,
}

impl Case {
    async fn new() -> Self {
        Self::on(Database::fresh()).await
    }

    async fn on(database: Database) -> Self {
        let store = database.store().await;
        let case = Self { place: tempfile::tempdir().unwrap(), database, store };
        std::fs::create_dir(case.data()).unwrap();
        let keyring = case.keyring();
        for number in 1..=4 {
            keyring.seal(&home(number), b"place", b"plain").await.unwrap();
        }
        keyring.erase(&home(4)).await.unwrap();
        keyring.secret("signing", || vec![9; 40]).await.unwrap();
        case.write(0, ROUNDS).await;
        case
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    fn keyring(&self) -> Keyring {
        let directory = self.data().join("keyring");
        Keyring::open(&directory, &MasterKey::in_directory(&directory).unwrap()).unwrap()
    }

    fn journal(&self) -> EmbeddedJournal {
        EmbeddedJournal::open(&self.data().join("journal"), 64 * 1024).unwrap().0
    }

    /// A start of the node, which writes rounds of records over its shards, and takes one after the other over anew.
    async fn write(&self, from: u64, to: u64) {
        let journal = self.journal();
        let mut epochs = Vec::new();
        for shard in SHARDS {
            epochs.push(journal.claim(shard).await.unwrap().epoch);
        }
        for round in from..to {
            for (at, shard) in SHARDS.into_iter().enumerate() {
                // Leaves a fence, with the same id in every shard.
                if round == from + at as u64 * BETWEEN_FENCES {
                    epochs[at] = journal.claim(shard).await.unwrap().epoch;
                }
                let number = at as u128 + 1;
                let cause = Cause { shard: SHARDS[0], offset: Offset(round + 1) };
                let seqs = round * A_ROUND + 1..=(round + 1) * A_ROUND;
                let records = seqs.map(|seq| record(number, seq, (number == 3).then_some(cause))).collect();
                append(&journal, shard, epochs[at], records).await;
            }
        }
        journal.close().await;
    }

    fn migration(&self) -> Migration<'_> {
        // `from` must outlive it.
        let from: &Path = Box::leak(self.data().into_boxed_path());
        let progress = Arc::new(watch::Sender::new(Progress::default()));
        Migration { from, to: &self.store, master: None, patience: PATIENCE, progress }
    }

    async fn run(&self) -> Result<Moved, Error> {
        self.migration().run().await
    }

    async fn verify(&self) -> Result<Moved, Error> {
        self.migration().verify().await
    }

    /// Runs until it has come so far, and stops it there as a kill would.
    async fn run_until(&self, is_there: impl Fn(&Progress) -> bool) {
        let migration = self.migration();
        let mut run = pin!(migration.run());
        poll_fn(|context| match run.as_mut().poll(context) {
            Poll::Ready(ended) => panic!("it ended before: {ended:?}"),
            Poll::Pending if is_there(&migration.progress.borrow()) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        })
        .await;
    }

    fn source(&self) -> Vec<Stored> {
        let source = Source::take(&self.data()).unwrap();
        let (mut records, mut all) = (source.records().unwrap(), Vec::new());
        while let Some(stored) = records.next_record().unwrap() {
            all.push(stored);
        }
        all
    }

    async fn taking(&self) -> Taking {
        Taking::open(self.store.clone()).await
    }

    /// The store's records as a node walks them.
    async fn walked(&self) -> Vec<Stored> {
        let (journal, mut all, mut after) = (self.taking().await, Vec::new(), Lsn(0));
        loop {
            let page = journal.walk(after, Limit::default()).await.unwrap();
            let Some(last) = page.last() else { return all };
            after = last.lsn;
            all.extend(page.into_iter().map(Arc::unwrap_or_clone));
        }
    }

    /// Everything is there, once, and nodes may start.
    async fn is_moved(&self, expected: &[Stored]) {
        assert_eq!(self.walked().await, expected);
        assert!(!self.store.is_arriving().await.unwrap());
        let opened = EmbeddedJournal::open(&self.data().join("journal"), 4096).map(|_| ());
        assert!(matches!(opened, Err(OpenError::Moved { .. })), "{opened:?}");
        self.verify().await.unwrap();
    }
}

async fn append(journal: &impl Journal, shard: ShardId, epoch: Epoch, records: Vec<Record>) -> Offset {
    let (told, fate) = tokio::sync::oneshot::channel();
    journal.append(Group { shard, epoch, records }, Box::new(move |fate| drop(told.send(fate))));
    fate.await.unwrap().unwrap().first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_as_it_was_by_every_way_of_reading() {
    let case = Case::new().await;
    case.write(ROUNDS, ROUNDS + 1).await;
    let before = case.source();
    let fences = before.iter().filter(|stored| stored.record.kind == RecordKind::Fence);
    assert_eq!(
        fences.map(|stored| stored.epoch.0).collect::<Vec<_>>(),
        [2, 2, 2, 4],
        "they share their epochs"
    );
    let own = case.journal();
    let shards_of = async |journal: &dyn Journal| {
        let mut all = Vec::new();
        for shard in SHARDS {
            let limit = Limit { records: 100_000, bytes: 100_000_000 };
            all.push(journal.read(shard, Offset(0), limit).await.unwrap());
            let entity = record(3, 1, None).entity;
            all.push(journal.read_home(shard.service, home(1), Offset(7), limit).await.unwrap());
            all.push(journal.read_entity(shard.service, entity, Offset(50), limit).await.unwrap());
        }
        let is_no_fence = |stored: &Arc<Stored>| stored.record.kind != RecordKind::Fence;
        all.into_iter().flatten().filter(is_no_fence).collect::<Vec<_>>()
    };
    let expected = shards_of(&own).await;
    drop(own);

    let moved = case.run().await.unwrap();

    case.is_moved(&before).await;
    assert_eq!(shards_of(&*case.taking().await).await, expected);
    assert_eq!(moved.records, before.len() as u64);
    let of = |shards: u64, fences| Service { shards, records: shards * (ROUNDS + 1) * A_ROUND + fences };
    let services = [(Name::new("tenancy"), of(2, 3)), (Name::new("users"), of(1, 1))];
    assert_eq!(moved.services, BTreeMap::from(services));
    // Three homes, what is signed with, and what hashes are keyed with.
    assert_eq!((moved.keys, moved.erased, moved.has_master_key), (5, 1, true));
    assert_eq!(moved.resumed_behind, Lsn(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_the_store_goes_on_behind_the_last_record_under_a_higher_epoch() {
    let case = Case::new().await;
    let before = case.source();
    let highest = before.iter().map(|stored| stored.epoch).max().unwrap();
    case.run().await.unwrap();
    let journal = case.taking().await;

    for (number, shard) in (1..).zip(SHARDS) {
        let tail = before.iter().rfind(|stored| stored.shard == shard).unwrap().offset;
        let claim = journal.claim(shard).await.unwrap();
        assert!(claim.epoch > highest && claim.tail == tail, "{claim} after {highest}, {tail}");

        let seq = ROUNDS * A_ROUND + 1;
        let first = append(&journal, shard, claim.epoch, vec![record(number, seq, None)]).await;

        assert_eq!(first, tail.next());
    }
    let end = *journal.durable().borrow();
    assert_eq!(end, Lsn(before.len() as u64 + 3));
    journal.close().await;
    case.verify().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_open_what_they_sealed_and_what_was_destroyed_stays_so() {
    let case = Case::new().await;
    let own = case.keyring();
    let sealed = own.seal(&home(1), b"place", b"plain").await.unwrap();
    let (hash, secret) = (own.hash("purpose", b"x"), own.known_secret("signing").await.unwrap());
    drop(own);

    case.run().await.unwrap();

    let master = MasterKey::in_directory(&case.data().join("keyring")).unwrap();
    let keyring = Keyring::open_in(case.store.clone(), &master).await.unwrap();
    assert_eq!(keyring.open_sealed(&home(1), b"place", &sealed).unwrap(), b"plain");
    assert_eq!(keyring.hash("purpose", b"x"), hash);
    assert_eq!(keyring.known_secret("signing").await.unwrap(), secret);
    assert!(keyring.is_erased(&home(4)));
    // Who is erased there later is no difference.
    keyring.erase(&home(2)).await.unwrap();
    case.verify().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_was_killed_anywhere_goes_on_and_ends_the_same() {
    let points = [
        (Phase::Copying, 0, false),
        (Phase::Copying, 1_000, false),
        (Phase::Copying, 3_000, false),
        (Phase::Keys, 0, false),
        (Phase::Comparing, 0, false),
        (Phase::Comparing, 2_000, false),
        (Phase::Marking, 0, false),
        (Phase::Marking, 0, true),
    ];
    for (phase, done, is_marked) in points {
        let case = Case::new().await;
        let before = case.source();

        let marked = || moved_to(&case.data().join("journal")).unwrap().is_some();
        let is_there = |progress: &Progress| progress.phase == phase && progress.done >= done;
        case.run_until(|progress| is_there(progress) && marked() == is_marked).await;

        assert!(case.store.is_arriving().await.unwrap(), "no node starts on a part, {phase:?}");
        let moved = case.run().await.unwrap();
        assert!(moved.resumed_behind >= Lsn(if phase == Phase::Copying { done } else { moved.records }));
        case.is_moved(&before).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_killed_again_and_again_ends_the_same() {
    let case = Case::new().await;
    let before = case.source();
    for kill in 1..=4 {
        case.run_until(|progress| progress.phase == Phase::Copying && progress.done >= kill * 900).await;
    }
    assert!(case.run().await.unwrap().resumed_behind > Lsn(1_000));
    case.is_moved(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_went_on_after_a_kill_is_moved_with_what_it_wrote_and_erased_since() {
    let case = Case::new().await;
    case.run_until(|progress| progress.phase == Phase::Comparing).await;
    case.write(ROUNDS, ROUNDS + 2).await;
    case.keyring().erase(&home(2)).await.unwrap();
    let before = case.source();

    let moved = case.run().await.unwrap();

    assert_eq!(moved.erased, 2);
    case.is_moved(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_never_did_anything_is_moved_as_well() {
    let case = Case { place: tempfile::tempdir().unwrap(), ..Case::new().await };
    std::fs::create_dir(case.data()).unwrap();
    drop((case.keyring(), case.journal()));

    let moved = case.run().await.unwrap();

    assert_eq!((moved.records, moved.keys), (0, 1), "what hashes are keyed with");
    case.is_moved(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_gone_for_a_while_is_waited_for() {
    let server = Server::start();
    let case = Case::on(server.database()).await;
    let before = case.source();
    let migration = case.migration();
    let mut progress = migration.progress.subscribe();
    let away = async {
        drop(progress.wait_for(|progress| progress.done >= 1_000 && progress.phase == Phase::Copying).await);
        server.stop();
        let waits = progress.wait_for(|progress| progress.trouble.is_some()).await.unwrap().clone();
        server.resume();
        waits
    };

    let (moved, waits) = tokio::join!(migration.run(), away);

    assert_eq!((moved.unwrap().resumed_behind, waits.phase), (Lsn(0), Phase::Copying));
    case.is_moved(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_come_back_ends_it_and_it_can_be_run_again() {
    let server = Server::start();
    let case = Case::on(server.database()).await;
    let before = case.source();
    let migration = Migration { patience: Duration::from_millis(300), ..case.migration() };
    let mut progress = migration.progress.subscribe();
    let away = async {
        drop(progress.wait_for(|progress| progress.done >= 1_000 && progress.phase == Phase::Copying).await);
        server.stop();
    };

    let (ended, ()) = tokio::join!(migration.run(), away);

    let error = ended.unwrap_err();
    assert!(error.is_passing(), "{error:?}");
    drop(case.journal());
    server.resume();
    assert!(case.run().await.unwrap().resumed_behind >= Lsn(1_000));
    case.is_moved(&before).await;
}
