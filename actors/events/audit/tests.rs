//! What the trail's chain promises: it is the journal's, whatever became of the rows, and outlives a key.

use std::time::Duration;

use prognet_supervisor::testing::World;

use super::*;
use crate::{
    auth::credential::Recipient,
    communication::message::Language,
    users::{Account, account},
    values::{Email, PersonName},
};

const ACCOUNT: AccountId = AccountId::new(7);

async fn act(world: &World) {
    let Recipient { to: email, name, language } = Recipient {
        to: Email::parse("ada@example.org").unwrap(),
        name: PersonName::parse("Ada").unwrap(),
        language: Language::En,
    };
    let register = account::Command::Register { email, name: name.clone(), language };
    world.ask(Account::at(ACCOUNT), register).await.unwrap();
    world.ask(Account::at(ACCOUNT), account::Command::Activate { name }).await.unwrap();
    // A mail goes out: another service knows the home from now on.
    world.ask(Account::at(ACCOUNT), account::Command::Knock).await.unwrap();
}

/// What the rows of a home should say, by the journal.
fn of_journal(world: &World) -> Vec<Strand> {
    let mut strands: Vec<Strand> = Vec::new();
    for stored in world.memory.log() {
        let (home, service) = (stored.record.entity.home, stored.shard.service);
        if home != ACCOUNT.home() {
            continue;
        }
        match strands.iter_mut().find(|strand| strand.service == service) {
            Some(strand) => strand.head = strand.head.then(&stored.record),
            None => strands.push(Strand { service, head: Head::first(service, home).then(&stored.record) }),
        }
    }
    strands.sort_by_key(|strand| strand.service);
    strands
}

async fn heads(world: &World) -> Vec<Strand> {
    let rows = world.node.rows::<Audit, Strand>(&Audit::strands(ACCOUNT.home()), None, 100).await.unwrap();
    rows.into_iter().map(|(_, strand)| strand).collect()
}

async fn entries(world: &World) -> Vec<Row> {
    let rows = world.node.rows::<Audit, Row>(&Audit::prefix(ACCOUNT.home()), None, 100).await.unwrap();
    rows.into_iter().map(|(_, row)| row).collect()
}

async fn settled(world: &World) {
    let is_settled = || async {
        world.node.readers().iter().all(|reader| reader.lag == 0) && world.node.effects_under_way() == 0
    };
    world.until(Duration::from_millis(20), is_settled).await;
    world.until(Duration::ZERO, || async { heads(world).await == of_journal(world) }).await;
}

#[tokio::test]
async fn every_strand_of_a_home_has_its_head_and_the_same_one_when_the_rows_were_lost() {
    let mut world = World::new(crate::services).await;
    act(&world).await;
    settled(&world).await;
    let (before, trail) = (heads(&world).await, entries(&world).await);
    let services: Vec<_> = before.iter().map(|strand| strand.service.as_str()).collect();
    assert_eq!(services, ["communication", "users"]);

    world.die();
    world.memory.lose_tier();
    world.start().await;
    settled(&world).await;

    assert_eq!((heads(&world).await, entries(&world).await), (before, trail));
}

#[tokio::test]
async fn an_entry_carries_the_head_behind_its_record() {
    let world = World::new(crate::services).await;
    act(&world).await;
    settled(&world).await;

    let registered =
        entries(&world).await.into_iter().find(|row| row.event.as_str() == "registered").unwrap();

    let first = world.memory.log().into_iter().find(|stored| stored.record.entity.home == ACCOUNT.home());
    let service = Name::new("users");
    let head = Head::first(service, ACCOUNT.home()).then(&first.unwrap().record);
    assert_eq!(registered.strand, Strand { service, head });
}

#[tokio::test]
async fn the_heads_of_an_erased_home_stay_even_when_the_rows_were_lost() {
    let mut world = World::new(crate::services).await;
    act(&world).await;
    settled(&world).await;
    let before = heads(&world).await;

    world.node.erase(ACCOUNT.home()).await.unwrap();
    world.die();
    world.memory.lose_tier();
    world.start().await;

    world.until(Duration::ZERO, || async { heads(&world).await == before }).await;
    assert_eq!(entries(&world).await, []);
}
