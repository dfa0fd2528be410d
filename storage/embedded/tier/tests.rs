//! The tier over files that are damaged, and ahead of its journal.

use std::os::unix::fs::MetadataExt;

use futures_util::FutureExt;

use super::*;
use crate::{HomeKind, keyring::MasterKey};

const ROWS: Name = Name::new("directory");
const CACHE: u64 = 8 * 1024 * 1024;

struct Place {
    directory: tempfile::TempDir,
    keyring: Arc<Keyring>,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keyring = Keyring::open(&directory.path().join("keyring"), &MasterKey::new([1; 32])).unwrap();
        Self { directory, keyring: Arc::new(keyring) }
    }

    fn open(&self, journal_end: u64) -> Result<(SledTier, Option<String>), Error> {
        let path = self.directory.path().join("tier");
        SledTier::open(&path, CACHE, Arc::clone(&self.keyring), Lsn(journal_end))
    }
}

fn home(id: u128) -> Home {
    Home { kind: HomeKind::Tenant, id }
}

fn commit(tier: &SledTier, id: u8, lsn: u64) {
    let shard = ShardId { service: Name::new("tenancy"), number: 3 };
    let moved = Position { lsn: Lsn(lsn), offsets: [(shard, Offset(lsn))].into() };
    let put = RowChange::Put { key: vec![id], home: home(id.into()), value: vec![id; 3] };
    // With a keyring in a file nothing waits.
    tier.commit(ROWS, vec![put], Lsn(0), moved).now_or_never().unwrap().unwrap();
}

fn position(tier: &SledTier) -> Position {
    tier.guarded(|tier| tier.position_now(ROWS)).unwrap()
}

#[test]
fn a_tier_ahead_of_the_journal_is_refused_by_name() {
    let place = Place::new();
    commit(&place.open(9).unwrap().0, 1, 8);

    let refused = place.open(7).unwrap_err().to_string();

    assert_eq!(refused, "the read models have seen record 8, but the journal ends at 7: it lost something");
}

/// As a process does that was started a moment ago and has not run its own program yet.
#[test]
fn a_tier_that_somebody_still_holds_is_waited_for_and_not_set_aside() {
    let place = Place::new();
    commit(&place.open(9).unwrap().0, 1, 8);
    let held = std::fs::File::open(place.directory.path().join("tier/db")).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let waiter = format!(":{} ", std::fs::metadata(place.directory.path().join("tier/db")).unwrap().ino());

    let (left, why) = std::thread::scope(|scope| {
        let opening = scope.spawn(|| place.open(9).unwrap());
        let is_waiting = |line: &str| line.contains("-> FLOCK") && line.contains(&waiter);
        while !opening.is_finished()
            && !std::fs::read_to_string("/proc/locks").unwrap().lines().any(is_waiting)
        {
            std::thread::yield_now();
        }
        drop(held);
        opening.join().unwrap()
    });

    assert_eq!(why, None);
    assert_eq!(position(&left).lsn, Lsn(8));
}

/// A process may end before whoever holds the tier lets go of it.
#[tokio::test]
async fn what_was_flushed_is_there_though_nobody_closed_the_tier() {
    let (place, next) = (Place::new(), Place::new());
    let (tier, _) = place.open(9).unwrap();
    commit(&tier, 1, 8);

    tier.flush().await.unwrap();

    let copied = |name: &str| {
        let (from, to) = (place.directory.path().join("tier"), next.directory.path().join("tier"));
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    };
    ["db", "conf"].into_iter().for_each(copied);
    let (left, why) = next.open(9).unwrap();
    assert_eq!((position(&left).lsn, why), (Lsn(8), None));
}

/// Whatever happened to the files, rows and position tell the same story, at the latest when asked again.
#[test]
fn a_damaged_tier_is_begun_afresh_when_it_is_met() {
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.fill(0xa5),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.iter_mut().skip(2000).take(4096).for_each(|byte| *byte = 0),
        Vec::clear,
    ];
    for damage in damages {
        let place = Place::new();
        let (tier, _) = place.open(999).unwrap();
        for id in 0..200 {
            commit(&tier, id, u64::from(id) + 1);
        }
        drop(tier);
        let path = place.directory.path().join("tier/db");
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, bytes).unwrap();

        let (tier, _) = place.open(999).unwrap();

        let rows = |tier: &SledTier| tier.guarded(|tier| tier.scan_now(ROWS, &[], None, 999));
        let found = rows(&tier).or_else(|_| rows(&tier)).unwrap().len() as u64;
        assert_eq!(found, position(&tier).lsn.0);
    }
}

#[test]
fn damage_met_under_way_fails_one_operation_and_the_rest_is_rebuilt_and_kept() {
    let place = Place::new();
    let (tier, _) = place.open(999).unwrap();
    commit(&tier, 1, 5);
    let key = row_key(ROWS, &[1]);
    let opened = tier.opened.read().unwrap().clone();
    opened.db.insert(key, vec![0xa5; 60]).unwrap();

    tier.guarded(|tier| tier.get_now(ROWS, vec![1])).unwrap_err();

    assert_eq!(position(&tier), Position::default());
    commit(&tier, 1, 5);
    let rebuilt = tier.guarded(|tier| tier.get_now(ROWS, vec![1])).unwrap();
    drop((tier, opened));
    let (tier, set_aside) = place.open(999).unwrap();
    assert!(set_aside.is_some());
    assert_eq!(tier.guarded(|tier| tier.get_now(ROWS, vec![1])).unwrap(), rebuilt);
    assert_eq!(position(&tier).lsn, Lsn(5));
}

#[test]
fn a_panic_under_an_operation_takes_nobody_down() {
    let place = Place::new();
    let (tier, _) = place.open(999).unwrap();
    commit(&tier, 1, 5);
    let refused = tier.guarded(|_| -> Result<(), TierError> { panic!("as sled does on a damaged page") });
    refused.unwrap_err();
    assert_eq!(position(&tier), Position::default());
}
