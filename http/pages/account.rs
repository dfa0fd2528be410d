//! What belongs to whoever is signed in.

use actix_web::http::StatusCode;
use minijinja::{context, value::Serde};

use super::{Shown, visitor::Visitor};
use crate::v1::sessions;

pub(super) async fn show(visitor: Visitor) -> Shown {
    let me = sessions::who(visitor.person()?, visitor.edge()).await?;
    Ok(visitor.page(StatusCode::OK, "account", &context! { me => Serde(me) }))
}
