//! Signing in and out, and where to go afterwards.

use actix_web::{HttpResponse, http::StatusCode, web::Data};
use minijinja::{Value, context};
use prognet_sdk::SignIn;
use serde::Deserialize;

use super::{
    Shown, joining, organizations,
    visitor::{Posted, Visitor, see_other},
};
use crate::{Edge, caller::Stranger, input::Query, v1::sessions};

/// Where everyone begins.
pub(super) const HOME: &str = "/";

/// Where signing in leads to.
#[derive(Debug, Deserialize)]
pub(super) struct Way {
    #[serde(default)]
    return_to: String,
    /// Even if one is signed in.
    #[serde(default)]
    again: bool,
}

/// What is filled in.
#[derive(Deserialize)]
pub(super) struct Wanted {
    email: String,
    password: String,
    #[serde(default)]
    return_to: String,
}

/// The page of signing in that leads back to a page of ours.
pub(super) fn address(back: &str) -> String {
    if back == HOME {
        return "/signin".to_owned();
    }
    let back: String = form_urlencoded::byte_serialize(back.as_bytes()).collect();
    format!("/signin?return_to={back}")
}

/// The same for whoever is signed in: since when is too long ago for what they are about to do.
pub(super) fn once_more(back: &str) -> String {
    let back: String = form_urlencoded::byte_serialize(back.as_bytes()).collect();
    format!("/signin?return_to={back}&again=true")
}

/// A page of ours, or where everyone begins: a link from elsewhere leads nobody astray.
pub(super) fn own(page: &str) -> &str {
    // What browsers read as the name of a host: `//host`, and `/\host` as well.
    let is_path = page.starts_with('/') && !page.starts_with("//");
    let is_plain = page.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_path && is_plain { page } else { HOME }
}

/// The front door.
pub(super) async fn begin(visitor: Visitor) -> HttpResponse {
    match visitor.caller() {
        Some(caller) => see_other(&organizations::beginning(caller, visitor.edge()).await),
        None => see_other("/signin"),
    }
}

pub(super) async fn show(visitor: Visitor, Query(way): Query<Way>) -> HttpResponse {
    let kept = visitor.way().filter(|_| way.return_to.is_empty());
    let to = own(kept.as_deref().unwrap_or(&way.return_to));
    let shown = match visitor.caller() {
        Some(_) if !way.again => see_other(to),
        here => {
            let is_again = here.is_some();
            visitor.page(StatusCode::OK, "sign_in", &context! { email => "", is_again, ..leading(to) })
        }
    };
    std::future::ready(shown).await
}

/// What the form of signing in leads to.
fn leading(to: &str) -> Value {
    context! { return_to => to, sign_up => joining::address(to, "") }
}

/// A new session, whatever session the browser held before: that one ends.
pub(super) async fn submit(posted: Posted<Wanted>, stranger: Stranger, edge: Data<Edge>) -> Shown {
    let Posted { visitor, form: Wanted { email, password, return_to } } = posted;
    let to = own(&return_to);
    let wanted = SignIn { email: email.clone(), password, tenant: None, device: visitor.device() };
    match sessions::open(&stranger, wanted, &edge).await {
        Ok(opened) => {
            if let Some(before) = visitor.caller() {
                sessions::sign_out(before, before.claims().sid, &edge).await?;
            }
            Ok(visitor.enter(&opened, to))
        }
        Err(problem) => Ok(visitor.again("sign_in", &problem, &context! { email, ..leading(to) })),
    }
}

/// Goes on from a page of ours, or else to sign in again.
pub(super) async fn sign_out(posted: Posted<Way>, edge: Data<Edge>) -> Shown {
    let Posted { visitor, form: Way { return_to, .. } } = posted;
    if let Some(caller) = visitor.caller() {
        sessions::sign_out(caller, caller.claims().sid, &edge).await?;
    }
    let to = own(&return_to);
    Ok(visitor.leave(if to == HOME { "/signin" } else { to }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line 26 of the security bar: no open redirect.
    #[test]
    fn signing_in_leads_to_no_foreign_page() {
        for page in ["/account", "/organizations/ten_1?paused=true", "/"] {
            assert_eq!(own(page), page);
        }
        for page in [
            "",
            "account",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " //evil.example",
            "https://evil.example/",
            "https:evil.example",
            "javascript:alert(1)",
            "/\u{2215}evil.example",
        ] {
            assert_eq!(own(page), HOME, "{page:?}");
        }
    }
}
