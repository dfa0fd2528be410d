//! The dev inbox for people: mails that were caught instead of being sent. Only where it is on, and only to
//! the machine itself, as `v1/dev.rs` says.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web::Path,
};
use minijinja::{context, value::Serde};
use prognet_actors::communication::{DevInbox, channel::dev_inbox::Caught};
use serde::Deserialize;

use super::{Instead, POLICY, Shown, visitor::Visitor};
use crate::{input::Query, problem::Problem, v1::dev};

/// How long a look at an address waits for its first mail, which is sent a moment after it is asked for.
const PATIENCE: Duration = Duration::from_secs(1);
/// A mail as its sender wrote it: its styles, and nothing that runs or loads. Its links open in the whole window.
const MAIL: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'self'; sandbox allow-top-navigation-by-user-activation";

/// Whose mails.
#[derive(Debug, Deserialize)]
pub(super) struct Sought {
    to: Option<String>,
}

/// Mails, the newest first.
pub(super) async fn list(visitor: Visitor, Query(sought): Query<Sought>) -> Shown {
    let (inbox, node) = (open(&visitor)?, &visitor.edge().node);
    let mut caught = match &sought.to {
        Some(to) => inbox.wait(node, 0, Some(to), PATIENCE).await?,
        None => inbox.after(node, 0, None).await?,
    };
    caught.reverse();
    let mails: Vec<_> = caught.iter().map(dev::view).collect();
    let here = sought.to.as_deref().and_then(|to| address(&visitor, to));
    let here = here.unwrap_or_else(|| "/dev/inbox".to_owned());
    Ok(visitor.page(
        StatusCode::OK,
        "inbox",
        &context! { to => sought.to, again => here, mails => Serde(mails) },
    ))
}

/// One mail.
pub(super) async fn show(visitor: Visitor, number: Path<u64>) -> Shown {
    let mail = dev::view(&one(&visitor, *number).await?);
    let mut shown = visitor.page(StatusCode::OK, "mail", &context! { mail => Serde(mail) });
    let policy = HeaderValue::from_str(&format!("{POLICY}; frame-src 'self'"));
    let policy = policy.map_err(|_unreadable| Problem::not_found())?;
    shown.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(shown)
}

/// The HTML part of a mail, which its page frames.
pub(super) async fn html(visitor: Visitor, number: Path<u64>) -> Shown {
    let mail = one(&visitor, *number).await?;
    let html = mail.html.replacen("<head>", "<head><base target=\"_top\">", 1);
    let mut shown = HttpResponse::Ok();
    shown.content_type("text/html; charset=utf-8").insert_header((header::CONTENT_SECURITY_POLICY, MAIL));
    Ok(shown.body(html))
}

/// Where an address's mails are, for whoever was just told that one is on its way.
pub(super) fn address(visitor: &Visitor, to: &str) -> Option<String> {
    let to: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
    dev::inbox(visitor.request(), visitor.edge()).map(|_| format!("/dev/inbox?to={to}"))
}

fn open(visitor: &Visitor) -> Result<DevInbox, Problem> {
    dev::inbox(visitor.request(), visitor.edge()).ok_or_else(Problem::not_found)
}

async fn one(visitor: &Visitor, number: u64) -> Result<Caught, Instead> {
    let mail = open(visitor)?.one(&visitor.edge().node, number).await?;
    mail.ok_or_else(|| Problem::not_found().into())
}
