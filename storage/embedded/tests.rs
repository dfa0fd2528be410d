//! The journal over disks that lie, fill up and lose power.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, mpsc},
};

use futures_util::FutureExt;

use super::{
    EmbeddedJournal, OpenError, SledTier,
    disk::{Disk, DiskFile},
};
use crate::{
    Epoch, Journal, Lsn, Offset, Seq,
    conformance::{
        Engine, JournalEngine, SHARD, TierEngine, append, entity, journal_promises, record, tier_promises,
    },
    journal::{AppendError, Group, Health, Limit, Record, RecordKind},
    keyring::{Keyring, MasterKey},
};

const SEGMENT: u64 = 4096;

/// A disk in memory: what is written and what is synced are two things.
#[derive(Clone, Default)]
struct TestDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<String, Arc<Mutex<Bytes>>>,
    fail_sync: bool,
    full_after: Option<u64>,
}

#[derive(Default, Clone)]
struct Bytes {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Writes since the last sync: position and bytes.
    unsynced: Vec<(u64, Vec<u8>)>,
}

struct TestFile(Arc<Mutex<Bytes>>, Arc<Mutex<State>>);

impl Disk for TestDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let bytes = Arc::clone(self.0.lock().unwrap().files.entry(name.to_owned()).or_default());
        Ok(Arc::new(TestFile(bytes, Arc::clone(&self.0))))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().files.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for TestFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let end = position + bytes.len() as u64;
        if self.1.lock().unwrap().full_after.is_some_and(|full| end > full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut file = self.0.lock().unwrap();
        put(&mut file.now, position, bytes);
        file.unsynced.push((position, bytes.to_vec()));
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        let start = usize::try_from(position).unwrap();
        let file = self.0.lock().unwrap();
        bytes.copy_from_slice(file.now.get(start..start + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.1.lock().unwrap().fail_sync {
            return Err(io::Error::other("the device is gone"));
        }
        let mut file = self.0.lock().unwrap();
        file.synced = file.now.clone();
        file.unsynced.clear();
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().now.resize(usize::try_from(length).unwrap(), 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }
}

fn put(target: &mut Vec<u8>, position: u64, bytes: &[u8]) {
    let start = usize::try_from(position).unwrap();
    target.resize(target.len().max(start + bytes.len()), 0);
    target[start..start + bytes.len()].copy_from_slice(bytes);
}

impl TestDisk {
    /// The power goes: of what was not synced, any subset of sectors made it.
    fn cut_power(&self, dice: &mut Dice) -> Self {
        let files = self.0.lock().unwrap().files.clone();
        let survivors = files.into_iter().map(|(name, file)| {
            let file = file.lock().unwrap().clone();
            let mut left = file.synced;
            for (position, bytes) in file.unsynced {
                for (sector, chunk) in bytes.chunks(512).enumerate() {
                    if dice.roll(2) == 0 {
                        put(&mut left, position + (sector * 512) as u64, chunk);
                    }
                }
            }
            (name, Arc::new(Mutex::new(Bytes { now: left.clone(), synced: left, unsynced: Vec::new() })))
        });
        Self(Arc::new(Mutex::new(State { files: survivors.collect(), ..State::default() })))
    }

    /// The same bytes, all on the device.
    fn copied(&self, edit: impl Fn(&str, &mut Vec<u8>)) -> Self {
        let files = self.0.lock().unwrap().files.clone();
        let files = files.into_iter().map(|(name, file)| {
            let mut now = file.lock().unwrap().now.clone();
            edit(&name, &mut now);
            (name, Arc::new(Mutex::new(Bytes { now: now.clone(), synced: now, unsynced: Vec::new() })))
        });
        Self(Arc::new(Mutex::new(State { files: files.collect(), ..State::default() })))
    }

    fn open(&self) -> Result<EmbeddedJournal, OpenError> {
        EmbeddedJournal::on(Arc::new(self.clone()), SEGMENT, None).map(|(journal, _)| journal)
    }

    fn segment_bytes(&self, name: &str) -> Vec<u8> {
        self.0.lock().unwrap().files[name].lock().unwrap().now.clone()
    }

    fn newest(&self) -> String {
        let names = self.list().unwrap();
        names.into_iter().rfind(|name| name.ends_with(".seg")).unwrap()
    }
}

/// Randomness that a seed repeats (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

async fn seqs(journal: &EmbeddedJournal) -> Vec<u64> {
    let page = journal.read(SHARD, Offset(0), Limit::default()).await.unwrap();
    for (index, stored) in page.iter().enumerate() {
        assert_eq!(stored.offset, Offset(index as u64 + 1), "offsets have no gap");
    }
    page.iter()
        .filter(|stored| stored.record.kind == RecordKind::Event)
        .map(|stored| stored.record.seq.0)
        .collect()
}

/// A journal with seqs 1 to `count` of one entity, each its own batch.
async fn filled(disk: &TestDisk, count: u64) -> EmbeddedJournal {
    let journal = disk.open().unwrap();
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    for seq in 1..=count {
        append(&journal, epoch, vec![record(1, seq, 100)]).await.unwrap();
    }
    journal
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart_over_many_segments() {
    let disk = TestDisk::default();
    filled(&disk, 200).await.close().await;
    assert!(disk.list().unwrap().iter().filter(|name| name.ends_with(".seg")).count() > 5);

    let journal = disk.open().unwrap();

    assert_eq!(seqs(&journal).await, (1..=200).collect::<Vec<_>>());
    let last = *journal.durable().borrow();
    assert_eq!(last, Lsn(200));
}

#[tokio::test]
async fn the_newest_segment_cut_anywhere_in_its_last_batch_loses_only_that_batch() {
    let disk = TestDisk::default();
    let journal = filled(&disk, 10).await;
    let newest = disk.newest();
    let before = used(&disk.segment_bytes(&newest));
    append(&journal, Epoch(1), vec![record(1, 11, 100)]).await.unwrap();
    journal.close().await;
    assert_eq!(disk.newest(), newest);
    let whole = used(&disk.segment_bytes(&newest));

    for cut in before..whole {
        let torn = disk.copied(|name, bytes| {
            if name == newest {
                bytes.truncate(cut);
            }
        });
        assert_eq!(seqs(&torn.open().unwrap()).await, (1..=10).collect::<Vec<_>>(), "cut at byte {cut}");
    }
    let untouched = disk.copied(|_, _| ());
    assert_eq!(seqs(&untouched.open().unwrap()).await, (1..=11).collect::<Vec<_>>());
}

/// Bytes up to the last that is not zero.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[tokio::test]
async fn damage_before_valid_batches_refuses_to_open_and_says_where() {
    let disk = TestDisk::default();
    filled(&disk, 100).await.close().await;
    let names: Vec<_> = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".seg")).collect();

    for (segment, position) in [(&names[0], 500), (&names[0], 3000), (&names[1], 40)] {
        let damaged = disk.copied(|name, bytes| {
            if name == segment {
                bytes[position] ^= 0x40;
            }
        });
        match damaged.open() {
            Err(OpenError::Damaged { segment: found, position: at }) => {
                assert_eq!(&found, segment);
                assert!(at <= position as u64);
            }
            other => panic!("opened a damaged journal: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    for seed in 0..1_000 {
        let (disk, mut dice) = (TestDisk::default(), Dice(seed));
        let journal = disk.open().unwrap();
        let epoch = journal.claim(SHARD).await.unwrap().epoch;
        let acknowledged = dice.roll(12);
        for seq in 1..=acknowledged {
            append(&journal, epoch, vec![record(1, seq, usize::try_from(dice.roll(900)).unwrap())])
                .await
                .unwrap();
        }
        // One more batch is written, but its sync never comes back.
        disk.0.lock().unwrap().fail_sync = true;
        append(&journal, epoch, vec![record(1, acknowledged + 1, 1500)]).await.unwrap_err();

        let found = seqs(&disk.cut_power(&mut dice).open().unwrap()).await;

        let whole: Vec<_> = (1..=acknowledged + 1).collect();
        assert!(
            found == whole || found == whole[..whole.len() - 1],
            "seed {seed}: {found:?} of {acknowledged}"
        );
    }
}

#[tokio::test]
async fn a_failed_sync_poisons_the_journal_until_a_restart() {
    let disk = TestDisk::default();
    let journal = filled(&disk, 3).await;
    disk.0.lock().unwrap().fail_sync = true;
    assert!(matches!(
        append(&journal, Epoch(1), vec![record(1, 4, 9)]).await,
        Err(AppendError::Poisoned { .. })
    ));
    disk.0.lock().unwrap().fail_sync = false;

    assert!(matches!(
        append(&journal, Epoch(1), vec![record(1, 4, 9)]).await,
        Err(AppendError::Poisoned { .. })
    ));
    assert!(matches!(journal.health(), Health::Poisoned(_)));
    assert_eq!(seqs(&journal).await, [1, 2, 3]);
    journal.close().await;

    let journal = disk.open().unwrap();
    assert_eq!(journal.health(), Health::Writable);
    assert!(seqs(&journal).await.starts_with(&[1, 2, 3]));
}

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = TestDisk::default();
    let journal = filled(&disk, 3).await;
    let end = used(&disk.segment_bytes(&disk.newest())) as u64;
    disk.0.lock().unwrap().full_after = Some(end + 50);

    assert_eq!(append(&journal, Epoch(1), vec![record(1, 4, 100)]).await, Err(AppendError::Full));
    assert_eq!(journal.health(), Health::Full);
    // What the entity had in flight behind it is void.
    let behind = append(&journal, Epoch(1), vec![record(1, 5, 1)]).await;
    assert_eq!(behind, Err(AppendError::OutOfOrder { entity: entity(1), expected: Seq(4) }));

    disk.0.lock().unwrap().full_after = None;
    append(&journal, Epoch(1), vec![record(1, 4, 100)]).await.unwrap();
    assert_eq!(journal.health(), Health::Writable);
    assert_eq!(seqs(&journal).await, [1, 2, 3, 4]);
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let _held = EmbeddedJournal::open(directory.path(), SEGMENT).unwrap();
    let refused = EmbeddedJournal::open(directory.path(), SEGMENT).unwrap_err().to_string();
    assert_eq!(refused, format!("the data directory is in use by process {}", std::process::id()));
}

#[tokio::test]
async fn first_writes_of_many_homes_share_one_sync_of_their_keys() {
    let directory = tempfile::tempdir().unwrap();
    let keyring = Arc::new(Keyring::open(directory.path(), &MasterKey::new([1; 32])).unwrap());
    let journal = TestDisk::default().open().unwrap();
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    let (arrive, arrived) = mpsc::channel();
    let (open_gate, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let keys = Arc::clone(&keyring);
    journal.before_writing(Box::new(move || {
        arrive.send(())?;
        gate.lock().unwrap().recv()?;
        Ok(keys.sync().now_or_never().unwrap()?)
    }));
    let write = |id: u128| {
        let sealed = keyring.seal_ahead(&entity(id).home, b"", b"founded").unwrap();
        let (told, fate) = tokio::sync::oneshot::channel();
        let records = vec![Record { body: sealed, ..record(id, 1, 0) }];
        journal.append(Group { shard: SHARD, epoch, records }, Box::new(move |fate| drop(told.send(fate))));
        fate
    };

    let first = write(1);
    arrived.recv().unwrap();
    let others: Vec<_> = (2..=100).map(write).collect();
    open_gate.send(()).unwrap();
    open_gate.send(()).unwrap();

    first.await.unwrap().unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(arrived.try_iter().count(), 1, "one sync for the first, one for the 99 behind it");
    let reopened = Keyring::open(directory.path(), &MasterKey::new([1; 32])).unwrap();
    for stored in journal.read(SHARD, Offset(0), Limit::default()).await.unwrap() {
        reopened.open_sealed(&stored.record.entity.home, b"", &stored.record.body).unwrap();
    }
}

#[tokio::test]
async fn a_record_whose_key_is_not_durable_is_neither_written_nor_acknowledged() {
    let disk = TestDisk::default();
    let journal = filled(&disk, 1).await;
    journal.before_writing(Box::new(|| Err("the device is gone".into())));

    let fate = append(&journal, Epoch(1), vec![record(2, 1, 9)]).await;

    assert!(matches!(fate, Err(AppendError::Poisoned { .. })));
    assert!(matches!(journal.health(), Health::Poisoned(_)));
    assert_eq!(disk.copied(|_, _| ()).open().unwrap().durable().borrow().0, 1);
}

/// The embedded engine, in a directory of its own.
struct Embedded(tempfile::TempDir);

impl Engine for Embedded {
    async fn fresh() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl JournalEngine for Embedded {
    type Journal = EmbeddedJournal;

    async fn journal(&self) -> EmbeddedJournal {
        EmbeddedJournal::open(&self.0.path().join("journal"), 64 * 1024).unwrap().0
    }
}

impl TierEngine for Embedded {
    type Tier = SledTier;

    async fn tier(&self, keyring: Arc<Keyring>) -> SledTier {
        SledTier::open(&self.0.path().join("tier"), 8 * 1024 * 1024, keyring, Lsn(u64::MAX)).unwrap().0
    }
}

journal_promises!(Embedded);
tier_promises!(Embedded);
