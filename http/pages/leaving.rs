//! Deleting one's account, and staying after all.

use actix_web::{HttpResponse, http::StatusCode, web::Data};
use minijinja::context;
use prognet_sdk::{DeleteAccount, KeepAccount};
use serde::Deserialize;

use super::{
    Shown, account,
    joining::done,
    visitor::{Posted, Visitor},
};
use crate::{
    Edge,
    caller::Stranger,
    input::Json,
    v1::{accounts, me},
};

/// What whoever goes fills in.
#[derive(Deserialize)]
pub(super) struct Going {
    delete_password: String,
}

/// What whoever stays fills in.
#[derive(Deserialize)]
pub(super) struct Staying {
    email: String,
    password: String,
}

pub(super) async fn delete(posted: Posted<Going>, edge: Data<Edge>) -> Shown {
    let Posted { visitor, form: Going { delete_password: password } } = posted;
    let values = account::values(&visitor).await?;
    match me::delete(visitor.person()?.clone(), Json(DeleteAccount { password }), edge).await {
        Ok(_) => {
            let text =
                "You are signed out everywhere. A mail says until when you can keep the account after all.";
            let values = context! {
                title => "Your account is about to be deleted", text, to => "/stay", label => "Keep it after all",
            };
            Ok(visitor.page(StatusCode::ACCEPTED, "told", &values))
        }
        Err(problem) => Ok(visitor.again("account", &problem, &values)),
    }
}

pub(super) async fn stay(visitor: Visitor) -> HttpResponse {
    std::future::ready(visitor.page(StatusCode::OK, "stay", &context! { email => "" })).await
}

pub(super) async fn submit_stay(
    posted: Posted<Staying>,
    stranger: Stranger,
    edge: Data<Edge>,
) -> HttpResponse {
    let Posted { visitor, form: Staying { email, password } } = posted;
    match accounts::stay(stranger, Json(KeepAccount { email: email.clone(), password }), edge).await {
        Ok(_) => done(&visitor, "You stay", "Your account goes on as it was."),
        Err(problem) => visitor.again("stay", &problem, &context! { email }),
    }
}
