//! What belongs to whoever is signed in: their profile, their sessions, their password.

use actix_web::{http::StatusCode, web::Data};
use minijinja::{Value, context, value::Serde};
use prognet_actors::{auth::Devices, ids::SessionId};
use prognet_sdk::{ChangePassword, ChangeProfile};
use serde::Deserialize;

use super::{
    Instead, Shown,
    visitor::{Posted, Visitor, see_other},
};
use crate::{
    Edge,
    input::Json,
    problem::Problem,
    v1::{me, sessions},
};

/// Sessions on the page, the newest first.
const SESSIONS_SHOWN: usize = 100;

/// Another password.
#[derive(Deserialize)]
pub(super) struct Change {
    current: String,
    new: String,
    /// A box that is ticked.
    end_others: Option<String>,
}

/// Another name.
#[derive(Deserialize)]
pub(super) struct Naming {
    name: String,
}

/// The session that is to end; without one, all others.
#[derive(Deserialize)]
pub(super) struct Ending {
    session: Option<String>,
}

pub(super) async fn show(visitor: Visitor) -> Shown {
    let values = values(&visitor).await?;
    Ok(visitor.page(StatusCode::OK, "account", &values))
}

/// Everything the platform knows about them, to keep.
pub(super) async fn export(visitor: Visitor, edge: Data<Edge>) -> Shown {
    Ok(me::export(visitor.person()?.clone(), edge).await?)
}

/// What the page shows.
pub(super) async fn values(visitor: &Visitor) -> Result<Value, Instead> {
    let (caller, edge) = (visitor.person()?, visitor.edge());
    let me = sessions::who(caller, edge).await?;
    let mut own = me::all_sessions_of(caller, edge).await?;
    own.reverse();
    own.truncate(SESSIONS_SHOWN);
    Ok(context! { me => Serde(me), sessions => Serde(own) })
}

pub(super) async fn rename(posted: Posted<Naming>, edge: Data<Edge>) -> Shown {
    let Posted { visitor, form: Naming { name } } = posted;
    let renamed =
        me::rename(visitor.person()?.clone(), Json(ChangeProfile { name: name.clone() }), edge).await;
    let values = values(&visitor).await?;
    match renamed {
        Ok(_) => {
            let notice = "Your name is changed.";
            Ok(visitor.page(StatusCode::OK, "account", &context! { notice, ..values }))
        }
        Err(problem) => Ok(visitor.again("account", &problem, &context! { name, ..values })),
    }
}

pub(super) async fn change_password(posted: Posted<Change>, edge: Data<Edge>) -> Shown {
    let Posted { visitor, form: Change { current, new, end_others } } = posted;
    let wanted = ChangePassword { current, new, end_other_sessions: end_others.is_some() };
    let values = values(&visitor).await?;
    match me::change_password(visitor.person()?.clone(), Json(wanted), edge).await {
        Ok(_) => {
            let notice = "Your password is changed.";
            Ok(visitor.page(StatusCode::OK, "account", &context! { notice, ..values }))
        }
        Err(problem) => Ok(visitor.again("account", &problem, &values)),
    }
}

pub(super) async fn end_session(posted: Posted<Ending>, edge: Data<Edge>) -> Shown {
    let Posted { visitor, form: Ending { session } } = posted;
    let caller = visitor.person()?;
    match session {
        None => drop(me::end_others(caller.clone(), edge).await?),
        Some(session) => {
            let session: SessionId = session.parse().map_err(|error| Problem::field("session", error))?;
            let ended = sessions::sign_out(caller, session, &edge).await?;
            if let Some(written) = ended {
                edge.node.caught_up::<Devices>(written, caller.own().asking().deadline).await?;
            }
        }
    }
    Ok(see_other("/account"))
}
