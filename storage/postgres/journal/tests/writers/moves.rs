//! Shards that move from one process to another and back while answers to appends are lost.

use std::sync::Mutex;

use super::*;

const SHARDS: [ShardId; 2] = [SHARD, OTHER];
/// Lost answers of each process.
const CUTS: usize = 100;
const BETWEEN_MOVES: u64 = 40;

/// Who owns a shard, under which epoch.
type Owner = Mutex<(usize, Epoch)>;

/// What was acknowledged: shard, entity and seq, and where it lies.
type Told = BTreeMap<(ShardId, u128, u64), Appended>;

/// An entity that appends one record after the other wherever its shard is.
async fn client(journals: &[Taking], shard: ShardId, owner: &Owner, id: u128, stop: &AtomicBool) -> Told {
    let (mut told, mut seq) = (Told::new(), 1);
    while !stop.load(Ordering::Relaxed) {
        let (journal, epoch) = *owner.lock().unwrap();
        match append_to(&journals[journal], shard, epoch, vec![record(id, seq, 50)]).await {
            Ok(appended) => {
                told.insert((shard, id, seq), appended);
                seq += 1;
            }
            Err(AppendError::Unreachable { .. } | AppendError::Fenced { .. }) => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{shard}, {id} {seq}: {error}"),
        }
    }
    told
}

/// Moves the shards to and fro.
async fn moves(journals: &[Taking], owners: &[Owner], stop: &AtomicBool) {
    for round in 0.. {
        for (place, (shard, owner)) in SHARDS.iter().zip(owners).enumerate() {
            let to = (round + place) % journals.len();
            while !stop.load(Ordering::Relaxed) {
                match journals[to].claim(*shard).await {
                    Ok(claim) => {
                        *owner.lock().unwrap() = (to, claim.epoch);
                        break;
                    }
                    Err(AppendError::Unreachable { .. }) => {
                        tokio::task::yield_now().await;
                    }
                    Err(error) => panic!("{shard}: {error}"),
                }
            }
        }
        let (mut durable, written) = (journals[0].durable(), *journals[0].durable().borrow());
        let is_stopped = || stop.load(Ordering::Relaxed);
        tokio::select! {
            more = durable.wait_for(|lsn| lsn.0 > written.0 + BETWEEN_MOVES) => drop(more.unwrap()),
            () = until(is_stopped) => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_put_elsewhere_while_shards_move_and_answers_are_lost() {
    let database = Database::fresh();
    let ((first, one), (second, two)) = (behind_proxy(&database).await, behind_proxy(&database).await);
    let (journals, stop) = ([one, two], AtomicBool::new(false));
    let mut owners = Vec::new();
    for (journal, shard) in SHARDS.into_iter().enumerate() {
        owners.push(Mutex::new((journal, journals[journal].claim(shard).await.unwrap().epoch)));
    }
    let clients = (1..=8).map(|id: u128| {
        let place = usize::try_from(id).unwrap() % SHARDS.len();
        client(&journals, SHARDS[place], &owners[place], id, &stop)
    });
    let cuts = async {
        join(first.cuts.make(CUTS), second.cuts.make(CUTS)).await;
        stop.store(true, Ordering::Relaxed);
    };

    let (told, (), ()) = tokio::join!(join_all(clients), moves(&journals, &owners, &stop), cuts);

    let told: Told = told.into_iter().flatten().collect();
    let end = Lsn(told.len() as u64);
    let all = walked(&journals[0], end).await;
    let found = |stored: &Arc<Stored>| {
        let (id, seq) = (stored.record.entity.id, stored.record.seq.0);
        ((stored.shard, id, seq), Appended { first: stored.offset, last_lsn: stored.lsn })
    };
    assert_eq!(all.len(), told.len());
    assert!(all.iter().map(found).collect::<Told>() == told, "each lies where its client was told");
    assert!(all.iter().zip(1..).all(|(stored, lsn)| stored.lsn == Lsn(lsn)), "no place is left out");
    assert!(walked(&journals[1], end).await == all, "both see the same");
    for shard in SHARDS {
        let of_shard: Vec<_> = all.iter().filter(|stored| stored.shard == shard).cloned().collect();
        assert!(of_shard.iter().zip(1..).all(|(stored, offset)| stored.offset == Offset(offset)));
        assert!(of_shard.is_sorted_by_key(|stored| stored.epoch), "no owner wrote behind its successor");
    }
}
