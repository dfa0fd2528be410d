//! Getting an account, and back into one: signing up, showing that an address is one's own, forgotten passwords.
//! Nothing here tells whether an address has an account.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{AcceptLanguage, Header},
    },
    web::Data,
};
use minijinja::{Value, context};
use prognet_sdk::{OpenAccount, ResetPassword, SignUp};
use serde::Deserialize;

use super::{
    inbox, sign_in,
    visitor::{Posted, Visitor},
};
use crate::{Edge, caller::Stranger, input::Query, v1::accounts};

/// What a mailed link carries, and the form behind it.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    #[serde(default)]
    pub(super) token: String,
}

/// How whoever signs up got there.
#[derive(Debug, Deserialize)]
pub(super) struct Coming {
    #[serde(default)]
    return_to: String,
    /// The address they were written to.
    #[serde(default)]
    email: String,
}

/// What whoever signs up fills in.
#[derive(Deserialize)]
pub(super) struct Joining {
    email: String,
    name: String,
    password: String,
    #[serde(default)]
    return_to: String,
}

/// What whoever forgot a password fills in.
#[derive(Deserialize)]
pub(super) struct Forgetful {
    email: String,
}

/// A password, for the account behind a link.
#[derive(Deserialize)]
pub(super) struct Another {
    token: String,
    password: String,
}

/// The page of signing up that leads back to a page of ours in the end.
pub(super) fn address(back: &str, email: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value, usual) in [("return_to", back, sign_in::HOME), ("email", email, "")] {
        if value != usual {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if query.is_empty() { "/signup".to_owned() } else { format!("/signup?{query}") }
}

pub(super) async fn sign_up(visitor: Visitor, Query(coming): Query<Coming>) -> HttpResponse {
    let Coming { return_to, email } = coming;
    let values = context! { name => "", email, ..leading(&return_to) };
    std::future::ready(visitor.page(StatusCode::OK, "sign_up", &values)).await
}

/// The first of the browser's languages that mails are written in.
fn spoken(request: &HttpRequest) -> Option<String> {
    let languages = AcceptLanguage::parse(request).ok()?.ranked();
    let primary = languages.iter().filter_map(|it| it.item()).map(|tag| tag.primary_language().to_owned());
    primary.into_iter().find(|it| matches!(accounts::language(Some(it.clone())), Ok(Some(_))))
}

/// What the form of signing up leads to in the end.
fn leading(return_to: &str) -> Value {
    let to = sign_in::own(return_to);
    context! { return_to => to, sign_in => sign_in::address(to) }
}

pub(super) async fn submit_sign_up(
    posted: Posted<Joining>,
    stranger: Stranger,
    edge: Data<Edge>,
) -> HttpResponse {
    let Posted { visitor, form: Joining { email, name, password, return_to } } = posted;
    let language = spoken(visitor.request());
    let wanted = SignUp { email: email.clone(), password, name: name.clone(), language };
    match accounts::start_sign_up(&stranger, wanted, &edge).await {
        Ok(email) => {
            let text = "Open the link in it, and the account is yours.";
            let mut told = mailed(&visitor, email.as_str(), text);
            let to = sign_in::own(&return_to);
            if to != sign_in::HOME {
                visitor.keep_way(&mut told, to);
            }
            told
        }
        Err(problem) => visitor.again("sign_up", &problem, &context! { name, email, ..leading(&return_to) }),
    }
}

pub(super) async fn forgot(visitor: Visitor) -> HttpResponse {
    std::future::ready(visitor.page(StatusCode::OK, "forgot", &context! { email => "" })).await
}

pub(super) async fn submit_forgot(
    posted: Posted<Forgetful>,
    stranger: Stranger,
    edge: Data<Edge>,
) -> HttpResponse {
    let Posted { visitor, form: Forgetful { email } } = posted;
    match accounts::mail_reset(&stranger, &email, &edge).await {
        Ok(email) => {
            let text = "If there is an account with this address, the mail has a link with which you choose \
                another password.";
            mailed(&visitor, email.as_str(), text)
        }
        Err(problem) => visitor.again("forgot", &problem, &context! { email }),
    }
}

/// Looking at it uses nothing up: mail programs look at links before people do.
pub(super) async fn verify(visitor: Visitor, Query(link): Query<Link>) -> HttpResponse {
    std::future::ready(visitor.page(StatusCode::OK, "confirm", &verifying(&link.token))).await
}

pub(super) async fn submit_verify(
    posted: Posted<Another>,
    stranger: Stranger,
    edge: Data<Edge>,
) -> HttpResponse {
    let Posted { visitor, form: Another { token, password } } = posted;
    let wanted = OpenAccount { token: token.clone(), password };
    match accounts::open_account(&stranger, wanted, &edge).await {
        Ok(()) => {
            done(&visitor, "Your account is open", "Your address is confirmed. Sign in with your password.")
        }
        Err(problem) => visitor.again("confirm", &problem, &verifying(&token)),
    }
}

fn verifying(token: &str) -> Value {
    context! {
        title => "Confirm your address",
        text => "Give the password you chose when you signed up, and your account is open.",
        asks_password => true,
        button => "Confirm",
        action => "/verify",
        token,
    }
}

pub(super) async fn reset(visitor: Visitor, Query(link): Query<Link>) -> HttpResponse {
    let values = context! { token => link.token };
    std::future::ready(visitor.page(StatusCode::OK, "reset", &values)).await
}

pub(super) async fn submit_reset(
    posted: Posted<Another>,
    stranger: Stranger,
    edge: Data<Edge>,
) -> HttpResponse {
    let Posted { visitor, form: Another { token, password } } = posted;
    let wanted = ResetPassword { token: token.clone(), password };
    match accounts::reset_password(&stranger, wanted, &edge).await {
        Ok(()) => {
            done(&visitor, "Your password is set", "You are signed out everywhere. Sign in with the new one.")
        }
        Err(problem) => visitor.again("reset", &problem, &context! { token }),
    }
}

/// Says that a mail is on its way.
fn mailed(visitor: &Visitor, email: &str, text: &str) -> HttpResponse {
    let text = format!("A mail is on its way to {email}. {text}");
    let values = context! { title => "Look into your mail", text, caught => inbox::address(visitor, email) };
    visitor.page(StatusCode::ACCEPTED, "told", &values)
}

/// Says what has happened; signing in comes next.
pub(super) fn done(visitor: &Visitor, title: &str, text: &str) -> HttpResponse {
    let values = context! { title, text, to => "/signin", label => "Sign in" };
    visitor.page(StatusCode::OK, "told", &values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_up_is_told_where_one_comes_from_and_as_whom() {
        assert_eq!(address("/", ""), "/signup");
        let back = address("/invitation?token=x", "ada+one@example.org");
        assert_eq!(back, "/signup?return_to=%2Finvitation%3Ftoken%3Dx&email=ada%2Bone%40example.org");
    }
}
