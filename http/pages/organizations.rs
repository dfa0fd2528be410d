//! A person's organizations: which there are, founding one, and what happens in one.

use actix_web::{
    http::StatusCode,
    web::{Data, Path},
};
use minijinja::{Value, context, value::Serde};
use prognet_actors::{
    auth::access::Right,
    ids::TenantId,
    tenancy::{Members, tenant},
};
use prognet_sdk::{CreateTenant, MemberStatus, TenantStatus};
use prognet_supervisor::{Frame, Topic};
use serde::Deserialize;

use super::{
    Instead, Shown, happenings,
    visitor::{Posted, Visitor, see_other},
};
use crate::{
    Edge,
    caller::Caller,
    input::Query,
    list::{self, Page},
    live::{self, cursor_at},
    v1::{members, tenants},
};

/// Where all of one's organizations are.
pub(super) const ALL: &str = "/organizations";
/// Organizations the switch in the bar offers; the page of all has the others.
const SWITCH_MAX: usize = 10;

/// What whoever founds an organization fills in.
#[derive(Deserialize)]
pub(super) struct Founding {
    name: String,
    slug: String,
}

/// All of one's organizations.
pub(super) async fn pick(visitor: Visitor, Query(page): Query<Page>) -> Shown {
    let values = all(&visitor, &page).await?;
    Ok(visitor.page(StatusCode::OK, "organizations", &values))
}

pub(super) async fn found(posted: Posted<Founding>, edge: Data<Edge>) -> Shown {
    let Posted { visitor, form: Founding { name, slug } } = posted;
    let caller = visitor.person()?;
    let wanted = CreateTenant { name: name.clone(), slug: slug.clone() };
    match tenants::found(caller, wanted, &edge).await {
        Ok((tenant, _, written)) => {
            list::seen::<Members>(written, caller.own().asking(), &edge).await;
            Ok(see_other(&address(tenant)))
        }
        Err(problem) => {
            let values = all(&visitor, &Page::FIRST).await?;
            Ok(visitor.again("organizations", &problem, &context! { name, slug, ..values }))
        }
    }
}

async fn all(visitor: &Visitor, page: &Page) -> Result<Value, Instead> {
    let own = members::own_of(visitor.person()?, page, visitor.edge()).await?;
    Ok(context! { own => Serde(own.data), next => own.next })
}

/// Where an organization is.
pub(super) fn address(tenant: impl std::fmt::Display) -> String {
    format!("{ALL}/{tenant}")
}

/// Where whoever is signed in begins: in their organization, if there is one and no other.
pub(super) async fn beginning(caller: &Caller, edge: &Edge) -> String {
    let own = members::own_of(caller, &Page::of(2, edge), edge).await.map(|own| own.data);
    match own.as_deref() {
        Ok([only]) if only.status == MemberStatus::Active && only.tenant.status == TenantStatus::Active => {
            address(&only.tenant.id)
        }
        Ok(_) | Err(_) => ALL.to_owned(),
    }
}

/// Somebody in one of their organizations.
pub(super) struct Inside {
    pub(super) id: TenantId,
    pub(super) caller: Caller,
    pub(super) known: tenant::View,
}

impl Inside {
    /// Whoever looks, if the organization lets them in.
    pub(super) async fn of(visitor: &Visitor, tenant: &str) -> Result<Self, Instead> {
        let id = tenants::id(tenant)?;
        let caller = visitor.person_in(id).await?;
        let known = members::known_tenant(id, caller.own().asking(), visitor.edge()).await?;
        Ok(Self { id, caller, known })
    }

    pub(super) fn may(&self, right: Right) -> bool {
        self.caller.may(right, self.id).is_ok()
    }

    /// What every page in there shows around what it is about; `here` is the page's place in the organization.
    pub(super) async fn frame(&self, visitor: &Visitor, here: &str) -> Result<Value, Instead> {
        let edge = visitor.edge();
        let own = members::own_of(visitor.person()?, &Page::of(SWITCH_MAX, edge), edge).await?;
        let others: Vec<_> = own.data.into_iter().map(|own| own.tenant).collect();
        let home = address(self.id);
        let pages = [
            (Right::ReadTenant, "", "What happens"),
            (Right::ReadMembers, "/members", "Members"),
            (Right::InviteMembers, "/invitations", "Invitations"),
        ];
        let pages = pages.into_iter().filter(|(right, ..)| self.may(*right));
        let pages = pages.map(|(_, page, label)| {
            let (is_here, page) = (page == here, format!("{home}{page}"));
            context! { page, label, is_here }
        });
        let pages: Vec<_> = pages.collect();
        let tenant = Serde(tenants::wire_of(self.id, &self.known));
        Ok(context! { home, tenant, pages, others => Serde(others) })
    }
}

/// How an organization is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Look {
    /// Without a script the page comes anew by itself, unless it is told not to.
    #[serde(default)]
    paused: bool,
}

/// One organization, and what happened there last.
pub(super) async fn show(visitor: Visitor, tenant: Path<String>, Query(look): Query<Look>) -> Shown {
    let (edge, inside) = (visitor.edge(), Inside::of(&visitor, &tenant).await?);
    inside.caller.may(Right::ReadTenant, inside.id)?;
    let mut values = inside.frame(&visitor, "").await?;
    if inside.may(Right::ReadEvents) {
        let topic = Topic::Home(inside.id.home());
        let cursor = cursor_at(edge, topic, &edge.node.end_of(topic).await?);
        let events = happenings::latest(&inside, topic, edge).await?;
        values = context! { events, cursor, is_live => !look.paused, ..values };
    }
    Ok(visitor.page(StatusCode::OK, "organization", &values))
}

/// Where a stream goes on.
#[derive(Debug, Deserialize)]
pub(super) struct After {
    after: Option<String>,
}

/// That something happened, as it happens; what it was, the page says.
pub(super) async fn live(visitor: Visitor, tenant: Path<String>, Query(from): Query<After>) -> Shown {
    let id = tenants::id(&tenant)?;
    let caller = visitor.person_in(id).await?;
    caller.may(Right::ReadEvents, id)?;
    let (topic, edge) = (Topic::Home(id.home()), visitor.edge().clone());
    Ok(live::follow(&caller, topic, from.after.as_deref(), visitor.request(), edge, change).await?)
}

fn change(edge: &Edge, topic: Topic, frame: &Frame) -> String {
    let position = match frame {
        Frame::Event(event) => &event.position,
        Frame::Gap { to } => to,
    };
    format!("id: {}\nevent: change\ndata: {{}}\n\n", cursor_at(edge, topic, position))
}
