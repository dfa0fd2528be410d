//! What is refused, and what is found.

use super::*;

/// The findings of a comparison that must fail.
async fn found(case: &Case) -> Vec<Finding> {
    match case.verify().await {
        Err(Error::Differs(findings)) => findings,
        other => panic!("nothing found: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_changed_of_a_record_is_found_and_named() {
    let case = Case::new().await;
    case.run().await.unwrap();
    let changes = [
        ("body", "body = body || '\\x00'"),
        ("body", "body = ''"),
        ("name", "name = 'another'"),
        ("version", "version = 4"),
        ("time", "at_ms = at_ms + 1"),
        ("asker", "by_id = gen_random_uuid()"),
        ("trace", "trace = gen_random_uuid()"),
        ("cause", "cause_off = cause_off + 1"),
        ("epoch", "epoch = epoch + 1"),
        ("kind", "kind = 9"),
        ("entity", "entity_id = gen_random_uuid()"),
        ("entity", "home_id = gen_random_uuid()"),
        ("seq", "seq = seq + 1000000"),
    ];
    let (shard, offset) = (SHARDS[2], Offset(41));
    let lsn = place_of(&case, offset);
    for (what, change) in changes {
        let place =
            format!("where service = '{}' and number = {} and off = {offset}", shard.service, shard.number);
        let sql =
            format!("create table kept as select * from record {place}; update record set {change} {place}");
        case.database.execute(&sql).await;

        let findings = found(&case).await;

        let first = Finding::Differs { shard, offset, lsn, what: vec![what] };
        assert_eq!(findings.first(), Some(&first), "{change}");
        let is_chain = |found: &Finding| matches!(found, Finding::Shard { what: "hash chain", .. });
        // The chain is of what was said, not of where it lies or whose it is.
        let is_in_chain = what != "epoch" && !change.starts_with("home_id");
        assert_eq!(findings.iter().any(is_chain), is_in_chain, "{change}: {findings:?}");
        let undo =
            format!("delete from record {place}; insert into record select * from kept; drop table kept");
        case.database.execute(&undo).await;
        case.verify().await.unwrap();
    }
}

/// Where a record of the third shard lies in the stream.
fn place_of(case: &Case, offset: Offset) -> Lsn {
    let is_it = |stored: &&Stored| stored.shard == SHARDS[2] && stored.offset == offset;
    case.source().iter().find(is_it).unwrap().lsn
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_too_much_or_misplaced_is_found() {
    let case = Case::new().await;
    case.run().await.unwrap();
    let lsn = place_of(&case, Offset(41));
    let (place, range) =
        ("service = 'users' and number = 200", format!("{lsn} between first_lsn and last_lsn"));
    let changes = [
        (
            format!("delete from record where {place} and off = 41"),
            format!("record 41 of shard users/200 (place {lsn}) is not there"),
        ),
        (
            format!("delete from stream where {range}"),
            format!("record 41 of shard users/200 (place {lsn}) is not there"),
        ),
        (
            format!("update stream set first_off = first_off + 1 where {range}"),
            format!("record 41 of shard users/200 (place {lsn}) is another in: offset"),
        ),
        (
            format!("update shard set tail = tail - 1 where {place}"),
            "shard users/200: the tail is 1200, in the source 1201".to_owned(),
        ),
        (
            format!("delete from shard where {place}"),
            "shard users/200: the tail is 0, in the source 1201".to_owned(),
        ),
        (
            format!("update shard set epoch = 1 where {place}"),
            "shard users/200: the epoch is 1, in the source 2".to_owned(),
        ),
        (
            "delete from key where subject like 'tenant/%01'".to_owned(),
            "the key of tenant/00000000-0000-0000-0000-000000000001 is not there".to_owned(),
        ),
        (
            "update key set wrapped = wrapped || '\\x00' where subject = 'secret/signing'".to_owned(),
            "the key of secret/signing is another".to_owned(),
        ),
        (
            "update key set wrapped = '\\x01', erased = null where erased is not null".to_owned(),
            "the key of tenant/00000000-0000-0000-0000-000000000004 is there, and was destroyed".to_owned(),
        ),
    ];
    for (sql, told) in changes {
        let tables = ["record", "stream", "shard", "key"];
        for table in tables {
            case.database.execute(&format!("create table kept_{table} as select * from {table}")).await;
        }
        case.database.execute(&sql).await;

        let findings = found(&case).await;

        let all = listed(&findings);
        assert!(all.contains(&told), "{sql}: {all}");
        for table in tables {
            let undo = format!("delete from {table}; insert into {table} select * from kept_{table}");
            case.database.execute(&format!("{undo}; drop table kept_{table}")).await;
        }
        case.verify().await.unwrap();
    }
}

/// Of a store that is not whole nobody can have more than the source has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_put_into_a_store_that_is_not_whole_is_found_and_nothing_is_marked() {
    for sql in [
        "insert into record select 7000000, epoch, 7000000, at_ms, cause_off, number, version, cause_number, kind, home_kind, \
         home_id, entity_id, batch, by_id, trace, service, entity_kind, name, cause_service, body from record limit 1",
        "insert into shard (service, number, epoch, tail) values ('users', 3, 1, 9)",
        "insert into key (subject, wrapped) values ('secret/other', '\\x01')",
    ] {
        let case = Case::new().await;
        case.run_until(|progress| progress.phase == Phase::Comparing).await;
        case.database.execute(sql).await;

        let ended = case.run().await;

        assert!(matches!(ended, Err(Error::Differs(_))), "{sql}: {ended:?}");
        assert!(case.store.is_arriving().await.unwrap());
        drop(case.journal());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_used_or_holds_another_migration_is_left_alone() {
    let (used, other, case) = (Case::new().await, Case::new().await, Case::new().await);
    let master = MasterKey::in_directory(&used.place.path().join("master")).unwrap();
    drop(Keyring::open_in(used.store.clone(), &master).await.unwrap());
    other.run_until(|progress| progress.phase == Phase::Keys).await;
    let to = |store| Migration { to: store, ..case.migration() };

    let refused = to(&used.store).run().await.unwrap_err();
    assert!(matches!(&refused, Error::NotEmpty { there, .. } if there == &["keys"]), "{refused:?}");
    assert!(!case.data().join("migration").exists(), "nothing has begun");
    for ended in [to(&other.store).run().await, to(&other.store).verify().await] {
        assert!(matches!(&ended, Err(Error::Other { .. })), "{ended:?}");
    }
    assert!(matches!(case.verify().await, Err(Error::NotThere { .. })));

    case.run().await.unwrap();
    other.run().await.unwrap();
    assert!(matches!(to(&other.store).run().await, Err(Error::AlreadyMoved { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_moved_is_not_moved_again_even_without_its_mark() {
    let case = Case::new().await;
    case.run().await.unwrap();

    let again = case.run().await.unwrap_err();
    std::fs::remove_file(case.data().join("moved")).unwrap();
    let unmarked = case.run().await.unwrap_err();

    assert!(
        matches!(&again, Error::AlreadyMoved { to, .. } if to.contains(&case.database.name)),
        "{again:?}"
    );
    assert!(matches!(unmarked, Error::AlreadyThere { .. }), "{unmarked:?}");
}

/// Of two copies that were begun, one is ever whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_was_moved_to_another_store_since_is_not_finished_here() {
    let case = Case::new().await;
    case.run_until(|progress| progress.phase == Phase::Copying && progress.done >= 1_000).await;
    let other = Database::fresh();
    let to = other.store().await;
    Migration { to: &to, ..case.migration() }.run().await.unwrap();

    let refused = case.run().await.unwrap_err();

    assert!(matches!(&refused, Error::AlreadyMoved { to, .. } if to.contains(&other.name)), "{refused:?}");
    assert!(case.store.is_arriving().await.unwrap(), "no node starts there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_source_that_went_another_way_is_refused_or_found() {
    let case = Case::new().await;
    case.run_until(|progress| progress.phase == Phase::Comparing).await;
    // Restored from a backup of before, under the same id.
    std::fs::remove_dir_all(case.data().join("journal")).unwrap();
    case.write(0, ROUNDS - 1).await;
    let shorter = case.run().await;
    case.write(ROUNDS, ROUNDS + 3).await;
    let longer = case.run().await;

    assert!(matches!(shorter, Err(Error::Overtaken { .. })), "{shorter:?}");
    assert!(matches!(longer, Err(Error::Differs(_) | Error::Overtaken { .. })), "{longer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_somebody_else_writes_meanwhile_is_noticed() {
    for sql in ["update log set lsn = lsn + 1", "update shard set tail = tail + 1 where service = 'users'"] {
        let case = Case::new().await;
        case.run_until(|progress| progress.phase == Phase::Copying && progress.done >= 1_000).await;
        case.database.execute(sql).await;

        let ended = case.run().await;

        assert!(matches!(ended, Err(Error::Overtaken { .. } | Error::Differs(_))), "{sql}: {ended:?}");
        assert!(!case.data().join("moved").exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_runs_is_damaged_or_lacks_its_keys_is_refused_before_anything_is_begun() {
    let case = Case::new().await;
    let journal = case.journal();
    let running = case.run().await.unwrap_err();
    drop(journal);
    let other = MasterKey::new([8; 32]);
    let wrapped = Migration { master: Some(&other), ..case.migration() }.run().await.unwrap_err();
    let keyring = case.data().join("keyring");
    let aside = case.data().join("aside");
    std::fs::rename(&keyring, &aside).unwrap();
    let no_keys = case.run().await.unwrap_err();
    drop(case.keyring());
    let other_keys = case.run().await.unwrap_err();
    std::fs::remove_dir_all(&keyring).unwrap();
    std::fs::rename(&aside, &keyring).unwrap();
    let segment = case.data().join(format!("journal/{:020}.seg", 1));
    let whole = std::fs::read(&segment).unwrap();
    let mut bytes = whole.clone();
    bytes[200] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let damaged = case.run().await.unwrap_err();
    std::fs::write(&segment, whole).unwrap();
    let nowhere = Migration { from: Path::new("/nowhere"), ..case.migration() }.run().await.unwrap_err();

    assert!(matches!(running, Error::Source { source: OpenError::Held { .. }, .. }), "{running:?}");
    assert!(matches!(wrapped, Error::Keyring { source: keyring::Error::OtherMaster, .. }), "{wrapped:?}");
    assert!(matches!(no_keys, Error::Keyring { .. }), "{no_keys:?}");
    assert!(matches!(other_keys, Error::KeysMissing { missing: 3, homes: 3 }), "{other_keys:?}");
    assert!(matches!(damaged, Error::Source { source: OpenError::Damaged { .. }, .. }), "{damaged:?}");
    assert!(matches!(nowhere, Error::NoJournal(_)), "{nowhere:?}");
    assert!(!case.data().join("migration").exists());
    assert!(!case.store.is_arriving().await.unwrap());
    case.run().await.unwrap();
}
