//! The dev inbox for people: mails that the node caught instead of sending them. Only where it is on, and only to
//! the machine itself, as `v1/dev.rs` says.

use std::{sync::Arc, time::Duration};

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
    let inbox = open(&visitor)?;
    let mut caught = match &sought.to {
        Some(to) => inbox.wait(0, Some(to), PATIENCE).await,
        None => inbox.after(0, None),
    };
    caught.reverse();
    let mails: Vec<_> = caught.iter().map(|caught| dev::view(caught)).collect();
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
    let mail = dev::view(&*one(&visitor, *number)?);
    let mut shown = visitor.page(StatusCode::OK, "mail", &context! { mail => Serde(mail) });
    let policy = HeaderValue::from_str(&format!("{POLICY}; frame-src 'self'"));
    let policy = policy.map_err(|_unreadable| Problem::not_found())?;
    shown.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    std::future::ready(Ok(shown)).await
}

/// The HTML part of a mail, which its page frames.
pub(super) async fn html(visitor: Visitor, number: Path<u64>) -> Shown {
    let mail = one(&visitor, *number)?;
    let html = mail.html.replacen("<head>", "<head><base target=\"_top\">", 1);
    let mut shown = HttpResponse::Ok();
    shown.content_type("text/html; charset=utf-8").insert_header((header::CONTENT_SECURITY_POLICY, MAIL));
    std::future::ready(Ok(shown.body(html))).await
}

/// Where an address's mails are, for whoever was just told that one is on its way.
pub(super) fn address(visitor: &Visitor, to: &str) -> Option<String> {
    let to: String = form_urlencoded::byte_serialize(to.as_bytes()).collect();
    dev::inbox(visitor.request(), visitor.edge()).map(|_| format!("/dev/inbox?to={to}"))
}

fn open(visitor: &Visitor) -> Result<DevInbox, Problem> {
    dev::inbox(visitor.request(), visitor.edge()).ok_or_else(Problem::not_found)
}

fn one(visitor: &Visitor, number: u64) -> Result<Arc<Caught>, Instead> {
    let later = open(visitor)?.after(number.saturating_sub(1), None);
    let mail = later.into_iter().find(|caught| caught.number == number);
    mail.ok_or_else(|| Problem::not_found().into())
}
