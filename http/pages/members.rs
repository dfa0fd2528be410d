//! Who belongs to an organization: seen by all of them, changed by those who may; and leaving it oneself.

use actix_web::{
    http::StatusCode,
    web::{Data, Path},
};
use minijinja::{Value, context, value::Serde};
use prognet_actors::{
    auth::access::Right,
    ids::AccountId,
    tenancy::{Members, Role, membership::Command},
};
use serde::Deserialize;

use super::{
    Instead, Shown,
    organizations::{self, ALL, Inside},
    visitor::{Posted, Visitor, see_other},
};
use crate::{
    Edge,
    input::Query,
    list::{self, Page},
    problem::Problem,
    v1::members,
};

/// What is to become of a member: the button that was pressed.
#[derive(Deserialize)]
pub(super) struct Changing {
    change: Change,
    role: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Role,
    Suspend,
    Resume,
    Remove,
}

/// Nothing but the proof that the form is ours.
#[derive(Deserialize)]
pub(super) struct Leaving {}

pub(super) async fn show(visitor: Visitor, tenant: Path<String>, Query(page): Query<Page>) -> Shown {
    let inside = Inside::of(&visitor, &tenant).await?;
    let values = values(&visitor, &inside, &page).await?;
    Ok(visitor.page(StatusCode::OK, "members", &values))
}

async fn values(visitor: &Visitor, inside: &Inside, page: &Page) -> Result<Value, Instead> {
    let Inside { id, caller, known } = inside;
    let members = members::members_of(caller, *id, page, visitor.edge()).await?;
    let (own, reach) = (caller.account().to_string(), caller.authority(known.custom_role));
    let is_manager = inside.may(Right::ManageMembers);
    let rows = members.data.into_iter().map(|member| {
        let is_within_reach = Role::named(&member.role).is_some_and(|role| reach.is_over(role));
        let (is_own, may_change) = (member.account == own, is_manager && is_within_reach);
        context! { is_own, may_change, who => Serde(member) }
    });
    Ok(context! {
        members => rows.collect::<Vec<_>>(),
        next => members.next,
        roles => roles(inside),
        is_last_owner => known.owners == [caller.account()],
        ..inside.frame(visitor, "/members").await?
    })
}

/// The roles that are the visitor's to give.
pub(super) fn roles(inside: &Inside) -> Vec<&'static str> {
    let reach = inside.caller.authority(inside.known.custom_role);
    let is_there = |role: &Role| *role != Role::Custom || reach.has_custom();
    let own = Role::ALL.into_iter().filter(is_there).filter(|role| reach.is_over(*role));
    own.map(Role::name).collect()
}

pub(super) async fn change(
    posted: Posted<Changing>,
    path: Path<(String, String)>,
    edge: Data<Edge>,
) -> Shown {
    let Posted { visitor, form } = posted;
    let (tenant, account) = path.into_inner();
    let inside = Inside::of(&visitor, &tenant).await?;
    match changed(&inside, &account, &form, &edge).await {
        Ok(()) => Ok(see_other(&format!("{ALL}/{tenant}/members"))),
        Err(problem) => again(&visitor, &inside, &problem).await,
    }
}

async fn changed(inside: &Inside, account: &str, form: &Changing, edge: &Edge) -> Result<(), Problem> {
    let Inside { id, caller, .. } = inside;
    let account: AccountId = account.parse().map_err(|invalid| Problem::field("account", invalid))?;
    let written = match form.change {
        Change::Remove => members::end(caller, *id, account, edge).await?,
        Change::Role => {
            let to = members::role(form.role.as_deref().unwrap_or_default())?;
            let command = |by| Command::ChangeRole { to, by };
            members::change_of(caller, *id, account, command, edge).await?.1
        }
        Change::Suspend => {
            members::change_of(caller, *id, account, |by| Command::Suspend { by }, edge).await?.1
        }
        Change::Resume => {
            members::change_of(caller, *id, account, |by| Command::Resume { by }, edge).await?.1
        }
    };
    list::seen::<Members>(written, caller.own().asking(), edge).await;
    Ok(())
}

pub(super) async fn leave(posted: Posted<Leaving>, tenant: Path<String>, edge: Data<Edge>) -> Shown {
    let Posted { visitor, form: Leaving {} } = posted;
    let inside = Inside::of(&visitor, &tenant).await?;
    match members::end(&inside.caller, inside.id, inside.caller.account(), &edge).await {
        Ok(written) => {
            list::seen::<Members>(written, inside.caller.own().asking(), &edge).await;
            Ok(see_other(ALL))
        }
        Err(problem) => again(&visitor, &inside, &problem).await,
    }
}

/// The members once more, with what was wrong; whoever may not see them is told on a page of its own, and whose
/// sign-in is too long ago signs in first.
async fn again(visitor: &Visitor, inside: &Inside, problem: &Problem) -> Shown {
    if problem.code() == "session/not-fresh" {
        let back = format!("{}/members", organizations::address(inside.id));
        return Err(Instead::SignInAgain { back });
    }
    if !inside.may(Right::ReadMembers) {
        return Err(problem.clone().into());
    }
    let values = values(visitor, inside, &Page::FIRST).await?;
    Ok(visitor.again("members", problem, &values))
}
