//! Another address: asked for by whoever is signed in, confirmed by the mail to the new one, taken back by that to
//! the old one.

use actix_web::{HttpResponse, http::StatusCode, web::Data};
use minijinja::{Value, context};
use prognet_sdk::{ChangeEmail, VerifyAddress};
use serde::Deserialize;

use super::{
    Shown, account, inbox,
    joining::{Link, done},
    visitor::{Posted, Visitor},
};
use crate::{
    Edge,
    caller::Stranger,
    input::{Json, Query},
    v1::{accounts, me},
};

/// The address wanted.
#[derive(Deserialize)]
pub(super) struct Wanted {
    new_email: String,
    email_password: String,
}

pub(super) async fn ask(posted: Posted<Wanted>, edge: Data<Edge>) -> Shown {
    let Posted { visitor, form: Wanted { new_email, email_password } } = posted;
    let values = account::values(&visitor).await?;
    let wanted = Json(ChangeEmail { password: email_password, email: new_email.clone() });
    match me::change_email(visitor.person()?.clone(), wanted, edge).await {
        Ok(_) => {
            let notice = format!("A mail is on its way to {new_email}: open the link in it.");
            let caught = inbox::address(&visitor, &new_email);
            Ok(visitor.page(StatusCode::ACCEPTED, "account", &context! { notice, caught, ..values }))
        }
        Err(problem) => Ok(visitor.again("account", &problem, &context! { new_email, ..values })),
    }
}

pub(super) async fn change(visitor: Visitor, Query(link): Query<Link>) -> HttpResponse {
    std::future::ready(visitor.page(StatusCode::OK, "confirm", &changing(&link.token))).await
}

pub(super) async fn submit_change(
    posted: Posted<Link>,
    stranger: Stranger,
    edge: Data<Edge>,
) -> HttpResponse {
    let Posted { visitor, form: Link { token } } = posted;
    match accounts::confirm_email(stranger, Json(VerifyAddress { token: token.clone() }), edge).await {
        Ok(_) => done(&visitor, "Your address is changed", "From now on you sign in with it."),
        Err(problem) => visitor.again("confirm", &problem, &changing(&token)),
    }
}

pub(super) async fn undo(visitor: Visitor, Query(link): Query<Link>) -> HttpResponse {
    std::future::ready(visitor.page(StatusCode::OK, "confirm", &undoing(&link.token))).await
}

pub(super) async fn submit_undo(posted: Posted<Link>, stranger: Stranger, edge: Data<Edge>) -> HttpResponse {
    let Posted { visitor, form: Link { token } } = posted;
    match accounts::undo_email(stranger, Json(VerifyAddress { token: token.clone() }), edge).await {
        Ok(_) => done(&visitor, "The change is taken back", "Your address is the old one again."),
        Err(problem) => visitor.again("confirm", &problem, &undoing(&token)),
    }
}

fn changing(token: &str) -> Value {
    let text = "One click, and this address is your account's.";
    context! { title => "Confirm your new address", text, button => "Confirm", action => "/change-email", token }
}

fn undoing(token: &str) -> Value {
    let text = "One click, and your account has its old address again.";
    context! { title => "Take the change back", text, button => "Take it back", action => "/undo-email", token }
}
