//! The page behind the setup link; looking at it uses nothing up.

use actix_web::{HttpResponse, http::StatusCode, web::Data};
use minijinja::context;
use prognet_sdk::SetUp;
use serde::Deserialize;

use super::{page, told};
use crate::{
    Edge,
    caller::Stranger,
    input::{Form, Query},
    setup::may_be_used,
    v1::setup::make_admin,
};

/// What the setup link carries.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    #[serde(default)]
    token: String,
}

pub(super) async fn show(Query(link): Query<Link>, edge: Data<Edge>) -> HttpResponse {
    let is_good = may_be_used(&edge, &link.token).await;
    let status = if is_good { StatusCode::OK } else { StatusCode::FORBIDDEN };
    let shortest = shortest(&edge);
    let values = context! { token => link.token.as_str(), is_good, name => "", email => "", shortest };
    page(status, "setup", &values)
}

/// The link's token is what no other site knows: the form needs no other proof.
pub(super) async fn submit(stranger: Stranger, Form(wanted): Form<SetUp>, edge: Data<Edge>) -> HttpResponse {
    let (token, email, name) = (wanted.token.clone(), wanted.email.clone(), wanted.name.clone());
    match make_admin(&stranger, wanted, &edge).await {
        Ok(_) => page(StatusCode::CREATED, "setup", &context! { is_done => true, email }),
        Err(problem) => {
            let is_good = may_be_used(&edge, &token).await;
            let shortest = shortest(&edge);
            let values = context! { token, email, name, is_good, shortest, problem => told(&problem) };
            page(problem.status(), "setup", &values)
        }
    }
}

fn shortest(edge: &Edge) -> usize {
    edge.settings.auth.password_rules.shortest()
}
