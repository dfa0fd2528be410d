//! What changing one's address promises.

use prognet_supervisor::testing::{NOON, given, holds_to_golden};

use super::*;
use crate::{communication::message::Language, values::PersonName};

const ACCOUNT: AccountId = AccountId::new(1);
const HELD: reservation::View = reservation::View { owner: Some(1), is_confirmed: false };
const CLAIMED: Event = Event::EmailClaimed {};
const CONFIRMED: Event = Event::Confirmed { at: NOON };
const CHANGED: Event = Event::Changed { at: NOON };
const UNDONE: Event = Event::Undone { at: NOON };

fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

fn plan(link: u128, new_reservation: u128) -> Plan {
    let name = PersonName::parse("Ada").unwrap();
    let person = Recipient { to: email("old@example.org"), name, language: Language::En };
    let new = email("new@example.org");
    Plan { account: ACCOUNT, person, old_reservation: 8, new, new_reservation, link }
}

fn started(link: u128) -> Event {
    Event::Started { plan: plan(link, 9), at: NOON }
}

fn kept() -> Vec<Event> {
    vec![started(7), CLAIMED, CONFIRMED, Event::EmailConfirmed {}, CHANGED]
}

#[test]
fn a_change_tells_the_old_address_and_waits_for_the_new_one() {
    given::<ChangeEmail>([]).when(Command::Start(plan(7, 9))).then([started(7)]).sends(&["claim", "tell"]);
    given::<ChangeEmail>([started(7)])
        .hears::<Reservation>("claim", &Ok(HELD))
        .then([CLAIMED])
        .sends(&["tell"])
        .sets(&[("end", NOON.after(CONFIRM_LASTS))]);
    let confirm = |link| Command::Confirm { link };
    given::<ChangeEmail>([started(7), CLAIMED]).when(confirm(7)).then([CONFIRMED]).sends(&["confirm"]);
    given::<ChangeEmail>([started(7), CLAIMED]).when(confirm(8)).rejects(Rejection::Link);
    // However late the timer is.
    let late = given::<ChangeEmail>([started(7), CLAIMED]).after(CONFIRM_LASTS);
    late.when(confirm(7)).rejects(Rejection::Link);
    given::<ChangeEmail>([started(7), CLAIMED, CONFIRMED])
        .hears::<Reservation>("confirm", &Ok(HELD))
        .then([Event::EmailConfirmed {}])
        .sends(&["change"]);
    given::<ChangeEmail>([started(7), CLAIMED, CONFIRMED, Event::EmailConfirmed {}])
        .hears::<Account>("change", &Ok(None))
        .then([CHANGED])
        .sets(&[("end", NOON.after(UNDO_LASTS))]);
    given::<ChangeEmail>(kept()).when(confirm(7)).rejects(Rejection::Link);
}

#[test]
fn an_address_that_is_somebody_elses_is_told_to_nobody_but_them() {
    given::<ChangeEmail>([started(7)])
        .hears::<Reservation>("claim", &Err(reservation::Rejection::Taken { by: 2 }))
        .then([Event::EmailTaken {}])
        .sends(&["knock"]);
}

#[test]
fn the_old_address_takes_a_change_back_before_and_for_a_week_after() {
    let undo = || Command::Undo { link: 7 };
    given::<ChangeEmail>([started(7), CLAIMED]).when(undo()).then([UNDONE]).sends(&["release"]);
    given::<ChangeEmail>([started(7), CLAIMED, UNDONE])
        .hears::<Reservation>("release", &Ok(HELD))
        .then([Event::Released {}]);

    given::<ChangeEmail>(kept()).when(undo()).then([UNDONE]).sends(&["restore", "tell"]);
    given::<ChangeEmail>(kept()).after(UNDO_LASTS).when(undo()).rejects(Rejection::Link);
    let mut history = kept();
    history.push(UNDONE);
    given::<ChangeEmail>(history.clone())
        .hears::<Account>("restore", &Ok(None))
        .then([Event::Restored {}])
        .sends(&["end_sessions"]);
    history.extend([Event::Restored {}, Event::SessionsEnded {}]);
    let idle =
        given::<ChangeEmail>(history).hears::<Reservation>("release", &Ok(HELD)).then([Event::Released {}]);
    assert_eq!(idle.state.reply(), View { is_running: false, holds: Vec::new() });

    let mut settled = kept();
    settled.push(Event::Settled { at: NOON });
    given::<ChangeEmail>(kept()).when(Command::End).then([Event::Settled { at: NOON }]).sends(&["release"]);
    given::<ChangeEmail>(settled).when(undo()).rejects(Rejection::Link);
    given::<ChangeEmail>(kept()).when(Command::Undo { link: 8 }).rejects(Rejection::Link);
}

#[test]
fn a_mistyped_address_is_replaced_and_let_go_and_nobody_floods_strangers() {
    let again = Event::Started { plan: plan(8, 10), at: NOON };
    given::<ChangeEmail>([started(7), CLAIMED])
        .when(Command::Start(plan(8, 10)))
        .then([again.clone()])
        .sends(&["claim", "tell", "drop"]);
    given::<ChangeEmail>([started(7), CLAIMED, again])
        .when(Command::Confirm { link: 7 })
        .rejects(Rejection::Link);
    given::<ChangeEmail>(kept()).when(Command::Start(plan(8, 10))).rejects(Rejection::TooSoon);
    let many = (0..5).flat_map(|link| [started(link), CLAIMED]);
    given::<ChangeEmail>(many.clone()).when(Command::Start(plan(8, 10))).rejects(Rejection::TooSoon);
    assert!(given::<ChangeEmail>(many).after(WINDOW).when(Command::Start(plan(8, 10))).accepted().is_some());
}

#[test]
fn a_link_nobody_opens_leaves_everything_as_it_was() {
    let expired = Event::Expired { at: NOON };
    given::<ChangeEmail>([started(7), CLAIMED])
        .when(Command::End)
        .then([expired.clone()])
        .sends(&["release"]);
    given::<ChangeEmail>([started(7), CLAIMED, expired])
        .when(Command::Confirm { link: 7 })
        .rejects(Rejection::Link);
}

#[test]
fn an_account_that_goes_is_told_what_is_held_and_nothing_begins_any_more() {
    let stopped = Event::Stopped { at: NOON };
    let view = given::<ChangeEmail>(kept()).when(Command::Stop).then([stopped.clone()]).state.reply();
    assert_eq!(view, View { is_running: false, holds: vec![8, 9] });
    let mut history = kept();
    history.push(stopped);
    given::<ChangeEmail>(history.clone()).when(Command::Undo { link: 7 }).rejects(Rejection::Link);
    given::<ChangeEmail>(history.clone()).when(Command::Start(plan(8, 10))).rejects(Rejection::TooSoon);
    given::<ChangeEmail>(history).when(Command::End).then([]);
}

#[test]
fn every_event_ever_written_is_read() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/change_email.txt");
    holds_to_golden::<ChangeEmail>(
        file.as_ref(),
        &[
            started(7),
            CLAIMED,
            Event::EmailTaken {},
            CONFIRMED,
            Event::EmailConfirmed {},
            CHANGED,
            UNDONE,
            Event::Restored {},
            Event::SessionsEnded {},
            Event::Expired { at: NOON },
            Event::Settled { at: NOON },
            Event::Released {},
            Event::Stopped { at: NOON },
        ],
    );
}
