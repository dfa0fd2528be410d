//! What the link in an invitation's mail opens: who asks, and where to; with an account or without one yet.

use actix_web::{http::StatusCode, web::Data};
use minijinja::{Value, context, value::Serde};
use prognet_actors::{tenancy::Members, values::Email};
use prognet_sdk::AnswerInvitation;

use super::{
    Instead, Shown,
    joining::{self, Link},
    organizations, sign_in,
    visitor::{Posted, Visitor, see_other},
};
use crate::{
    Edge,
    caller::Stranger,
    input::{Json, Query},
    list,
    v1::{invitations, sessions},
};

/// Looking at it uses nothing up: mail programs look at links before people do.
pub(super) async fn show(visitor: Visitor, stranger: Stranger, Query(link): Query<Link>) -> Shown {
    let values = values(&visitor, &stranger, &link.token).await?;
    Ok(visitor.page(StatusCode::OK, "invited", &values))
}

async fn values(visitor: &Visitor, stranger: &Stranger, token: &str) -> Result<Value, Instead> {
    let edge = visitor.edge();
    let invitation = invitations::behind(token, stranger, edge).await?;
    let person = match visitor.caller() {
        Some(caller) => Some(sessions::who(caller, edge).await?),
        None => None,
    };
    let key = |email: &str| Email::parse(email).map(|email| email.key());
    let is_theirs = person.as_ref().is_some_and(|person| key(&person.email) == key(&invitation.email));
    let here = address(token);
    Ok(context! {
        token,
        is_theirs,
        sign_in => sign_in::address(&here),
        sign_up => joining::address(&here, &invitation.email),
        back => here,
        person => person.map(Serde),
        invitation => Serde(invitation),
    })
}

pub(super) async fn accept(posted: Posted<Link>, stranger: Stranger, edge: Data<Edge>) -> Shown {
    let Posted { visitor, form: Link { token } } = posted;
    let Some(caller) = visitor.caller() else {
        return Err(Instead::SignIn { back: address(&token) });
    };
    match invitations::let_in(caller, &token, &edge).await {
        Ok((own, written)) => {
            list::seen::<Members>(written, caller.own().asking(), &edge).await;
            Ok(see_other(&organizations::address(&own.tenant.id)))
        }
        Err(problem) => {
            let values = values(&visitor, &stranger, &token).await?;
            Ok(visitor.again("invited", &problem, &values))
        }
    }
}

pub(super) async fn decline(posted: Posted<Link>, stranger: Stranger, edge: Data<Edge>) -> Shown {
    let Posted { visitor, form: Link { token } } = posted;
    invitations::decline(stranger, Json(AnswerInvitation { token }), edge).await?;
    let text = "The invitation is over. Should you change your mind, ask for another one.";
    Ok(visitor.page(StatusCode::OK, "told", &context! { title => "You declined", text }))
}

/// Where an invitation is.
fn address(token: &str) -> String {
    let token: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
    format!("/invitation?token={token}")
}
