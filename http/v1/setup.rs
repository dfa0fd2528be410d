//! Setting the platform up.

use actix_web::{HttpResponse, http::StatusCode, web::Data};
use prognet_actors::{
    auth::{Credential, credential},
    communication::message::Language,
    ids::AccountId,
    users::{
        Account, Reservation, SetUp, account,
        set_up::{self, Plan, View},
    },
    values::{Email, PersonName},
};
use prognet_sdk::{SetUp as Wanted, SetUpDone};
use prognet_supervisor::{Asking, Refused};

use super::Problems;
use crate::{
    Edge,
    caller::Stranger,
    input::Json,
    problem::{Problem, invalid},
    setup::is_good,
};

/// Makes the first platform admin; the same `Idempotency-Key` meets the same one.
#[utoipa::path(post, path = "/v1/setup", tag = "setup", request_body = Wanted, params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 201, description = "The first admin is made", body = SetUpDone), Problems), security(()))]
pub(crate) async fn set_up(
    stranger: Stranger,
    Json(wanted): Json<Wanted>,
    edge: Data<Edge>,
) -> Result<HttpResponse, Problem> {
    let account = make_admin(&stranger, wanted, &edge).await?;
    Ok(HttpResponse::Created().json(SetUpDone { account: account.to_string() }))
}

/// Makes the first admin for whoever has the setup link's token.
pub(crate) async fn make_admin(
    stranger: &Stranger,
    wanted: Wanted,
    edge: &Edge,
) -> Result<AccountId, Problem> {
    let email = Email::parse(&wanted.email).map_err(invalid("email"))?;
    let name = PersonName::parse(&wanted.name).map_err(invalid("name"))?;
    let asking = *stranger.asking();
    // Whoever has the link makes the same account: who is late leaves nothing behind.
    let id = edge.node.hash("setup-account", wanted.token.as_bytes());
    let account = AccountId::new(id);
    let done = || Problem::from(set_up::Rejection::AlreadyDone);
    match edge.node.read(&asking, SetUp::at()).await? {
        // The link is used up, but a retry of what used it is heard.
        View::Done(by) if by == account && asking.key.is_some() => {}
        View::Open | View::Running if is_good(&edge.node, &wanted.token) => {}
        View::Open | View::Running | View::Done(_) => return Err(Problem::setup_token()),
    }
    let email_reservation = edge.node.hash("email", email.key().as_bytes());
    // A taken address makes nothing: the same link is good for another one.
    let held = edge.node.read(&asking, Reservation::at(email_reservation)).await?;
    if held.owner.is_some_and(|owner| owner != id) {
        return Err(email_taken());
    }
    let salt = edge.node.hash("password-salt", &id.to_be_bytes());
    let about = vec![email.to_string(), name.to_string()];
    let password = edge.passwords.new_hash("password", wanted.password, about, salt).await?;
    let plain = Asking { key: None, ..asking };
    let register = account::Command::Register { email, name, language: Language::default() };
    let create = credential::Command::Create { password };
    match edge.node.ask(&plain, Account::at(account), register).await {
        Err(Refused::Rejected(_)) => return Err(done()),
        registered => drop(registered?),
    }
    match edge.node.ask(&plain, Credential::at(account), create).await {
        Err(Refused::Rejected(_)) => return Err(done()),
        created => drop(created?),
    }
    let start = set_up::Command::Start(Plan { account, email_reservation });
    match edge.node.ask_to_end(&asking, SetUp::at(), start).await?.reply {
        View::Done(done) if done == account => Ok(account),
        View::Open | View::Running | View::Done(_) => Err(email_taken()),
    }
}

fn email_taken() -> Problem {
    Problem::new(StatusCode::CONFLICT, "setup/email-taken", "The address is taken")
}
