//! Several processes that write to one store at once.

mod moves;

use futures_util::FutureExt as _;

use super::*;
use crate::postgres::Client;

const RECORDS: u64 = 2_500;

/// Appends records of an entity, one after the other.
async fn write(journal: &Taking, shard: ShardId, epoch: Epoch, id: u128, records: u64) {
    for seq in 1..=records {
        append_to(journal, shard, epoch, vec![record(id, seq, 50)]).await.unwrap();
    }
}

/// The whole stream, as a journal walks it up to a place.
async fn walked(journal: &Taking, up_to: Lsn) -> Vec<Arc<Stored>> {
    let (mut walked, mut after, mut durable) = (Vec::new(), Lsn(0), journal.durable());
    while after < up_to {
        durable.wait_for(|lsn| *lsn > after).await.unwrap();
        let page = journal.walk(after, Limit::default()).await.unwrap();
        after = page.last().unwrap().lsn;
        walked.extend(page);
    }
    walked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_write_at_once_and_both_read_all_in_one_order() {
    let database = Database::fresh();
    let (one, two) = (on(&database).await, on(&database).await);
    let (mine, other) = (one.claim(SHARD).await.unwrap(), two.claim(OTHER).await.unwrap());
    let all = Lsn(4 * RECORDS);
    let writes = async {
        tokio::join!(
            write(&one, SHARD, mine.epoch, 1, RECORDS),
            write(&one, SHARD, mine.epoch, 2, RECORDS),
            write(&two, OTHER, other.epoch, 3, RECORDS),
            write(&two, OTHER, other.epoch, 4, RECORDS),
        )
    };

    let (_, first, second) = tokio::join!(writes, walked(&one, all), walked(&two, all));

    assert_eq!(first.len() as u64, all.0);
    assert!(first.iter().zip(1..).all(|(stored, lsn)| stored.lsn == Lsn(lsn)), "no place is left out");
    assert!(first == second, "both see the same");
    for shard in [SHARD, OTHER] {
        let of_shard: Vec<_> = first.iter().filter(|stored| stored.shard == shard).cloned().collect();
        assert!(of_shard.iter().zip(1..).all(|(stored, offset)| stored.offset == Offset(offset)));
        assert!(of_shard == all_of(&one, shard).await, "the shard's order is the stream's");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_writes_wakes_the_readers_here() {
    let database = Database::fresh();
    let (one, two) = (on(&database).await, on(&database).await);
    let claim = two.claim(SHARD).await.unwrap();
    let mut durable = one.durable();

    append(&two, claim.epoch, vec![record(1, 1, 9)]).await.unwrap();

    durable.wait_for(|lsn| *lsn == Lsn(1)).await.unwrap();
    assert_eq!(one.walk(Lsn(0), Limit::default()).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_found_where_it_lies_although_others_wrote_behind_it() {
    const CUTS: usize = 40;
    let database = Database::fresh();
    let ((proxy, one), two) = (behind_proxy(&database).await, on(&database).await);
    let (mine, other) = (one.claim(SHARD).await.unwrap(), two.claim(OTHER).await.unwrap());
    let stop = AtomicBool::new(false);
    let cut = async {
        proxy.cuts.make(CUTS).await;
        stop.store(true, Ordering::Relaxed);
    };
    let others = async {
        let mut seq = 1;
        while !stop.load(Ordering::Relaxed) {
            append_to(&two, OTHER, other.epoch, vec![record(9, seq, 9)]).await.unwrap();
            seq += 1;
        }
    };

    let (acknowledged, (), ()) = tokio::join!(load(&one, mine.epoch, 4, &stop), cut, others);

    one.close().await;
    nothing_is_lost_or_doubled(&on(&database).await, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_the_store_has_under_that_epoch_is_granted() {
    let database = Database::fresh();
    let (one, two) = (on(&database).await, on(&database).await);
    let epoch = one.claim(SHARD).await.unwrap().epoch;
    let current = two.claim(SHARD).await.unwrap().epoch;

    assert_eq!(one.grant(vec![(SHARD, epoch), (OTHER, Epoch(1))]).await, Ok(Vec::new()));
    let late = append(&one, epoch, vec![record(1, 1, 9)]).await;
    assert_eq!(late, Err(AppendError::Fenced { shard: SHARD, current, claimed: epoch }));
    append(&two, current, vec![record(1, 1, 9)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_was_taken_back_takes_nothing_and_goes_on_when_it_is_granted_again() {
    let database = Database::fresh();
    let journal = on(&database).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    append(&journal, epoch, vec![record(1, 1, 9)]).await.unwrap();

    journal.revoke(&[SHARD]).await;

    let late = append(&journal, epoch, vec![record(1, 2, 9)]).await;
    assert!(matches!(late, Err(AppendError::Fenced { .. })), "{late:?}");
    let again = journal.claim(SHARD).await.unwrap();
    assert_eq!(again, Claim { epoch: epoch.next(), tail: Offset(1) });
    append(&journal, again.epoch, vec![record(1, 2, 9)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_opens_what_another_process_sealed_with_a_new_key() {
    let (database, master) = (Database::fresh(), MasterKey::new([1; 32]));
    let ring = async || Arc::new(Keyring::open_in(database.store().await, &master).await.unwrap());
    let (here, there) = (ring().await, ring().await);
    let (one, two) = (on(&database).await, on(&database).await);
    one.sync_first(Arc::clone(&here));
    two.sync_first(Arc::clone(&there));
    let epoch = two.claim(SHARD).await.unwrap().epoch;
    let mut durable = one.durable();
    for id in 1..=2 {
        let body = there.seal_ahead(&home(id), b"", b"theirs").unwrap();
        append(&two, epoch, vec![Record { body, ..record(id, 1, 0) }]).await.unwrap();
    }

    durable.wait_for(|lsn| *lsn == Lsn(2)).await.unwrap();

    for stored in one.walk(Lsn(0), Limit::default()).await.unwrap() {
        let home = stored.record.entity.home;
        assert_eq!(here.open_sealed(&home, b"", &stored.record.body).unwrap(), b"theirs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_not_given_the_epoch_that_fenced_it() {
    let database = Database::fresh();
    let (one, two) = (on(&database).await, on(&database).await);
    let epoch = one.claim(SHARD).await.unwrap().epoch;
    let current = two.claim(SHARD).await.unwrap().epoch;
    append(&one, epoch, vec![record(1, 1, 9)]).await.unwrap_err();

    let claimed = Journal::claim(&*one, SHARD).await;
    let late = append(&one, current, vec![record(1, 1, 9)]).await;

    assert!(matches!(claimed, Err(AppendError::Fenced { .. })), "{claimed:?}");
    assert_eq!(late, Err(AppendError::Fenced { shard: SHARD, current, claimed: current }));
    append(&two, current, vec![record(1, 1, 9)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_granted_again_is_compared_with_where_it_was_left() {
    let database = Database::fresh();
    let journal = on(&database).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    append(&journal, epoch, vec![record(1, 1, 9), record(1, 2, 9)]).await.unwrap();
    database.execute("delete from record where off = 2; update shard set tail = 1 where number = 1").await;

    let granted = journal.grant(vec![(SHARD, epoch)]).await;

    assert_eq!(granted, Ok(Vec::new()));
    let claimed = Journal::claim(&*journal, SHARD).await;
    assert!(matches!(claimed, Err(AppendError::RolledBack { .. })), "{claimed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_taken_back_while_the_store_is_away() {
    let server = Arc::new(tokio::task::spawn_blocking(Server::start).await.unwrap());
    let journal = on(&server.database()).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    on_server(&server, Server::stop).await;
    until(|| matches!(journal.health(), Health::Unreachable(_))).await;

    journal.revoke(&[SHARD]).await;

    on_server(&server, Server::resume).await;
    until(|| journal.health() == Health::Writable).await;
    let late = append(&journal, epoch, vec![record(1, 1, 9)]).await;
    assert!(matches!(late, Err(AppendError::Fenced { .. })), "{late:?}");
}

/// Appends wait as long as this is held.
async fn hold_the_log(client: &mut Client) -> deadpool_postgres::Transaction<'_> {
    let transaction = client.transaction().await.unwrap();
    transaction.execute("select 1 from log for update", &[]).await.unwrap();
    transaction
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_taken_back_only_once_nothing_of_it_is_under_way() {
    let database = Database::fresh();
    let journal = on(&database).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    let (store, is_told) = (database.store().await, Arc::new(AtomicBool::new(false)));
    let mut client = store.client().await.unwrap();
    let held = hold_the_log(&mut client).await;
    let told = Arc::clone(&is_told);
    let done: Done = Box::new(move |fate| told.store(fate.is_ok(), Ordering::Relaxed));
    journal.append(Group { shard: SHARD, epoch, records: vec![record(1, 1, 9)] }, done);

    let mut revoked = std::pin::pin!(journal.revoke(&[SHARD]));
    let waiting =
        "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    while held.query_opt(waiting, &[]).await.unwrap().is_none() {}
    assert!(revoked.as_mut().now_or_never().is_none());
    held.commit().await.unwrap();
    revoked.await;

    assert!(is_told.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_answer_an_append_is_out_of_reach_until_it_does() {
    let database = Database::fresh();
    let journal = on(&database).await;
    let epoch = journal.claim(SHARD).await.unwrap().epoch;
    let store = database.store().await;
    let mut client = store.client().await.unwrap();
    let held = hold_the_log(&mut client).await;
    let hanging = async {
        until(|| matches!(journal.health(), Health::Unreachable(_))).await;
        held.commit().await.unwrap();
    };

    let (fate, ()) = join(append(&journal, epoch, vec![record(1, 1, 9)]), hanging).await;

    fate.unwrap();
    assert_eq!(journal.health(), Health::Writable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_far_behind_goes_on_from_the_end_and_reads_the_rest_from_the_store() {
    const MANY: u64 = 9_000;
    let database = Database::fresh();
    let (one, two) = (on(&database).await, on(&database).await);
    let (mine, other) = (one.claim(OTHER).await.unwrap(), two.claim(SHARD).await.unwrap());
    // In one commit, so that nobody follows in between.
    append(&two, other.epoch, (1..=MANY).map(|seq| record(1, seq, 9)).collect()).await.unwrap();

    append_to(&one, OTHER, mine.epoch, vec![record(2, 1, 9)]).await.unwrap();
    let all = Lsn(MANY + 1);
    let (first, second) = (walked(&one, all).await, walked(&two, all).await);

    assert!(first.iter().zip(1..).all(|(stored, lsn)| stored.lsn == Lsn(lsn)));
    assert!(first == second && first.len() as u64 == all.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_of_more_than_there_is_follows_what_there_is() {
    let database = Database::fresh();
    let (one, two) = (on(&database).await, on(&database).await);
    let epoch = two.claim(SHARD).await.unwrap().epoch;
    let mut durable = one.durable();

    for (seq, told) in [(1, 1_000_000), (2, 7)] {
        one.heard_of(Lsn(told));
        append(&two, epoch, vec![record(1, seq, 9)]).await.unwrap();

        assert_eq!(*durable.wait_for(|lsn| *lsn >= Lsn(seq)).await.unwrap(), Lsn(seq));
    }
    assert_eq!(walked(&one, Lsn(2)).await.len(), 2);
}
