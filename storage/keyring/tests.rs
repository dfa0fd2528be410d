//! What the keyring promises, wherever it keeps its keys.

use super::*;
use crate::{
    EntityRef, HomeKind, Name, Seq,
    journal::RecordKind,
    postgres::testing::{Database, Server},
};

const HOME: Home = Home { kind: HomeKind::Tenant, id: 5 };

/// Where the keys of a test are kept.
enum Kept {
    File(tempfile::TempDir),
    Store(Database),
}

impl Kept {
    fn in_a_file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    async fn in_a_store() -> Self {
        Self::Store(Database::fresh().await)
    }

    /// The keyring as a process finds it that starts now.
    async fn open(&self) -> Keyring {
        self.open_with([1; 32]).await.unwrap()
    }

    async fn open_with(&self, master: [u8; 32]) -> Result<Keyring, Error> {
        match self {
            Self::File(directory) => Keyring::open(directory.path(), &MasterKey::new(master)),
            Self::Store(database) => Keyring::open_in(database.store().await, &MasterKey::new(master)).await,
        }
    }

    async fn export(&self) -> Export {
        match self {
            Self::File(directory) => Export::of(directory.path()).unwrap(),
            Self::Store(database) => Export::of_store(&database.store().await, None).await.unwrap(),
        }
    }

    async fn restore(&self, export: &Export) -> Result<(), Error> {
        match self {
            Self::File(directory) => export.write(directory.path()),
            Self::Store(database) => export.restore_to(&database.store().await).await,
        }
    }
}

/// Makes two tests of every promise.
macro_rules! promises {
    ($($promise:ident)*) => {
        mod in_a_file {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Kept::in_a_file(), super::Kept::in_a_file()).await;
            })*
        }
        mod in_a_store {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Kept::in_a_store().await, super::Kept::in_a_store().await).await;
            })*
        }
    };
}

promises! {
    what_is_sealed_opens_after_a_restart_and_only_in_its_place
    what_is_sealed_ahead_opens_after_the_next_sync_and_a_restart
    an_erased_home_opens_nowhere_and_is_never_written_about_again
    another_master_key_is_refused_and_the_setting_named
    a_secret_is_made_once_and_kept
    an_export_restores_what_was_kept_and_nothing_that_was_erased
}

async fn what_is_sealed_opens_after_a_restart_and_only_in_its_place(kept: Kept, _: Kept) {
    let sealed = kept.open().await.seal(&HOME, b"seq 1", b"a secret").await.unwrap();

    let keyring = kept.open().await;

    assert_eq!(keyring.open_sealed(&HOME, b"seq 1", &sealed).unwrap(), b"a secret");
    assert_eq!(keyring.open_sealed(&HOME, b"seq 2", &sealed), Err(OpenError::Damaged));
    let other = Home { id: 6, ..HOME };
    assert_eq!(keyring.open_sealed(&other, b"seq 1", &sealed), Err(OpenError::Unknown));
}

async fn what_is_sealed_ahead_opens_after_the_next_sync_and_a_restart(kept: Kept, _: Kept) {
    let keyring = kept.open().await;
    let sealed = keyring.seal_ahead(&HOME, b"", b"a secret").unwrap();

    keyring.sync().await.unwrap();

    assert_eq!(kept.open().await.open_sealed(&HOME, b"", &sealed).unwrap(), b"a secret");
    assert!(keyring.stands(&record(HOME, sealed)));
}

async fn an_erased_home_opens_nowhere_and_is_never_written_about_again(kept: Kept, _: Kept) {
    let keyring = kept.open().await;
    let sealed = keyring.seal(&HOME, b"", b"a secret").await.unwrap();

    assert!(!keyring.is_erased(&HOME));
    let erasures = keyring.erasures();
    keyring.erase(&HOME).await.unwrap();
    assert!(keyring.erasures() > erasures, "whoever remembers the answer must ask again");

    for keyring in [keyring, kept.open().await] {
        assert_eq!(keyring.open_sealed(&HOME, b"", &sealed), Err(OpenError::Erased));
        assert!(matches!(keyring.seal(&HOME, b"", b"more").await, Err(Error::Erased)));
        assert!(keyring.is_erased(&HOME));
    }
}

async fn another_master_key_is_refused_and_the_setting_named(kept: Kept, _: Kept) {
    drop(kept.open().await);

    let refused = kept.open_with([7; 32]).await.unwrap_err();

    assert!(matches!(refused, Error::OtherMaster));
    assert!(refused.to_string().contains("`storage.master_key`"), "{refused}");
}

async fn a_secret_is_made_once_and_kept(kept: Kept, _: Kept) {
    let keyring = kept.open().await;
    assert_eq!(keyring.known_secret("mail").await.unwrap(), None);
    let made = keyring.secret("mail", || b"first".to_vec()).await.unwrap();

    for keyring in [keyring, kept.open().await] {
        assert_eq!(keyring.secret("mail", || b"second".to_vec()).await.unwrap(), made);
        assert_eq!(keyring.known_secret("mail").await.unwrap(), Some(made.clone()));
    }
    assert_eq!(**made, *b"first");
}

async fn an_export_restores_what_was_kept_and_nothing_that_was_erased(kept: Kept, fresh: Kept) {
    let (gone, keyring) = (Home { id: 6, ..HOME }, kept.open().await);
    let [sealed, lost] = [HOME, gone].map(|home| keyring.seal_ahead(&home, b"", b"a secret").unwrap());
    keyring.sync().await.unwrap();
    keyring.erase(&gone).await.unwrap();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("keys");
    kept.export().await.write_file(&file).unwrap();

    let export = Export::read(&file).unwrap();
    fresh.restore(&export).await.unwrap();

    let restored = fresh.open().await;
    assert_eq!(restored.open_sealed(&HOME, b"", &sealed).unwrap(), b"a secret");
    assert_eq!(restored.open_sealed(&gone, b"", &lost), Err(OpenError::Erased));
    assert_eq!(restored.hash("email", b"a"), keyring.hash("email", b"a"));
    assert!(export.knows(&HOME) && export.knows(&gone) && !export.knows(&Home { id: 7, ..HOME }));
}

fn record(home: Home, body: Vec<u8>) -> Record {
    Record {
        kind: RecordKind::Event,
        entity: EntityRef { home, kind: Name::new("tenant"), id: home.id },
        seq: Seq(1),
        name: Name::new("created"),
        version: 1,
        at_ms: 0,
        by: 0,
        trace: 0,
        caused_by: None,
        body,
    }
}

fn in_file(directory: &Path) -> Keyring {
    Keyring::open(directory, &MasterKey::in_directory(directory).unwrap()).unwrap()
}

#[tokio::test]
async fn a_keyring_cut_anywhere_in_its_last_record_loses_only_that() {
    let directory = tempfile::tempdir().unwrap();
    let first = in_file(directory.path()).seal(&HOME, b"", b"kept").await.unwrap();
    let path = directory.path().join("keys.log");
    let before = std::fs::read(&path).unwrap().len();
    in_file(directory.path()).seal(&Home { id: 6, ..HOME }, b"", b"new").await.unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in before..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(in_file(directory.path()).open_sealed(&HOME, b"", &first).unwrap(), b"kept");
    }
}

/// Cutting there would take the keys of all that comes after, and with them everything they seal.
#[tokio::test]
async fn a_wrong_length_before_the_last_record_is_damage_and_cuts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.log");
    let mut begins = vec![0];
    for id in 1..4 {
        in_file(directory.path()).seal(&Home { id, ..HOME }, b"", b"kept").await.unwrap();
        begins.push(std::fs::read(&path).unwrap().len());
    }
    let whole = std::fs::read(&path).unwrap();
    // Of the pepper's record and of the second home's; the third's is the last, and the file ends with it.
    for begin in &begins[..2] {
        for bit in 0..32 {
            let mut bytes = whole.clone();
            bytes[begin + bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bytes).unwrap();

            let opened = Keyring::open(directory.path(), &MasterKey::in_directory(directory.path()).unwrap());

            assert!(matches!(opened, Err(Error::Damaged(_))), "bit {bit} of the length at {begin}");
            assert!(matches!(Export::of(directory.path()), Err(Error::Damaged(_))));
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing is cut off");
        }
    }
}

#[tokio::test]
async fn of_two_processes_that_make_a_homes_key_at_once_one_stands_and_the_other_learns_it_before_writing() {
    let kept = Kept::in_a_store().await;
    let (first, second) = (kept.open().await, kept.open().await);
    let ours = first.seal_ahead(&HOME, b"", b"ours").unwrap();
    let theirs = second.seal_ahead(&HOME, b"", b"theirs").unwrap();

    first.sync().await.unwrap();
    second.sync().await.unwrap();

    assert!(first.stands(&record(HOME, ours.clone())));
    assert!(!second.stands(&record(HOME, theirs)));
    let again = second.seal_ahead(&HOME, b"", b"theirs").unwrap();
    assert!(second.stands(&record(HOME, again.clone())));
    // Records without a body, and those of other homes, go on.
    let other = Home { id: 6, ..HOME };
    let unconcerned = second.seal(&other, b"", b"another").await.unwrap();
    assert!(second.stands(&record(HOME, Vec::new())) && second.stands(&record(other, unconcerned)));
    for keyring in [first, second, kept.open().await] {
        assert_eq!(keyring.open_sealed(&HOME, b"", &ours).unwrap(), b"ours");
        assert_eq!(keyring.open_sealed(&HOME, b"", &again).unwrap(), b"theirs");
    }
}

/// As when the connection was lost after the store had taken the key.
#[tokio::test]
async fn a_key_whose_answer_was_lost_is_found_to_stand() {
    let database = Database::fresh().await;
    let store = database.store().await;
    let keyring = Keyring::open_in(store.clone(), &MasterKey::new([1; 32])).await.unwrap();
    let sealed = keyring.seal_ahead(&HOME, b"", b"a secret").unwrap();
    let made = keyring.lock().made();
    KeyTable::open(store).await.unwrap().0.add(&made).await.unwrap();

    keyring.sync().await.unwrap();

    assert!(keyring.stands(&record(HOME, sealed)));
    assert!(keyring.lock().overruled.is_empty());
}

#[tokio::test]
async fn keys_made_while_the_store_is_away_wait_for_it() {
    let server = Server::start();
    let kept = Kept::Store(server.database().await);
    let keyring = kept.open().await;
    server.stop();
    let sealed = keyring.seal_ahead(&HOME, b"", b"a secret").unwrap();
    assert!(matches!(keyring.sync().await, Err(Error::Store(_))));
    assert!(matches!(keyring.secret("token", || vec![7]).await, Err(Error::Store(_))));
    assert!(matches!(keyring.known_secret("token").await, Err(Error::Store(_))), "nobody knows if it stands");
    assert!(matches!(keyring.erase(&HOME).await, Err(Error::Store(_))));
    assert!(!keyring.is_erased(&HOME));
    server.resume();

    keyring.sync().await.unwrap();

    assert_eq!(kept.open().await.open_sealed(&HOME, b"", &sealed).unwrap(), b"a secret");
    assert_eq!(**keyring.known_secret("token").await.unwrap().unwrap(), [7]);
}

/// In whatever order their statements meet: nobody fails, and everybody ends up with the same keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_race_for_the_same_keys_end_up_with_the_same() {
    const PROCESSES: usize = 4;
    let kept = Kept::in_a_store().await;
    let homes: Vec<_> = (0..50).map(|id| Home { id, ..HOME }).collect();
    let keyrings = futures_util::future::join_all((0..PROCESSES).map(|_| kept.open())).await;

    let sealed = futures_util::future::join_all(keyrings.iter().enumerate().map(async |(at, keyring)| {
        let mut homes = homes.clone();
        homes.rotate_left(at * 13);
        for home in &homes {
            drop(keyring.seal_ahead(home, b"", b"").unwrap());
        }
        let secret = keyring.secret("token", || vec![u8::try_from(at).unwrap()]).await.unwrap();
        (keyring.seal(&homes[0], b"", b"a secret").await.unwrap(), homes[0], secret)
    }))
    .await;

    for (sealed, home, secret) in &sealed {
        for keyring in &keyrings {
            assert_eq!(keyring.open_sealed(home, b"", sealed).unwrap(), b"a secret");
            assert_eq!(keyring.known_secret("token").await.unwrap().as_ref(), Some(secret));
            assert_eq!(keyring.hash("email", b"a"), keyrings[0].hash("email", b"a"));
        }
    }
}

#[tokio::test]
async fn what_another_process_made_later_is_learned_when_it_is_asked_for() {
    let kept = Kept::in_a_store().await;
    let (reader, writer) = (kept.open().await, kept.open().await);
    let sealed = writer.seal(&HOME, b"", b"a secret").await.unwrap();
    let secret = writer.secret("token", || vec![7]).await.unwrap();
    assert_eq!(reader.open_sealed(&HOME, b"", &sealed), Err(OpenError::Unknown));

    reader.learn([HOME, Home { id: 99, ..HOME }]).await.unwrap();

    assert_eq!(reader.open_sealed(&HOME, b"", &sealed).unwrap(), b"a secret");
    assert_eq!(reader.known_secret("token").await.unwrap(), Some(secret));
}

#[tokio::test]
async fn an_erasure_is_known_to_other_processes_after_their_next_look() {
    let kept = Kept::in_a_store().await;
    let (here, elsewhere) = (kept.open().await, kept.open().await);
    let sealed = here.seal(&HOME, b"", b"a secret").await.unwrap();
    let never = Home { id: 6, ..HOME };
    elsewhere.learn([HOME]).await.unwrap();
    assert_eq!(elsewhere.open_sealed(&HOME, b"", &sealed).unwrap(), b"a secret");
    here.erase(&HOME).await.unwrap();
    here.erase(&never).await.unwrap();
    let before = elsewhere.erasures();

    elsewhere.refresh().await.unwrap();

    assert_eq!(elsewhere.open_sealed(&HOME, b"", &sealed), Err(OpenError::Erased));
    assert!(elsewhere.is_erased(&HOME) && elsewhere.is_erased(&never));
    assert_eq!(elsewhere.erasures(), before + 2);
    elsewhere.refresh().await.unwrap();
    assert_eq!(elsewhere.erasures(), before + 2, "nothing is learned twice");
}

#[tokio::test]
async fn a_key_made_for_a_home_that_another_process_has_erased_stands_for_nothing() {
    let kept = Kept::in_a_store().await;
    let (here, synced, looking) = (kept.open().await, kept.open().await, kept.open().await);
    here.erase(&HOME).await.unwrap();
    let sealed = [&synced, &looking].map(|keyring| keyring.seal_ahead(&HOME, b"", b"a secret").unwrap());

    synced.sync().await.unwrap();
    looking.refresh().await.unwrap();

    for (keyring, sealed) in [synced, looking].into_iter().zip(sealed) {
        assert!(!keyring.stands(&record(HOME, sealed)));
        assert!(keyring.is_erased(&HOME));
        assert!(matches!(keyring.seal_ahead(&HOME, b"", b"more"), Err(Error::Erased)));
    }
}

#[tokio::test]
async fn an_export_brings_an_older_store_up_to_it_and_changes_no_other_keyring() {
    let (kept, other) = (Kept::in_a_store().await, Kept::in_a_store().await);
    let keyring = kept.open().await;
    let sealed = keyring.seal(&HOME, b"", b"a secret").await.unwrap();
    let older = kept.export().await;
    keyring.erase(&HOME).await.unwrap();
    let (newer, restored) = (kept.export().await, Kept::in_a_store().await);
    restored.restore(&older).await.unwrap();
    drop(other.open().await);

    restored.restore(&newer).await.unwrap();
    restored.restore(&older).await.unwrap();
    let refused = other.restore(&newer).await;

    assert_eq!(restored.open().await.open_sealed(&HOME, b"", &sealed), Err(OpenError::Erased));
    assert!(matches!(refused, Err(Error::OtherKeys)));
    assert!(!other.open().await.is_erased(&HOME));
}
