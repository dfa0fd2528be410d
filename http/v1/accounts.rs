//! Accounts, for people without a session: signing up, mailed links, forgotten passwords, staying after all.
//!
//! None of these doors tells whether an address has an account: that goes to the address by mail.

use std::time::Duration;

use actix_web::{HttpResponse, web::Data};
use prognet_actors::{
    auth::{
        Credential, credential,
        link::{LinkKey, Purpose},
    },
    communication::message::Language,
    ids::AccountId,
    tenancy::{Members, Tenant, members},
    users::{
        Account, ChangeEmail, Leaving, Reservation, SignUp, account, change_email, leaving, reservation,
        sign_up::{self, Attempt, Plan},
    },
    values::{Email, PersonName},
};
use prognet_sdk::{
    Accepted, AccountView, ForgotPassword, KeepAccount, OpenAccount, ResetPassword, SignUp as Wanted,
    VerifyAddress,
};
use prognet_supervisor::{Asking, HomeKind};

use super::{Problems, sessions};
use crate::{
    Edge,
    caller::Stranger,
    input::Json,
    peer::Peer,
    problem::{Problem, invalid},
};

/// What signing up (beside hashing) and asking for a new password take at least: more than finding the account and
/// writing down that it was asked, so that the time tells nobody whether there was one to find.
const ASKING_TAKES: Duration = Duration::from_millis(150);

/// Tenants whose names are no password of their members; few belong to more.
const TENANTS_KNOWN: usize = 20;

type Answer = Result<HttpResponse, Problem>;

/// Signs up: the address gets a mail with the link that opens the account.
///
/// The answer is the same whether or not the address has an account; if it has one, its person is told by mail.
/// Of several sign-ups with one address the one whose link is opened counts. A link is good once, and as long as
/// the address is kept (a day).
#[utoipa::path(post, path = "/v1/accounts", tag = "accounts", request_body(content = Wanted, example = json!({ "email": "ada@example.org", "password": "correct horse battery", "name": "Ada Lovelace", "language": "en" })), params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 202, description = "Taken; the rest goes by mail", body = Accepted, example = json!({ "email": "ada@example.org" })), Problems), security(()))]
pub(crate) async fn sign_up(stranger: Stranger, Json(wanted): Json<Wanted>, edge: Data<Edge>) -> Answer {
    let email = start_sign_up(&stranger, wanted, &edge).await?;
    Ok(HttpResponse::Accepted().json(Accepted { email: email.to_string() }))
}

/// Takes a sign-up in; says which address gets a mail.
pub(crate) async fn start_sign_up(
    stranger: &Stranger,
    wanted: Wanted,
    edge: &Edge,
) -> Result<Email, Problem> {
    let email = Email::parse(&wanted.email).map_err(invalid("email"))?;
    let name = PersonName::parse(&wanted.name).map_err(invalid("name"))?;
    let language = language(wanted.language)?.unwrap_or_default();
    let id = stranger.created_id(edge);
    let link = edge.node.hash("sign-up-link", &id.to_be_bytes());
    let about = vec![email.to_string(), name.to_string()];
    let salt = sign_up_salt(link, edge);
    let password = edge.passwords.new_hash("password", wanted.password, about, salt).await?;
    may_mail(&email, stranger.peer(), edge)?;
    let attempt = Attempt { link, name, password, language };
    let floor = edge.node.clock().sleep(ASKING_TAKES);
    let done = begin_sign_up(&email, AccountId::new(id), attempt, stranger.asking(), edge).await;
    floor.await;
    done.map(|()| email)
}

async fn begin_sign_up(
    email: &Email,
    account: AccountId,
    attempt: Attempt,
    asking: &Asking,
    edge: &Edge,
) -> Result<(), Problem> {
    let email_reservation = edge.node.hash("email", email.key().as_bytes());
    let held = edge.node.read(asking, Reservation::at(email_reservation)).await?;
    let holder = held.owner.map(AccountId::new).filter(|holder| *holder != account);
    let holder = match holder {
        // Out of an old backup: the address was let go, and its holder erased, after it was made.
        Some(erased) if edge.node.is_erased(&erased.home()) => {
            let release = reservation::Command::Release { owner: erased.number() };
            let plain = Asking { key: None, ..*asking };
            edge.node.ask(&plain, Reservation::at(email_reservation), release).await?;
            None
        }
        holder => holder,
    };
    // Either way something is read, and something is written to one entity; a new one has its home's key made too.
    let command = match holder {
        Some(_) => sign_up::Command::Again(attempt),
        None => {
            let lasts = edge.settings.auth.sign_up_lasts;
            let plan = Plan { account, email: email.clone(), email_reservation, lasts };
            sign_up::Command::Start { plan, attempt }
        }
    };
    edge.node.ask(asking, SignUp::at(holder.unwrap_or(account)), command).await?;
    Ok(())
}

/// One salt for all who open a link: a password is the sign-up's if it hashes to the same.
fn sign_up_salt(link: u128, edge: &Edge) -> u128 {
    edge.node.hash("password-salt", &link.to_be_bytes())
}

/// One more mail to an address may be asked for, whatever comes of it.
pub(crate) fn may_mail(email: &Email, from: &Peer, edge: &Edge) -> Result<(), Problem> {
    let address = edge.node.hash("email", email.key().as_bytes());
    edge.limits.mail(address, from.network, edge.node.clock().now()).map_err(Problem::too_many_mails)
}

/// Opens the account that was signed up for, with the token of the mailed link and the password of the sign-up.
///
/// The link shows that the address is one's own, the password that it was oneself who signed up: whoever signs up
/// with somebody else's address gets nothing by that person's click. The password may be tried again.
#[utoipa::path(post, path = "/v1/accounts/verify", tag = "accounts", request_body(content = OpenAccount, example = json!({ "token": "AQEB...", "password": "correct horse battery" })),
    responses((status = 204, description = "The account is open: sign in"), Problems), security(()))]
pub(crate) async fn verify(stranger: Stranger, Json(body): Json<OpenAccount>, edge: Data<Edge>) -> Answer {
    open_account(&stranger, body, &edge).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Opens the account behind a link.
pub(crate) async fn open_account(
    stranger: &Stranger,
    wanted: OpenAccount,
    edge: &Edge,
) -> Result<(), Problem> {
    let (account, link) = linked(Purpose::VerifyAddress, &wanted.token, edge).await?;
    let password = edge.passwords.hash_of(wanted.password, sign_up_salt(link, edge)).await?;
    let verify = sign_up::Command::Verify { link, password };
    let done = edge.node.ask_to_end(stranger.asking(), SignUp::at(account), verify).await;
    match done.map_err(Problem::behind_link)?.reply {
        sign_up::View::Done => Ok(()),
        sign_up::View::None | sign_up::View::Running | sign_up::View::Pending | sign_up::View::LetGo => {
            Err(Problem::link())
        }
    }
}

/// Asks for a link to a new password, which goes to the address by mail if it has an account.
///
/// The answer is the same, and as fast, whether or not it has one. The link is good once, for 10 minutes.
#[utoipa::path(post, path = "/v1/accounts/forgot", tag = "accounts", request_body(content = ForgotPassword, example = json!({ "email": "ada@example.org" })),
    responses((status = 202, description = "Taken; the rest goes by mail", body = Accepted, example = json!({ "email": "ada@example.org" })), Problems), security(()))]
pub(crate) async fn forgot(stranger: Stranger, Json(body): Json<ForgotPassword>, edge: Data<Edge>) -> Answer {
    let email = mail_reset(&stranger, &body.email, &edge).await?;
    Ok(HttpResponse::Accepted().json(Accepted { email: email.to_string() }))
}

/// Mails a link to a new password to an address that has an account; says which address gets a mail.
pub(crate) async fn mail_reset(stranger: &Stranger, email: &str, edge: &Edge) -> Result<Email, Problem> {
    let email = Email::parse(email).map_err(invalid("email"))?;
    may_mail(&email, stranger.peer(), edge)?;
    let floor = edge.node.clock().sleep(ASKING_TAKES);
    let done = mail_reset_to(&email, stranger.asking(), edge).await;
    floor.await;
    done.map(|()| email)
}

async fn mail_reset_to(email: &Email, asking: &Asking, edge: &Edge) -> Result<(), Problem> {
    let reservation = Reservation::at(edge.node.hash("email", email.key().as_bytes()));
    let held = edge.node.read(asking, reservation).await?;
    let nobody = || edge.node.hash("nobody", email.key().as_bytes());
    let account = AccountId::new(held.owner.unwrap_or_else(nobody));
    let view = edge.node.read(asking, Account::at(account)).await?;
    // An address that is not (any more) its account's gets no key to it.
    let view = view.filter(|view| view.status == account::Status::Active && view.email.key() == email.key());
    let Some(view) = view else { return Ok(()) };
    let mail = credential::Command::MailReset { tell: view.recipient() };
    edge.node.ask(&Asking { key: None, ..*asking }, Credential::at(account), mail).await?;
    Ok(())
}

/// Sets another password with the token of the mailed link: all sessions end, and the person is told by mail.
///
/// It opens no session: sign in with the new password.
#[utoipa::path(post, path = "/v1/accounts/reset", tag = "accounts", request_body(content = ResetPassword, example = json!({ "token": "AgEB...", "password": "correct horse battery" })), params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 204, description = "The password is another, and all sessions are over"), Problems), security(()))]
pub(crate) async fn reset(stranger: Stranger, Json(body): Json<ResetPassword>, edge: Data<Edge>) -> Answer {
    reset_password(&stranger, body, &edge).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Sets the password of the account behind a link.
pub(crate) async fn reset_password(
    stranger: &Stranger,
    wanted: ResetPassword,
    edge: &Edge,
) -> Result<(), Problem> {
    let (account, link) = linked(Purpose::ResetPassword, &wanted.token, edge).await?;
    let asking = Asking { asker: account.number(), ..*stranger.asking() };
    let view = edge.node.read(&asking, Account::at(account)).await?;
    let view = view.filter(|view| view.status == account::Status::Active).ok_or_else(Problem::link)?;
    let salt = edge.node.hash("password-salt", &stranger.created_id(edge).to_be_bytes());
    let about = about(account, &view, &asking, edge).await?;
    let password = edge.passwords.new_hash("password", wanted.password, about, salt).await?;
    let reset = credential::Command::Reset { link, password, tell: view.recipient() };
    edge.node.ask(&asking, Credential::at(account), reset).await?;
    edge.gate.forget_account(account);
    Ok(())
}

/// What a password of somebody must not be made of: their address, their name, and what their tenants are called.
pub(crate) async fn about(
    account: AccountId,
    view: &account::View,
    asking: &Asking,
    edge: &Edge,
) -> Result<Vec<String>, Problem> {
    let mut words = vec![view.email.to_string(), view.name.to_string()];
    let own = Members::of_account(account);
    let places = edge.node.rows::<Members, members::Row>(&own, None, TENANTS_KNOWN).await?;
    for (_, members::Row { tenant, .. }) in places {
        if let Some(tenant) = edge.node.read(asking, Tenant::at(tenant)).await? {
            words.extend([tenant.name.to_string(), tenant.slug.to_string()]);
        }
    }
    Ok(words)
}

/// Makes the new address the account's, with the token of the link that was mailed there.
#[utoipa::path(post, path = "/v1/accounts/confirm-email", tag = "accounts", request_body(content = VerifyAddress, example = json!({ "token": "AwEB..." })),
    responses((status = 204, description = "The address is the account's"), Problems), security(()))]
pub(crate) async fn confirm_email(
    stranger: Stranger,
    Json(body): Json<VerifyAddress>,
    edge: Data<Edge>,
) -> Answer {
    let (account, link) = linked(Purpose::ConfirmEmailChange, &body.token, &edge).await?;
    let view = edge.node.read(stranger.asking(), Account::at(account)).await?;
    view.filter(|view| view.status == account::Status::Active).ok_or_else(Problem::link)?;
    turn_email(&stranger, account, change_email::Command::Confirm { link }, &edge).await
}

/// Takes a change of the address back, with the token of the link that was mailed to the old one: all sessions
/// end, and the old address is the account's again.
#[utoipa::path(post, path = "/v1/accounts/undo-email", tag = "accounts", request_body(content = VerifyAddress, example = json!({ "token": "BAEB..." })),
    responses((status = 204, description = "The old address is the account's"), Problems), security(()))]
pub(crate) async fn undo_email(
    stranger: Stranger,
    Json(body): Json<VerifyAddress>,
    edge: Data<Edge>,
) -> Answer {
    let (account, link) = linked(Purpose::UndoEmailChange, &body.token, &edge).await?;
    turn_email(&stranger, account, change_email::Command::Undo { link }, &edge).await
}

async fn turn_email(
    stranger: &Stranger,
    account: AccountId,
    command: change_email::Command,
    edge: &Edge,
) -> Answer {
    let asking = Asking { asker: account.number(), ..*stranger.asking() };
    let done = edge.node.ask_to_end(&asking, ChangeEmail::at(account), command).await;
    done.map_err(Problem::behind_link)?;
    edge.gate.forget_account(account);
    Ok(HttpResponse::NoContent().finish())
}

/// Keeps an account that is about to be deleted: its person signs in again.
#[utoipa::path(post, path = "/v1/accounts/stay", tag = "accounts", request_body(content = KeepAccount, example = json!({ "email": "ada@example.org", "password": "correct horse battery" })),
    responses((status = 204, description = "It stays: sign in"), Problems), security(()))]
pub(crate) async fn stay(stranger: Stranger, Json(body): Json<KeepAccount>, edge: Data<Edge>) -> Answer {
    let email = Email::parse(&body.email).map_err(invalid("email"))?;
    let asking = stranger.asking();
    let proven = sessions::proven(&email, body.password, None, stranger.peer(), asking, &edge).await?;
    match proven.status {
        account::Status::Leaving { .. } | account::Status::Active => {}
        account::Status::Pending | account::Status::Disabled | account::Status::Closed => {
            return Err(sessions::wrong());
        }
    }
    let asking = Asking { asker: proven.account.number(), key: None, ..*asking };
    edge.node.ask_to_end(&asking, Leaving::at(proven.account), leaving::Command::Stay).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// An account as the API shows it.
pub(crate) fn view(id: AccountId, view: &account::View) -> AccountView {
    let until = match view.status {
        account::Status::Leaving { until } => Some(until.to_string()),
        account::Status::Pending
        | account::Status::Active
        | account::Status::Disabled
        | account::Status::Closed => None,
    };
    AccountView {
        id: id.to_string(),
        email: view.email.to_string(),
        name: view.name.to_string(),
        status: view.status.word().to_owned(),
        until,
        is_platform_admin: view.is_platform_admin,
        created_at: view.created_at.to_string(),
    }
}

/// The account a mailed link is about, and what it is about there.
pub(crate) async fn linked(purpose: Purpose, token: &str, edge: &Edge) -> Result<(AccountId, u128), Problem> {
    let (home, id) = LinkKey::of(&edge.node).await?.read(purpose, token).ok_or_else(Problem::link)?;
    match home.kind {
        HomeKind::Account => Ok((AccountId::new(home.id), id)),
        HomeKind::Tenant | HomeKind::Platform => Err(Problem::link()),
    }
}

/// The language that is named, if one is.
pub(crate) fn language(named: Option<String>) -> Result<Option<Language>, Problem> {
    let known = named.map(|named| serde_json::from_value(named.into())).transpose();
    known.map_err(|_why| Problem::field("language", "en or de"))
}
