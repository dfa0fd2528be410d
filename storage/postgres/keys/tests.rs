//! Erasures under way at once.

use super::*;
use crate::postgres::testing::Database;

fn account(id: u128) -> Subject {
    Subject::Home(Home { kind: HomeKind::Account, id })
}

/// Somebody waits for a lock.
async fn somebody_waits(client: &impl GenericClient) {
    let waiting =
        "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    while client.query_opt(waiting, &[]).await.unwrap().is_none() {}
}

/// Had two erasures one number, or were they committed in another order, a look between them would pass the later
/// one over for ever.
#[tokio::test]
async fn a_look_between_two_erasures_under_way_passes_neither_over() {
    let database = Database::fresh();
    let (here, elsewhere) = (database.store().await, database.store().await);
    let (table, _) = KeyTable::open(here.clone()).await.unwrap();
    let (looking, _) = KeyTable::open(elsewhere).await.unwrap();
    let mut client = here.client().await.unwrap();
    let observer = here.client().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    erase(&transaction, vec![text_of(&account(1))]).await.unwrap();
    let second = account(2);

    let second = table.erase(&second);
    let mut second = std::pin::pin!(second);
    let done = tokio::select! {
        erased = &mut second => Some(erased),
        () = somebody_waits(&observer) => None,
    };
    let mut found = looking.newly_erased().await.unwrap();
    transaction.commit().await.unwrap();
    match done {
        Some(erased) => erased.unwrap(),
        None => second.await.unwrap(),
    }
    found.extend(looking.newly_erased().await.unwrap());

    assert!(found.contains(&account(1)) && found.contains(&account(2)), "{found:?}");
}

#[test]
fn a_subject_survives_its_text() {
    let homes =
        [HomeKind::Tenant, HomeKind::Account, HomeKind::Platform].map(|kind| Home { kind, id: 0xab << 96 });
    let subjects = homes.map(Subject::Home).into_iter().chain([Subject::Secret("jwt/7d3f".to_owned())]);
    for subject in subjects {
        assert_eq!(subject_of(&text_of(&subject)).unwrap(), subject);
    }
    for text in ["", "tenant", "tenant/7", "robot/00000000-0000-0000-0000-000000000001"] {
        assert!(subject_of(text).is_err(), "{text}");
    }
}
