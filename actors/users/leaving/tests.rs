//! What leaving promises: decisions first, then a person who goes on a node that dies at every step.

use std::time::Duration;

use prognet_supervisor::testing::{NOON, World, given, holds_to_golden};

use super::*;
use crate::{
    auth::access::Authority,
    communication::message::Language,
    crashes::{count, over_crashes, over_crashes_with_mails},
    tenancy::{Role, membership::Status as Standing},
    users::account::Status,
    values::{Email, PersonName, Slug, TenantName},
};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const ACCOUNT: AccountId = AccountId::new(1);
const HELD: reservation::View = reservation::View { owner: Some(1), is_confirmed: true };
const OTHER: AccountId = AccountId::new(2);
const ONE: TenantId = TenantId::new(11);
const TWO: TenantId = TenantId::new(12);
const LEFT: Event = Event::Left {};
const SIGNED_OUT: Event = Event::SignedOut {};
const CLOSED: Event = Event::AccountClosed {};

fn plan() -> Plan {
    let (to, name) = (Email::parse("ada@example.org").unwrap(), PersonName::parse("Ada").unwrap());
    let person = Recipient { to, name, language: Language::En };
    Plan { account: ACCOUNT, person, email_reservation: 9, until: NOON.after(WEEK) }
}

fn started() -> Event {
    Event::Started { plan: plan(), at: NOON }
}

fn owned(tenants: &[TenantId]) -> Event {
    Event::Owned { tenants: tenants.to_vec() }
}

fn belonged(tenants: &[TenantId]) -> Event {
    Event::Belonged { tenants: tenants.to_vec() }
}

/// On the way without tenants, up to the grace.
fn until_grace() -> Vec<Event> {
    vec![started(), owned(&[]), LEFT, SIGNED_OUT]
}

fn with(mut history: Vec<Event>, more: impl IntoIterator<Item = Event>) -> Vec<Event> {
    history.extend(more);
    history
}

fn ended() -> Event {
    Event::Ended { at: NOON }
}

fn collected(holds: &[u128]) -> Event {
    Event::Collected { holds: holds.to_vec() }
}

#[test]
fn who_leaves_is_signed_out_told_and_given_time() {
    given::<Leaving>([]).when(Command::Start(plan())).then([started()]).sends(&[]);
    let owns = Command::Owns { tenants: Vec::new(), asked_at: NOON };
    given::<Leaving>([started()]).when(owns).then([owned(&[])]).sends(&["leave"]);
    let closing = || [started(), owned(&[])];
    given::<Leaving>(closing()).hears::<Account>("leave", &Ok(None)).then([LEFT]).sends(&["sign_out"]);
    let grace = given::<Leaving>([started(), owned(&[]), LEFT])
        .when(Command::SignedOut)
        .then([SIGNED_OUT])
        .sends(&["tell"])
        .sets(&[("end", NOON.after(WEEK))]);
    assert_eq!(grace.state.reply(), View::Grace(NOON.after(WEEK)));
    given::<Leaving>(until_grace()).when(Command::Start(plan())).then([]);
    let of_before = Command::Owns { tenants: Vec::new(), asked_at: NOON.after(WEEK) };
    given::<Leaving>([started()]).when(of_before).then([]);
}

#[test]
fn who_may_not_leave_stays_and_tenants_count_on_them_again() {
    let history = [started(), owned(&[ONE]), Event::Excused {}];
    let refused = given::<Leaving>(history)
        .hears::<Account>("leave", &Err(account::Rejection::RunsThePlatform))
        .then([Event::Refused {}])
        .sends(&["back"]);
    assert_eq!(refused.state.reply(), View::Refused);
}

#[test]
fn every_tenant_that_one_owns_is_asked_and_one_without_another_owner_keeps_them() {
    let owns = Command::Owns { tenants: vec![ONE, TWO], asked_at: NOON };
    given::<Leaving>([started()]).when(owns).then([owned(&[ONE, TWO])]).sends(&["excuse"]);
    let asked = || with(vec![started()], [owned(&[ONE, TWO])]);
    let (excused, last_owner) = (Event::Excused {}, Err(tenant::Rejection::LastOwner));
    given::<Leaving>(asked()).hears::<Tenant>("excuse", &Ok(None)).then([excused.clone()]).sends(&["excuse"]);
    given::<Leaving>(with(asked(), [excused.clone()]))
        .hears::<Tenant>("excuse", &Ok(None))
        .then([excused.clone()])
        .sends(&["leave"]);
    let kept = given::<Leaving>(with(asked(), [excused]))
        .hears::<Tenant>("excuse", &last_owner)
        .then([Event::Needed {}, Event::Refused {}])
        .sends(&["back"]);
    assert_eq!(kept.state.reply(), View::Needed(vec![TWO]));
    assert!(kept.state.has_ended());
    given::<Leaving>(asked())
        .hears::<Tenant>("excuse", &last_owner)
        .then([Event::Needed {}])
        .sends(&["excuse"]);
    // Asked again, it begins anew.
    let again = with(asked(), [Event::Needed {}, Event::Needed {}, Event::Refused {}]);
    let again = given::<Leaving>(again).when(Command::Start(plan())).then([started()]);
    assert_eq!(again.state.reply(), View::Running);
}

#[test]
fn a_person_who_changes_their_mind_in_time_stays() {
    let reopened = Event::Reopened { at: NOON };
    let history = [started(), owned(&[ONE]), Event::Excused {}, LEFT, SIGNED_OUT];
    given::<Leaving>(history).when(Command::Stay).then([reopened.clone()]).sends(&["stay", "back"]);
    let held = [Event::Ended { at: NOON }, Event::Belonged { tenants: vec![TWO] }, Event::Held { at: NOON }];
    given::<Leaving>(with(until_grace(), held)).when(Command::Stay).then([reopened.clone()]).sends(&["stay"]);
    let here = given::<Leaving>(with(until_grace(), [reopened]))
        .hears::<Account>("stay", &Ok(None))
        .then([Event::Stayed {}]);
    assert_eq!(here.state.reply(), View::Here);
    given::<Leaving>([]).when(Command::Stay).rejects(Rejection::NotLeaving);
    given::<Leaving>(with(until_grace(), [ended()])).when(Command::Stay).rejects(Rejection::NotLeaving);
}

#[test]
fn in_the_end_every_membership_ends_one_after_the_other() {
    given::<Leaving>(until_grace()).when(Command::End).then([ended()]).sends(&[]);
    let looking = || with(until_grace(), [ended()]);
    let belongs = |tenants: &[TenantId]| Command::Belongs { tenants: tenants.to_vec(), asked_at: NOON };
    given::<Leaving>(looking()).when(belongs(&[])).then([belonged(&[])]).sends(&["close"]);
    given::<Leaving>(looking()).when(belongs(&[ONE, TWO])).then([belonged(&[ONE, TWO])]).sends(&["yield"]);
    let parting = || with(looking(), [belonged(&[ONE, TWO])]);
    given::<Leaving>(parting()).hears::<Tenant>("yield", &Ok(None)).then([]).sends(&["part"]);
    let parted = Event::Parted {};
    given::<Leaving>(parting())
        .hears::<Membership>("part", &Ok(None))
        .then([parted.clone()])
        .sends(&["yield"]);
    given::<Leaving>(with(parting(), [parted.clone()]))
        .hears::<Membership>("part", &Ok(None))
        .then([parted])
        .sends(&["close"]);
}

#[test]
fn a_tenant_that_came_to_need_them_is_asked_again_a_day_later() {
    let parting = || with(until_grace(), [ended(), belonged(&[ONE])]);
    let held = Event::Held { at: NOON };
    given::<Leaving>(parting())
        .hears::<Tenant>("yield", &Err(tenant::Rejection::LastOwner))
        .then([held.clone()])
        .sends(&[])
        .sets(&[("end", NOON.after(HELD_FOR))]);
    given::<Leaving>(with(parting(), [held])).when(Command::End).then([ended()]);
}

#[test]
fn in_the_end_the_account_is_closed_and_every_address_let_go() {
    let ending = || with(until_grace(), [ended(), belonged(&[])]);
    given::<Leaving>(ending()).hears::<Account>("close", &Ok(None)).then([CLOSED]).sends(&["collect"]);
    let view = change_email::View { is_running: false, holds: vec![8] };
    let history = || with(ending(), [CLOSED]);
    given::<Leaving>(history())
        .hears::<ChangeEmail>("collect", &Ok(view))
        .then([collected(&[9, 8])])
        .sends(&["release", "release"]);
    let mut last = history();
    last.push(collected(&[9, 8]));
    given::<Leaving>(last.clone()).hears::<Reservation>("release", &Ok(HELD)).then([Event::Released {}]);
    last.push(Event::Released {});
    let gone =
        given::<Leaving>(last).hears::<Reservation>("release", &Ok(HELD)).then([Event::Gone { at: NOON }]);
    assert!(gone.state.has_ended());
}

#[test]
fn every_event_ever_written_is_read() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/leaving.txt");
    holds_to_golden::<Leaving>(
        file.as_ref(),
        &[
            started(),
            owned(&[ONE]),
            Event::Excused {},
            Event::Needed {},
            Event::Refused {},
            LEFT,
            SIGNED_OUT,
            Event::Reopened { at: NOON },
            Event::Stayed {},
            ended(),
            belonged(&[ONE]),
            Event::Parted {},
            Event::Held { at: NOON },
            CLOSED,
            collected(&[9, 8]),
            Event::Released {},
            Event::Gone { at: NOON },
        ],
    );
}

/// A person who may sign in, with their address held.
async fn somebody(world: &World) {
    let Recipient { to: email, name, language } = plan().person;
    let register = account::Command::Register { email, name: name.clone(), language };
    world.ask(Account::at(ACCOUNT), register).await.unwrap();
    world.ask(Account::at(ACCOUNT), account::Command::Activate { name }).await.unwrap();
    let claim = reservation::Command::Claim { owner: ACCOUNT.number(), lasts: WEEK };
    world.ask(Reservation::at(9), claim).await.unwrap();
    let confirm = reservation::Command::Confirm { owner: ACCOUNT.number() };
    world.ask(Reservation::at(9), confirm).await.unwrap();
}

/// Two tenants: one that the person founded and owns beside somebody, one that does not let them in for now.
async fn in_tenants(world: &World) {
    for (tenant, founder, member) in [(ONE, ACCOUNT, OTHER), (TWO, OTHER, ACCOUNT)] {
        let (name, slug) = (TenantName::parse("Acme").unwrap(), Slug::parse("acme").unwrap());
        let create = tenant::Command::Create { name, slug, owner: founder };
        world.ask(Tenant::at(tenant), create).await.unwrap();
        world.ask(Membership::at(tenant, founder), membership::Command::Own).await.unwrap();
        let admit = membership::Command::Admit { role: Role::Member };
        world.ask(Membership::at(tenant, member), admit).await.unwrap();
    }
    let by = Authority::of_role(Role::Owner, None);
    let rise = membership::Command::ChangeRole { to: Role::Owner, by };
    world.ask(Membership::at(ONE, OTHER), rise).await.unwrap();
    world.until(Duration::from_millis(5), || async { owners(world, ONE).await == [ACCOUNT, OTHER] }).await;
    let suspend = membership::Command::Suspend { by };
    world.ask(Membership::at(TWO, ACCOUNT), suspend).await.unwrap();
}

async fn owners(world: &World, tenant: TenantId) -> Vec<AccountId> {
    world.read(Tenant::at(tenant)).await.unwrap().map(|tenant| tenant.owners).unwrap_or_default()
}

async fn is_member(world: &World, tenant: TenantId) -> bool {
    let member = world.read(Membership::at(tenant, ACCOUNT)).await.unwrap().unwrap();
    !matches!(member.status, Standing::Removed { .. })
}

async fn leave(world: &World) {
    drop(world.node.ask_to_end(&world.asking(Some(1)), Leaving::at(ACCOUNT), Command::Start(plan())).await);
}

async fn in_grace(world: &World) {
    somebody(world).await;
    in_tenants(world).await;
    leave(world).await;
    let is_told = || async { count(world, "message", "delivered") == 1 };
    world.until(Duration::from_millis(20), is_told).await;
}

#[tokio::test]
async fn a_person_who_leaves_may_stay_in_their_tenants_however_often_the_node_dies() {
    let prepare = async |world: &World| {
        somebody(world).await;
        in_tenants(world).await;
    };
    over_crashes(1, prepare, leave, async |world: &World| {
        let view = world.read(Account::at(ACCOUNT)).await.unwrap();
        let tenant = world.read(Tenant::at(ONE)).await.unwrap().unwrap();
        world.read(Leaving::at(ACCOUNT)).await.unwrap() == View::Grace(plan().until)
            && view.is_some_and(|view| view.status == Status::Leaving { until: plan().until })
            && is_member(world, ONE).await
            && is_member(world, TWO).await
            && tenant.excused == [ACCOUNT]
    })
    .await;
}

#[tokio::test]
async fn a_person_who_goes_is_erased_however_often_the_node_dies() {
    let wait = async |world: &World| {
        let over = NOON.after(WEEK + WEEK);
        world.clock.advance(over.since(world.clock.now()));
    };
    over_crashes_with_mails(&[("ada@example.org", 1)], in_grace, wait, async |world: &World| {
        let kept = world.read(Tenant::at(ONE)).await.unwrap().unwrap();
        world.read(Account::at(ACCOUNT)).await.unwrap().is_none()
            && world.node.is_erased(&ACCOUNT.home())
            && world.read(Reservation::at(9)).await.unwrap().owner.is_none()
            && !is_member(world, ONE).await
            && !is_member(world, TWO).await
            && (kept.owners, kept.excused) == (vec![OTHER], vec![])
            && owners(world, TWO).await == [OTHER]
    })
    .await;
}

#[tokio::test]
async fn the_only_owner_of_a_tenant_stays_however_often_the_node_dies() {
    let only_owner = async |world: &World| {
        somebody(world).await;
        in_tenants(world).await;
        let by = Authority::of_role(Role::Owner, None);
        world.ask(Membership::at(ONE, OTHER), membership::Command::Remove { by }).await.unwrap();
        world.until(Duration::from_millis(5), || async { owners(world, ONE).await == [ACCOUNT] }).await;
    };
    over_crashes(0, only_owner, leave, async |world: &World| {
        let view = world.read(Account::at(ACCOUNT)).await.unwrap();
        world.read(Leaving::at(ACCOUNT)).await.unwrap() == View::Needed(vec![ONE])
            && view.is_some_and(|view| view.status == Status::Active)
            && is_member(world, ONE).await
            && is_member(world, TWO).await
    })
    .await;
}

/// Each would count on the other otherwise, and both be gone in the end.
#[tokio::test]
async fn of_two_owners_who_go_the_second_is_needed() {
    let world = World::new(crate::services).await;
    somebody(&world).await;
    in_tenants(&world).await;
    let excused = tenant::Command::Excuse { owner: OTHER };
    world.ask(Tenant::at(ONE), excused).await.unwrap();

    world.ask(Leaving::at(ACCOUNT), Command::Start(plan())).await.unwrap();

    let stays = || async { world.read(Leaving::at(ACCOUNT)).await == Ok(View::Needed(vec![ONE])) };
    world.until(Duration::from_millis(20), stays).await;
}

#[tokio::test]
async fn whoever_became_the_only_owner_meanwhile_is_erased_once_there_is_another() {
    let mut world = World::new(crate::services).await;
    somebody(&world).await;
    in_tenants(&world).await;
    world.ask(Leaving::at(ACCOUNT), Command::Start(plan())).await.unwrap();
    let leaving = || async { world.read(Leaving::at(ACCOUNT)).await == Ok(View::Grace(plan().until)) };
    world.until(Duration::from_millis(20), leaving).await;
    // Somebody lets them in again, hands the tenant over, and goes.
    let by = Authority::of_role(Role::Owner, None);
    let (going, other) = (Membership::at(TWO, ACCOUNT), Membership::at(TWO, OTHER));
    world.ask(going, membership::Command::Resume { by }).await.unwrap();
    world.ask(going, membership::Command::ChangeRole { to: Role::Owner, by }).await.unwrap();
    world.until(Duration::from_millis(5), || async { owners(&world, TWO).await == [OTHER, ACCOUNT] }).await;
    world.ask(other, membership::Command::Leave).await.unwrap();
    world.until(Duration::from_millis(5), || async { owners(&world, TWO).await == [ACCOUNT] }).await;

    world.clock.advance(WEEK);
    let held = || async { world.memory.log().iter().any(|stored| stored.record.name.as_str() == "held") };
    world.until(Duration::from_millis(20), held).await;
    world.crash().await;
    assert_eq!(owners(&world, TWO).await, [ACCOUNT]);
    assert!(world.read(Account::at(ACCOUNT)).await.unwrap().is_some(), "nothing of them is erased");

    world.ask(Tenant::at(TWO), tenant::Command::AddOwner { owner: OTHER }).await.unwrap();
    world.clock.advance(HELD_FOR);
    let is_erased = || async { world.read(Account::at(ACCOUNT)).await == Ok(None) };
    world.until(Duration::from_millis(20), is_erased).await;
    assert_eq!(owners(&world, TWO).await, [OTHER]);
    assert!(!is_member(&world, ONE).await && !is_member(&world, TWO).await);
}
