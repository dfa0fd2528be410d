//! What an account promises.

use prognet_supervisor::testing::{NOON, given, holds_to_golden};

use super::*;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const APPOINTED: Event = Event::Appointed { at: NOON };
const ACTIVATED: Event = Event::Activated { at: NOON };
const DISABLED: Event = Event::Disabled { at: NOON };
const CLOSED: Event = Event::Closed { at: NOON };
const TOLD: Event = Event::RoleTold { at: NOON };

fn email() -> Email {
    Email::parse("ada@example.org").unwrap()
}

fn name(text: &str) -> PersonName {
    PersonName::parse(text).unwrap()
}

fn registered() -> Event {
    Event::Registered { email: email(), name: name("Ada"), at: NOON, language: Language::En }
}

fn register(called: &str) -> Command {
    Command::Register { email: email(), name: name(called), language: Language::En }
}

fn left() -> Event {
    Event::Left { until: NOON.after(WEEK), at: NOON }
}

fn leave() -> Command {
    Command::Leave { until: NOON.after(WEEK) }
}

#[test]
fn a_person_is_registered_once_and_cannot_sign_in_yet() {
    let account = given::<Account>([]).when(register("Ada")).then([registered()]).state.reply().unwrap();
    assert_eq!((account.status, account.is_platform_admin), (Status::Pending, false));
    given::<Account>([registered()]).when(register("Ada")).then([]);
    given::<Account>([registered()]).when(register("Bob")).rejects(Rejection::AlreadyRegistered);
}

#[test]
fn an_appointed_admin_signs_in_at_once() {
    let account = given::<Account>([registered()]).when(Command::Appoint).then([APPOINTED]).state;
    let account = account.reply().unwrap();
    assert_eq!((account.status, account.is_platform_admin), (Status::Active, true));
    given::<Account>([registered(), APPOINTED]).when(Command::Appoint).then([]);
    given::<Account>([]).when(Command::Appoint).rejects(Rejection::Unknown);
}

#[test]
fn who_shows_that_the_address_is_theirs_signs_in_under_the_name_they_gave() {
    let activate = |text| Command::Activate { name: name(text) };
    given::<Account>([registered()]).when(activate("Ada")).then([ACTIVATED]);
    let renamed = Event::Renamed { name: name("Ada Lovelace"), at: NOON };
    let account = given::<Account>([registered()]).when(activate("Ada Lovelace")).then([ACTIVATED, renamed]);
    assert_eq!(account.state.reply().unwrap().status, Status::Active);
    // A late answer changes nothing about what came after.
    given::<Account>([registered(), ACTIVATED, DISABLED]).when(activate("Ada")).then([]);
}

#[test]
fn a_disabled_person_is_out_until_enabled() {
    given::<Account>([registered(), ACTIVATED])
        .when(Command::Disable)
        .then([DISABLED])
        .sends(&["end_sessions"]);
    given::<Account>([registered(), ACTIVATED, DISABLED]).when(Command::Disable).then([]);
    given::<Account>([registered(), ACTIVATED, DISABLED])
        .when(Command::Enable)
        .then([Event::Enabled { at: NOON }]);
    given::<Account>([registered()]).when(Command::Disable).rejects(Rejection::Stands(Status::Pending));
    given::<Account>([registered()]).when(Command::Enable).rejects(Rejection::Stands(Status::Pending));
    given::<Account>([registered(), APPOINTED]).when(Command::Disable).rejects(Rejection::RunsThePlatform);
}

#[test]
fn who_leaves_may_stay_until_the_account_is_closed() {
    let history = || [registered(), ACTIVATED, left()];
    given::<Account>([registered(), ACTIVATED]).when(leave()).then([left()]);
    given::<Account>(history()).when(leave()).then([]);
    given::<Account>(history()).when(Command::Stay).then([Event::Stayed { at: NOON }]);
    given::<Account>(history()).when(Command::Close).then([CLOSED]);
    given::<Account>([registered(), ACTIVATED, left(), CLOSED])
        .when(Command::Stay)
        .rejects(Rejection::Unknown);
    given::<Account>([registered(), ACTIVATED, DISABLED])
        .when(leave())
        .rejects(Rejection::Stands(Status::Disabled));
    given::<Account>([registered(), APPOINTED]).when(leave()).rejects(Rejection::RunsThePlatform);
}

#[test]
fn a_person_is_told_of_a_sign_up_with_their_address_once_an_hour() {
    let knocked = Event::Knocked { at: NOON };
    given::<Account>([registered(), ACTIVATED]).when(Command::Knock).then([knocked.clone()]).sends(&["tell"]);
    let history = || [registered(), ACTIVATED, knocked.clone()];
    given::<Account>(history()).when(Command::Knock).then([]).sends(&[]);
    assert!(given::<Account>(history()).after(KNOCKS_APART).when(Command::Knock).accepted().is_some());
    given::<Account>([]).when(Command::Knock).rejects(Rejection::Unknown);
}

/// Security bar 16.
#[test]
fn a_person_is_told_of_each_role_they_get_or_lose() {
    for role in [Some(Role::Owner), None] {
        given::<Account>([registered(), ACTIVATED]).when(tell(role)).then([TOLD]).sends(&["tell"]);
        given::<Account>([registered(), CLOSED]).when(tell(role)).rejects(Rejection::Unknown);
    }
}

#[test]
fn whoever_changes_a_role_to_and_fro_is_no_cannon_for_mail() {
    let told = |times| [vec![registered(), ACTIVATED], vec![TOLD; times]].concat();
    given::<Account>(told(ROLES_TOLD_MAX - 1)).when(tell(None)).then([TOLD]).sends(&["tell"]);
    given::<Account>(told(ROLES_TOLD_MAX)).when(tell(None)).then([]).sends(&[]);
    let later = given::<Account>(told(ROLES_TOLD_MAX + 5)).after(ROLES_TOLD_IN).when(tell(None));
    assert_eq!(later.accepted().unwrap().len(), 1);
}

fn tell(role: Option<Role>) -> Command {
    Command::TellRole { tenant_name: TenantName::parse("Acme").unwrap(), colour: None, role }
}

#[test]
fn every_event_ever_written_is_read() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/account.txt");
    holds_to_golden::<Account>(
        file.as_ref(),
        &[
            registered(),
            Event::Registered { email: email(), name: name("Ada"), at: NOON, language: Language::De },
            APPOINTED,
            ACTIVATED,
            Event::Renamed { name: name("Ada Lovelace"), at: NOON },
            Event::EmailChanged { email: email(), at: NOON },
            DISABLED,
            Event::Enabled { at: NOON },
            left(),
            Event::Stayed { at: NOON },
            CLOSED,
            Event::Knocked { at: NOON },
            TOLD,
        ],
    );
}
