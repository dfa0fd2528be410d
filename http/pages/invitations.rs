//! Asking people into an organization, and taking that back.

use actix_web::{
    http::StatusCode,
    web::{Data, Path},
};
use minijinja::{Value, context, value::Serde};
use prognet_actors::tenancy::{Invitations, Role};
use prognet_sdk::InvitePerson;
use serde::Deserialize;

use super::{
    Instead, Shown, inbox, members,
    organizations::{ALL, Inside},
    visitor::{Posted, Visitor, see_other},
};
use crate::{
    Edge,
    input::Query,
    list::{self, Page},
    v1::invitations,
};

/// Who is asked, and what they are to be.
#[derive(Deserialize)]
pub(super) struct Asking {
    email: String,
    role: String,
}

/// The invitation that is taken back.
#[derive(Deserialize)]
pub(super) struct Revoking {
    invitation: String,
}

pub(super) async fn show(visitor: Visitor, tenant: Path<String>, Query(page): Query<Page>) -> Shown {
    let inside = Inside::of(&visitor, &tenant).await?;
    let values = values(&visitor, &inside, &page).await?;
    Ok(visitor.page(StatusCode::OK, "invitations", &values))
}

async fn values(visitor: &Visitor, inside: &Inside, page: &Page) -> Result<Value, Instead> {
    let open = invitations::open_of(&inside.caller, inside.id, page, visitor.edge()).await?;
    let mut roles = members::roles(inside);
    // An owner is made of a member.
    roles.retain(|role| *role != Role::Owner.name());
    Ok(context! {
        invitations => Serde(open.data),
        next => open.next,
        roles,
        ..inside.frame(visitor, "/invitations").await?
    })
}

pub(super) async fn ask(posted: Posted<Asking>, tenant: Path<String>, edge: Data<Edge>) -> Shown {
    let Posted { visitor, form: Asking { email, role } } = posted;
    let inside = Inside::of(&visitor, &tenant).await?;
    let wanted = InvitePerson { email: email.clone(), role: role.clone(), language: None };
    match invitations::ask(&inside.caller, inside.id, wanted, &edge).await {
        Ok((invited, written)) => {
            list::seen::<Invitations>(written, inside.caller.own().asking(), &edge).await;
            let values = values(&visitor, &inside, &Page::FIRST).await?;
            let caught = inbox::address(&visitor, invited.email.as_str());
            let notice = format!("An invitation is on its way to {}.", invited.email);
            Ok(visitor.page(StatusCode::CREATED, "invitations", &context! { notice, caught, ..values }))
        }
        Err(problem) => {
            let values = values(&visitor, &inside, &Page::FIRST).await?;
            Ok(visitor.again("invitations", &problem, &context! { email, role, ..values }))
        }
    }
}

pub(super) async fn revoke(posted: Posted<Revoking>, tenant: Path<String>, edge: Data<Edge>) -> Shown {
    let Posted { visitor, form: Revoking { invitation } } = posted;
    let inside = Inside::of(&visitor, &tenant).await?;
    match invitations::end(&inside.caller, inside.id, &invitation, &edge).await {
        Ok(written) => {
            list::seen::<Invitations>(written, inside.caller.own().asking(), &edge).await;
            Ok(see_other(&format!("{ALL}/{tenant}/invitations")))
        }
        Err(problem) => {
            let values = values(&visitor, &inside, &Page::FIRST).await?;
            Ok(visitor.again("invitations", &problem, &values))
        }
    }
}
