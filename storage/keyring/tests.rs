//! What the keyring promises.

use super::*;
use crate::HomeKind;

const HOME: Home = Home { kind: HomeKind::Tenant, id: 5 };

fn open(directory: &Path) -> Keyring {
    Keyring::open(directory, &MasterKey::in_directory(directory).unwrap()).unwrap()
}

#[test]
fn what_is_sealed_opens_after_a_restart_and_only_in_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let sealed = open(directory.path()).seal(&HOME, b"seq 1", b"a secret").unwrap();

    let keyring = open(directory.path());

    assert_eq!(keyring.open_sealed(&HOME, b"seq 1", &sealed).unwrap(), b"a secret");
    assert_eq!(keyring.open_sealed(&HOME, b"seq 2", &sealed), Err(OpenError::Damaged));
    let other = Home { id: 6, ..HOME };
    assert_eq!(keyring.open_sealed(&other, b"seq 1", &sealed), Err(OpenError::Unknown));
}

#[test]
fn an_erased_home_opens_nowhere_and_is_never_written_about_again() {
    let directory = tempfile::tempdir().unwrap();
    let keyring = open(directory.path());
    let sealed = keyring.seal(&HOME, b"", b"a secret").unwrap();

    assert!(!keyring.is_erased(&HOME));
    let erasures = keyring.erasures();
    keyring.erase(&HOME).unwrap();
    assert!(keyring.erasures() > erasures, "whoever remembers the answer must ask again");

    for keyring in [keyring, open(directory.path())] {
        assert_eq!(keyring.open_sealed(&HOME, b"", &sealed), Err(OpenError::Erased));
        assert!(matches!(keyring.seal(&HOME, b"", b"more"), Err(Error::Erased)));
        assert!(keyring.is_erased(&HOME));
    }
}

#[test]
fn a_keyring_cut_anywhere_in_its_last_record_loses_only_that() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).seal(&HOME, b"", b"kept").unwrap();
    let path = directory.path().join("keys.log");
    let before = std::fs::read(&path).unwrap().len();
    open(directory.path()).seal(&Home { id: 6, ..HOME }, b"", b"new").unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in before..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(open(directory.path()).open_sealed(&HOME, b"", &first).unwrap(), b"kept");
    }
}

/// Cutting there would take the keys of all that comes after, and with them everything they seal.
#[test]
fn a_wrong_length_before_the_last_record_is_damage_and_cuts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.log");
    let mut begins = vec![0];
    for id in 1..4 {
        open(directory.path()).seal(&Home { id, ..HOME }, b"", b"kept").unwrap();
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

#[test]
fn another_master_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    assert!(matches!(Keyring::open(directory.path(), &MasterKey::new([7; 32])), Err(Error::Damaged(_))));
}
