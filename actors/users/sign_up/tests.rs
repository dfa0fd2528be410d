//! What signing up promises: decisions first, then many of them with one address.

use prognet_supervisor::testing::{NOON, World, given, holds_to_golden};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);
const ACCOUNT: AccountId = AccountId::new(1);
const HELD: reservation::View = reservation::View { owner: Some(1), is_confirmed: false };

fn plan(account: AccountId) -> Plan {
    Plan { account, email: Email::parse("ada@example.org").unwrap(), email_reservation: 9, lasts: DAY }
}

fn attempt(link: u128) -> Attempt {
    let (name, password) = (PersonName::parse("Ada").unwrap(), PasswordHash::new(format!("hash {link}")));
    Attempt { link, name, password, language: Language::En }
}

/// Whoever signed up opens their link.
fn verify(link: u128) -> Command {
    Command::Verify { link, password: attempt(link).password }
}

fn started() -> Event {
    Event::Started { plan: plan(ACCOUNT), attempt: attempt(7), at: NOON }
}

fn repeated(link: u128) -> Event {
    Event::Repeated { attempt: attempt(link), at: NOON }
}

fn verified(link: u128) -> Event {
    Event::Verified { link, at: NOON }
}

const CLAIMED: Event = Event::EmailClaimed {};
const REGISTERED: Event = Event::Registered {};
const ABANDONED: Event = Event::Abandoned { at: NOON };
const PASSED: Event = Event::Passed { at: NOON };
const LET_GO: Event = Event::LetGo { at: NOON };

fn pending() -> Vec<Event> {
    vec![started(), CLAIMED, REGISTERED]
}

#[test]
fn a_sign_up_claims_the_address_registers_the_account_and_mails_a_link() {
    given::<SignUp>([])
        .when(Command::Start { plan: plan(ACCOUNT), attempt: attempt(7) })
        .then([started()])
        .sends(&["claim"])
        .sets(&[("abandon", NOON.after(DAY))]);
    given::<SignUp>([started()])
        .hears::<Reservation>("claim", &Ok(HELD))
        .then([CLAIMED])
        .sends(&["register"]);
    let pending = given::<SignUp>([started(), CLAIMED])
        .hears::<Account>("register", &Ok(None))
        .then([REGISTERED])
        .sends(&["mail"]);
    assert_eq!(pending.state.reply(), View::Pending);
}

#[test]
fn an_opened_link_keeps_the_address_sets_its_password_and_lets_the_person_in() {
    given::<SignUp>(pending()).when(verify(7)).then([verified(7)]).sends(&["confirm"]);
    let mut history = pending();
    history.push(verified(7));
    given::<SignUp>(history.clone())
        .hears::<Reservation>("confirm", &Ok(HELD))
        .then([Event::EmailConfirmed {}])
        .sends(&["set_password"]);
    history.extend([Event::EmailConfirmed {}, Event::PasswordSet {}]);
    let done = given::<SignUp>(history.clone())
        .hears::<Account>("activate", &Ok(None))
        .then([Event::Finished { at: NOON }]);
    assert_eq!(done.state.reply(), View::Done);
    history.push(Event::Finished { at: NOON });
    given::<SignUp>(history).when(verify(7)).rejects(Rejection::Link);
}

#[test]
fn a_link_opens_nothing_for_somebody_who_does_not_know_the_password_of_its_sign_up() {
    let stranger = |link| Command::Verify { link, password: PasswordHash::new("another".to_owned()) };
    given::<SignUp>(pending()).when(stranger(7)).rejects(Rejection::Password);
    // Nor for whoever signed up as well, with the link of the other.
    let both = || pending().into_iter().chain([repeated(8)]);
    let crossed = Command::Verify { link: 7, password: attempt(8).password };
    given::<SignUp>(both()).when(crossed).rejects(Rejection::Password);
    given::<SignUp>(both()).when(verify(8)).then([verified(8)]).sends(&["confirm"]);
    given::<SignUp>(pending()).when(stranger(9)).rejects(Rejection::Link);
}

#[test]
fn of_several_sign_ups_the_one_whose_link_is_opened_counts() {
    let again =
        given::<SignUp>(pending()).when(Command::Again(attempt(8))).then([repeated(8)]).sends(&["mail"]);
    let mut state = again.state;
    state.evolve(&verified(8));
    assert_eq!(state.opened(), Some(&attempt(8)));
    given::<SignUp>(pending()).when(verify(8)).rejects(Rejection::Link);
    // One that comes before the account is registered has its mail with the first one's.
    given::<SignUp>([started(), CLAIMED]).when(Command::Again(attempt(8))).then([repeated(8)]).sends(&[]);
    given::<SignUp>([started(), CLAIMED, repeated(8)])
        .hears::<Account>("register", &Ok(None))
        .then([REGISTERED])
        .sends(&["mail", "mail"]);
}

#[test]
fn nobody_floods_an_address_and_its_person_can_sign_up_an_hour_later() {
    let history = || pending().into_iter().chain((8..12).map(repeated));
    given::<SignUp>(history()).when(Command::Again(attempt(20))).then([PASSED]).sends(&[]);
    let later = given::<SignUp>(history()).after(MAILS_WINDOW).when(Command::Again(attempt(20))).accepted();
    assert!(matches!(later.as_deref(), Some([Event::Repeated { .. }])));
}

#[test]
fn whoever_has_the_address_is_told_instead() {
    given::<SignUp>([started()])
        .hears::<Reservation>("claim", &Err(reservation::Rejection::Taken { by: 2 }))
        .then([Event::EmailTaken { by: AccountId::new(2) }])
        .sends(&["hand_over"]);
    given::<SignUp>([started(), Event::EmailTaken { by: AccountId::new(2) }])
        .hears::<SignUp>("hand_over", &Ok(View::Done))
        .then([LET_GO]);
    // An account that was not made by a sign-up has no history here.
    given::<SignUp>([]).when(Command::Again(attempt(8))).then([PASSED]).sends(&["knock"]);
}

#[test]
fn a_sign_up_whose_link_nobody_opens_lets_the_address_go() {
    given::<SignUp>(pending()).when(Command::Abandon).then([ABANDONED]).sends(&["close"]);
    let mut history = pending();
    history.push(ABANDONED);
    given::<SignUp>(history.clone()).when(verify(7)).rejects(Rejection::Link);
    given::<SignUp>(history.clone())
        .hears::<Account>("close", &Ok(None))
        .then([Event::AccountClosed {}])
        .sends(&["release"]);
    history.push(Event::AccountClosed {});
    let gone = given::<SignUp>(history).hears::<Reservation>("release", &Ok(HELD)).then([LET_GO]);
    assert!(gone.state.has_ended());
    let mut history = pending();
    history.push(verified(7));
    given::<SignUp>(history).when(Command::Abandon).then([]);
}

#[test]
fn the_same_plan_again_changes_nothing_and_another_is_refused() {
    let start = |plan| Command::Start { plan, attempt: attempt(7) };
    given::<SignUp>([started()]).when(start(plan(ACCOUNT))).then([]);
    given::<SignUp>([started()]).when(start(plan(AccountId::new(2)))).rejects(Rejection::AnotherPlan);
}

#[test]
fn every_event_ever_written_is_read() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/sign_up.txt");
    holds_to_golden::<SignUp>(
        file.as_ref(),
        &[
            started(),
            CLAIMED,
            Event::EmailTaken { by: ACCOUNT },
            REGISTERED,
            repeated(8),
            PASSED,
            verified(7),
            Event::EmailConfirmed {},
            Event::PasswordSet {},
            Event::Finished { at: NOON },
            ABANDONED,
            Event::AccountClosed {},
            LET_GO,
        ],
    );
}

async fn stage(world: &World, account: AccountId) -> View {
    world.read(SignUp::at(account)).await.unwrap_or(View::Running)
}

fn start(account: AccountId, link: u128) -> Command {
    Command::Start { plan: plan(account), attempt: attempt(link) }
}

#[tokio::test]
async fn of_many_sign_ups_with_one_address_one_holds_it_and_the_others_are_its_links() {
    let world = World::new(crate::services).await;
    let people: Vec<_> = (1..=4).map(AccountId::new).collect();
    for (account, link) in people.iter().zip(1..) {
        world.ask(SignUp::at(*account), start(*account, link)).await.unwrap();
    }
    let stages = || async {
        let mut stages = Vec::new();
        for account in &people {
            stages.push(stage(&world, *account).await);
        }
        stages
    };
    // Those that were let go are erased, and have never been.
    let is_settled = |stages: &[View]| {
        stages.iter().filter(|stage| **stage == View::Pending).count() == 1
            && stages.iter().all(|stage| matches!(stage, View::Pending | View::LetGo | View::None))
    };
    world.until(Duration::ZERO, || async { is_settled(&stages().await) }).await;
    let holder = world.read(Reservation::at(9)).await.unwrap().owner.map(AccountId::new).unwrap();

    for link in 1..=4 {
        let is_link = world.ask(SignUp::at(holder), verify(link)).await;
        assert_eq!(is_link.is_ok(), link == 1, "{link}: {is_link:?}");
    }
    world.until(Duration::ZERO, || async { stage(&world, holder).await == View::Done }).await;
    let credential = world.read(Credential::at(holder)).await.unwrap();
    assert_eq!(credential.password, Some(attempt(1).password));
}
