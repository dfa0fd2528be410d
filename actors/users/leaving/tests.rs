//! What leaving promises.

use std::time::Duration;

use prognet_supervisor::testing::{NOON, given, holds_to_golden};

use super::*;
use crate::{
    communication::message::Language,
    values::{Email, PersonName},
};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const ACCOUNT: AccountId = AccountId::new(1);
const HELD: reservation::View = reservation::View { owner: Some(1), is_confirmed: true };
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

fn ended() -> Event {
    Event::Ended { at: NOON }
}

fn collected(holds: &[u128]) -> Event {
    Event::Collected { holds: holds.to_vec() }
}

#[test]
fn who_leaves_is_signed_out_told_and_given_time() {
    given::<Leaving>([]).when(Command::Start(plan())).then([started()]).sends(&["leave"]);
    given::<Leaving>([started()]).hears::<Account>("leave", &Ok(None)).then([LEFT]).sends(&["sign_out"]);
    let grace = given::<Leaving>([started(), LEFT])
        .when(Command::SignedOut)
        .then([SIGNED_OUT])
        .sends(&["tell"])
        .sets(&[("end", NOON.after(WEEK))]);
    assert_eq!(grace.state.reply(), View::Grace(NOON.after(WEEK)));
    given::<Leaving>([started(), LEFT, SIGNED_OUT]).when(Command::Start(plan())).then([]);
}

#[test]
fn who_may_not_leave_stays() {
    let refused = given::<Leaving>([started()])
        .hears::<Account>("leave", &Err(account::Rejection::RunsThePlatform))
        .then([Event::Refused {}]);
    assert_eq!(refused.state.reply(), View::Refused);
}

#[test]
fn a_person_who_changes_their_mind_in_time_stays() {
    let reopened = Event::Reopened { at: NOON };
    let history = || [started(), LEFT, SIGNED_OUT];
    given::<Leaving>(history()).when(Command::Stay).then([reopened.clone()]).sends(&["stay"]);
    let here = given::<Leaving>([started(), LEFT, SIGNED_OUT, reopened])
        .hears::<Account>("stay", &Ok(None))
        .then([Event::Stayed {}]);
    assert_eq!(here.state.reply(), View::Here);
    given::<Leaving>([]).when(Command::Stay).rejects(Rejection::NotLeaving);
    given::<Leaving>([started(), LEFT, SIGNED_OUT, ended()])
        .when(Command::Stay)
        .rejects(Rejection::NotLeaving);
}

#[test]
fn in_the_end_the_account_is_closed_and_every_address_let_go() {
    let history = || [started(), LEFT, SIGNED_OUT];
    given::<Leaving>(history()).when(Command::End).then([ended()]).sends(&["close"]);
    given::<Leaving>([started(), LEFT, SIGNED_OUT, ended()])
        .hears::<Account>("close", &Ok(None))
        .then([CLOSED])
        .sends(&["collect"]);
    let view = change_email::View { is_running: false, holds: vec![8] };
    let history = || vec![started(), LEFT, SIGNED_OUT, ended(), CLOSED];
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
            Event::Refused {},
            LEFT,
            SIGNED_OUT,
            Event::Reopened { at: NOON },
            Event::Stayed {},
            ended(),
            CLOSED,
            collected(&[9, 8]),
            Event::Released {},
            Event::Gone { at: NOON },
        ],
    );
}
