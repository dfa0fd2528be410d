//! What users promises over crashes: behind whichever record a node dies, everybody is where they should be, every
//! address is whose it should be, and every mail is sent under one Message-ID.

use std::time::Duration;

use prognet_supervisor::{
    Aggregate, Entity, Timestamp,
    testing::{NOON, World},
};

use super::{
    Account, ChangeEmail, Leaving, Reservation, SetUp, SignUp,
    account::{self, Status},
    change_email, leaving, reservation, set_up,
    sign_up::{self, Attempt, View},
};
use crate::{
    auth::credential::{self, Credential, PasswordHash, Recipient},
    communication::Language,
    crashes::{count, over_crashes, over_crashes_with_mails},
    ids::AccountId,
    values::{Email, PersonName},
};

const ADA: AccountId = AccountId::new(0xADA);
const BOB: AccountId = AccountId::new(0xB0B);
const DAY: Duration = Duration::from_secs(24 * 3600);
const OLD: &str = "ada@example.org";
const NEW: &str = "lovelace@example.org";
const THIRD: &str = "countess@example.org";

fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

/// A number for a text, another one for each here.
fn number(text: &str) -> u128 {
    text.bytes().fold(0_u128, |number, byte| number.wrapping_mul(257).wrapping_add(u128::from(byte)))
}

/// The reservation of an address.
fn at(address: &str) -> u128 {
    number(address)
}

/// Gives a command under a key, as a client that asks again until it knows what came of it.
async fn give<A: Aggregate>(world: &World, entity: Entity<A>, command: A::Command) {
    let key = number(&serde_json::to_string(&command).unwrap());
    drop(world.node.ask_to_end(&world.asking(Some(key)), entity, command).await);
}

async fn status(world: &World, account: AccountId) -> Option<Status> {
    world.read(Account::at(account)).await.unwrap().map(|account| account.status)
}

async fn address(world: &World, account: AccountId) -> String {
    let known = world.read(Account::at(account)).await.unwrap();
    known.map(|known| known.email.to_string()).unwrap_or_default()
}

/// Whose an address is, and whether for good.
async fn held(world: &World, address: &str) -> Option<(AccountId, bool)> {
    let held = world.read(Reservation::at(at(address))).await.unwrap();
    held.owner.map(|owner| (AccountId::new(owner), held.is_confirmed))
}

async fn is_erased(world: &World, account: AccountId) -> bool {
    status(world, account).await.is_none() && world.node.is_erased(&account.home())
}

/// The clock shows this or more.
fn later(world: &World, moment: Timestamp) {
    world.clock.advance(moment.since(world.clock.now()));
}

/// So many mails were asked for.
async fn mailed(world: &World, mails: usize) {
    until(world, || async { count(world, "message", "requested") == mails }).await;
}

/// So many mails have left.
async fn delivered(world: &World, mails: usize) {
    until(world, || async { count(world, "message", "delivered") == mails }).await;
}

async fn until<F: Future<Output = bool>>(world: &World, is_so: impl FnMut() -> F) {
    world.until(Duration::from_millis(20), is_so).await;
}

fn attempt(link: u128) -> Attempt {
    let (name, password) = (PersonName::parse("Ada").unwrap(), PasswordHash::new(format!("hash {link}")));
    Attempt { link, name, password, language: Language::En }
}

async fn sign_up(world: &World, account: AccountId, link: u128) {
    let plan = sign_up::Plan { account, email: email(OLD), email_reservation: at(OLD), lasts: DAY };
    let start = sign_up::Command::Start { plan, attempt: attempt(link) };
    // It waits for its person, so its end is not waited for.
    drop(world.ask_keyed(link, SignUp::at(account), start).await);
}

async fn stage(world: &World, account: AccountId) -> View {
    world.read(SignUp::at(account)).await.unwrap()
}

async fn pending(world: &World) {
    sign_up(world, ADA, 7).await;
    until(world, || async { stage(world, ADA).await == View::Pending }).await;
    mailed(world, 1).await;
}

async fn verify(world: &World) {
    give(world, SignUp::at(ADA), sign_up::Command::Verify { link: 7, password: attempt(7).password }).await;
}

#[tokio::test]
async fn a_sign_up_holds_its_address_and_mails_its_link() {
    let start = async |world: &World| sign_up(world, ADA, 7).await;
    over_crashes_with_mails(
        &[(OLD, 1)],
        async |_: &World| {},
        start,
        async |world: &World| {
            stage(world, ADA).await == View::Pending
                && held(world, OLD).await == Some((ADA, false))
                && status(world, ADA).await == Some(Status::Pending)
        },
    )
    .await;
}

#[tokio::test]
async fn an_opened_link_makes_an_account_with_the_password_of_its_sign_up() {
    over_crashes(1, pending, verify, async |world: &World| {
        let credential = world.read(Credential::at(ADA)).await.unwrap();
        stage(world, ADA).await == View::Done
            && held(world, OLD).await == Some((ADA, true))
            && status(world, ADA).await == Some(Status::Active)
            && (credential.password, credential.version) == (Some(attempt(7).password), 1)
    })
    .await;
}

#[tokio::test]
async fn a_second_sign_up_for_an_address_is_one_more_link_to_the_first() {
    let start = async |world: &World| sign_up(world, BOB, 8).await;
    over_crashes(2, pending, start, async |world: &World| {
        is_erased(world, BOB).await
            && stage(world, ADA).await == View::Pending
            && held(world, OLD).await == Some((ADA, false))
    })
    .await;
}

#[tokio::test]
async fn a_sign_up_for_somebodys_address_leaves_nothing_but_a_mail_to_them() {
    let done = async |world: &World| {
        pending(world).await;
        verify(world).await;
    };
    let start = async |world: &World| sign_up(world, BOB, 8).await;
    over_crashes(2, done, start, async |world: &World| {
        is_erased(world, BOB).await
            && status(world, ADA).await == Some(Status::Active)
            && held(world, OLD).await == Some((ADA, true))
    })
    .await;
}

#[tokio::test]
async fn an_abandoned_sign_up_lets_its_address_go_and_is_erased() {
    let wait = async |world: &World| later(world, NOON.after(DAY + DAY));
    let pending = async |world: &World| {
        pending(world).await;
        delivered(world, 1).await;
    };
    over_crashes_with_mails(&[(OLD, 1)], pending, wait, async |world: &World| {
        is_erased(world, ADA).await && held(world, OLD).await.is_none()
    })
    .await;
}

#[tokio::test]
async fn setting_up_makes_one_admin_who_has_their_address() {
    let registered = async |world: &World| {
        let (name, language) = (PersonName::parse("Ada").unwrap(), Language::En);
        let register = account::Command::Register { email: email(OLD), name, language };
        world.ask(Account::at(ADA), register).await.unwrap();
    };
    let set_up = async |world: &World| {
        let plan = set_up::Plan { account: ADA, email_reservation: at(OLD) };
        give(world, SetUp::at(), set_up::Command::Start(plan)).await;
    };
    over_crashes(0, registered, set_up, async |world: &World| {
        let admin = world.read(Account::at(ADA)).await.unwrap();
        world.read(SetUp::at()).await.unwrap() == set_up::View::Done(ADA)
            && admin.is_some_and(|admin| admin.is_platform_admin && admin.status == Status::Active)
            && held(world, OLD).await == Some((ADA, true))
    })
    .await;
}

/// Somebody who may sign in, whose address is held for good.
async fn somebody(world: &World, account: AccountId, address: &str) {
    let name = PersonName::parse("Ada").unwrap();
    let register =
        account::Command::Register { email: email(address), name: name.clone(), language: Language::En };
    world.ask(Account::at(account), register).await.unwrap();
    world.ask(Account::at(account), account::Command::Activate { name }).await.unwrap();
    let (reservation, owner) = (Reservation::at(at(address)), account.number());
    world.ask(reservation, reservation::Command::Claim { owner, lasts: DAY }).await.unwrap();
    world.ask(reservation, reservation::Command::Confirm { owner }).await.unwrap();
    let create = credential::Command::Create { password: attempt(1).password };
    world.ask(Credential::at(account), create).await.unwrap();
}

fn recipient() -> Recipient {
    Recipient { to: email(OLD), name: PersonName::parse("Ada").unwrap(), language: Language::En }
}

async fn change(world: &World, new: &str, link: u128) {
    let plan = change_email::Plan {
        account: ADA,
        person: recipient(),
        old_reservation: at(OLD),
        new: email(new),
        new_reservation: at(new),
        link,
    };
    give(world, ChangeEmail::at(ADA), change_email::Command::Start(plan)).await;
}

async fn changing(world: &World) {
    somebody(world, ADA, OLD).await;
    change(world, NEW, 7).await;
    mailed(world, 2).await;
}

async fn confirm(world: &World) {
    give(world, ChangeEmail::at(ADA), change_email::Command::Confirm { link: 7 }).await;
}

async fn changed(world: &World) {
    changing(world).await;
    confirm(world).await;
}

async fn undo(world: &World) {
    give(world, ChangeEmail::at(ADA), change_email::Command::Undo { link: 7 }).await;
}

/// The change rests, and holds these beside nothing else.
async fn change_holds(world: &World, addresses: &[&str]) -> bool {
    let view = world.read(ChangeEmail::at(ADA)).await.unwrap();
    let held: Vec<_> = addresses.iter().map(|address| at(address)).collect();
    !view.is_running && view.holds == held
}

#[tokio::test]
async fn a_change_of_address_holds_the_new_one_and_tells_both() {
    let old = async |world: &World| somebody(world, ADA, OLD).await;
    let start = async |world: &World| change(world, NEW, 7).await;
    over_crashes_with_mails(&[(OLD, 1), (NEW, 1)], old, start, async |world: &World| {
        change_holds(world, &[OLD, NEW]).await
            && held(world, OLD).await == Some((ADA, true))
            && held(world, NEW).await == Some((ADA, false))
            && address(world, ADA).await == OLD
    })
    .await;
}

#[tokio::test]
async fn a_confirmed_address_is_the_accounts_and_the_old_one_is_kept_for_it() {
    over_crashes(2, changing, confirm, async |world: &World| {
        change_holds(world, &[OLD, NEW]).await
            && held(world, OLD).await == Some((ADA, true))
            && held(world, NEW).await == Some((ADA, true))
            && address(world, ADA).await == NEW
    })
    .await;
}

/// Nothing is left of a change: the account has its old address, and the new one is free.
async fn is_as_before(world: &World) -> bool {
    change_holds(world, &[]).await
        && held(world, OLD).await == Some((ADA, true))
        && held(world, NEW).await.is_none()
        && address(world, ADA).await == OLD
}

#[tokio::test]
async fn a_change_that_is_taken_back_before_it_was_confirmed_leaves_nothing() {
    over_crashes(2, changing, undo, is_as_before).await;
}

#[tokio::test]
async fn a_confirmed_change_that_is_taken_back_gives_the_old_address_again_and_ends_all_sessions() {
    let changed = async |world: &World| {
        changed(world).await;
        delivered(world, 2).await;
    };
    over_crashes_with_mails(&[(OLD, 2), (NEW, 1)], changed, undo, async |world: &World| {
        is_as_before(world).await && world.read(Credential::at(ADA)).await.unwrap().epoch == 1
    })
    .await;
}

#[tokio::test]
async fn a_change_nobody_confirms_ends_by_itself() {
    let wait = async |world: &World| later(world, NOON.after(DAY));
    let changing = async |world: &World| {
        changing(world).await;
        delivered(world, 2).await;
    };
    over_crashes_with_mails(&[(OLD, 1), (NEW, 1)], changing, wait, is_as_before).await;
}

#[tokio::test]
async fn a_week_after_a_change_the_old_address_is_free() {
    let wait = async |world: &World| later(world, NOON.after(8 * DAY));
    let changed = async |world: &World| {
        changed(world).await;
        delivered(world, 2).await;
    };
    over_crashes_with_mails(&[(OLD, 1), (NEW, 1)], changed, wait, async |world: &World| {
        change_holds(world, &[]).await
            && held(world, OLD).await.is_none()
            && held(world, NEW).await == Some((ADA, true))
            && address(world, ADA).await == NEW
    })
    .await;
}

#[tokio::test]
async fn a_change_to_somebodys_address_ends_with_a_mail_to_them() {
    let two = async |world: &World| {
        somebody(world, ADA, OLD).await;
        somebody(world, BOB, NEW).await;
    };
    let start = async |world: &World| change(world, NEW, 7).await;
    over_crashes(2, two, start, async |world: &World| {
        change_holds(world, &[]).await
            && held(world, NEW).await == Some((BOB, true))
            && address(world, ADA).await == OLD
            && address(world, BOB).await == NEW
    })
    .await;
}

#[tokio::test]
async fn a_mistyped_address_is_let_go_for_the_right_one() {
    let again = async |world: &World| change(world, THIRD, 8).await;
    over_crashes(4, changing, again, async |world: &World| {
        change_holds(world, &[OLD, THIRD]).await
            && held(world, NEW).await.is_none()
            && held(world, THIRD).await == Some((ADA, false))
            && address(world, ADA).await == OLD
    })
    .await;
}

async fn leave(world: &World) {
    let (person, until) = (recipient(), NOON.after(7 * DAY));
    let plan = leaving::Plan { account: ADA, person, email_reservation: at(OLD), until };
    give(world, Leaving::at(ADA), leaving::Command::Start(plan)).await;
}

#[tokio::test]
async fn a_person_who_leaves_is_signed_out_and_told_until_when_they_may_stay() {
    let old = async |world: &World| somebody(world, ADA, OLD).await;
    over_crashes_with_mails(&[(OLD, 1)], old, leave, async |world: &World| {
        let until = NOON.after(7 * DAY);
        world.read(Leaving::at(ADA)).await.unwrap() == leaving::View::Grace(until)
            && status(world, ADA).await == Some(Status::Leaving { until })
            && held(world, OLD).await == Some((ADA, true))
            && world.read(Credential::at(ADA)).await.unwrap().epoch == 1
    })
    .await;
}

async fn about_to_go(world: &World) {
    somebody(world, ADA, OLD).await;
    leave(world).await;
}

#[tokio::test]
async fn a_person_who_stays_after_all_is_here() {
    let stay = async |world: &World| give(world, Leaving::at(ADA), leaving::Command::Stay).await;
    over_crashes(1, about_to_go, stay, async |world: &World| {
        world.read(Leaving::at(ADA)).await.unwrap() == leaving::View::Here
            && status(world, ADA).await == Some(Status::Active)
            && held(world, OLD).await == Some((ADA, true))
    })
    .await;
}

#[tokio::test]
async fn a_person_who_goes_is_erased_with_all_their_addresses() {
    let about_to_go = async |world: &World| {
        changing(world).await;
        leave(world).await;
        delivered(world, 3).await;
    };
    let wait = async |world: &World| later(world, NOON.after(8 * DAY));
    over_crashes_with_mails(&[(OLD, 2), (NEW, 1)], about_to_go, wait, async |world: &World| {
        is_erased(world, ADA).await
            && held(world, OLD).await.is_none()
            && held(world, NEW).await.is_none()
            && world.read(Leaving::at(ADA)).await.unwrap() == leaving::View::Here
    })
    .await;
}

#[tokio::test]
async fn whoever_runs_the_platform_does_not_leave_it() {
    let admin = async |world: &World| {
        somebody(world, ADA, OLD).await;
        world.ask(Account::at(ADA), account::Command::Appoint).await.unwrap();
    };
    over_crashes(0, admin, leave, async |world: &World| {
        world.read(Leaving::at(ADA)).await.unwrap() == leaving::View::Refused
            && status(world, ADA).await == Some(Status::Active)
            && held(world, OLD).await == Some((ADA, true))
    })
    .await;
}
