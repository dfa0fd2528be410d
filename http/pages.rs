//! Pages for people: made here, readable anywhere, working without script, asking no foreign host.

mod account;
mod addresses;
mod assets;
mod docs;
mod happenings;
mod inbox;
mod invitations;
mod invited;
mod joining;
mod leaving;
mod members;
mod organizations;
mod setup;
mod sign_in;
mod visitor;

use std::{fmt, sync::LazyLock};

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
    web::{self, Path, get, post},
};
use minijinja::{Environment, UndefinedBehavior, Value, context, value::Serde};

use crate::problem::{PAGES, Problem};

/// Our style sheet, marks, scripts and streams, and forms to ourselves: nothing inline, nothing from elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

crate::v1::serve! {
    "/" => { get sign_in::begin }
    "/setup" => { get setup::show, post setup::submit }
    "/signin" => { get sign_in::show, post sign_in::submit }
    "/signout" => { post sign_in::sign_out }
    "/signup" => { get joining::sign_up, post joining::submit_sign_up }
    "/verify" => { get joining::verify, post joining::submit_verify }
    "/forgot" => { get joining::forgot, post joining::submit_forgot }
    "/reset" => { get joining::reset, post joining::submit_reset }
    "/change-email" => { get addresses::change, post addresses::submit_change }
    "/undo-email" => { get addresses::undo, post addresses::submit_undo }
    "/stay" => { get leaving::stay, post leaving::submit_stay }
    "/account" => { get account::show }
    "/account/name" => { post account::rename }
    "/account/export" => { get account::export }
    "/account/password" => { post account::change_password }
    "/account/sessions" => { post account::end_session }
    "/account/email" => { post addresses::ask }
    "/account/delete" => { post leaving::delete }
    "/organizations" => { get organizations::pick, post organizations::found }
    "/organizations/{tenant}" => { get organizations::show }
    "/organizations/{tenant}/live" => { get organizations::live }
    "/organizations/{tenant}/members" => { get members::show }
    "/organizations/{tenant}/members/{account}" => { post members::change }
    "/organizations/{tenant}/leave" => { post members::leave }
    "/organizations/{tenant}/invitations" => { get invitations::show, post invitations::ask }
    "/organizations/{tenant}/invitations/revoke" => { post invitations::revoke }
    "/invitation" => { get invited::show, post invited::accept }
    "/invitation/decline" => { post invited::decline }
    "/dev/inbox" => { get inbox::list }
    "/dev/inbox/{number}" => { get inbox::show }
    "/dev/inbox/{number}/html" => { get inbox::html }
    "/docs" => { get docs::show }
    "/assets/pages.css" => { get assets::style }
    "/assets/live.js" => { get assets::live }
    "/assets/mark.svg" => { get assets::mark }
    "/assets/docs.css" => { get docs::style }
    "/assets/docs.js" => { get docs::start }
    "/assets/swagger-ui.css" => { get docs::ui_style }
    "/assets/swagger-ui.js" => { get docs::ui }
    "/problems/{area}/{name}" => { get explained }
}

/// What a page's handler answers.
type Shown = Result<HttpResponse, Instead>;

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    templates.add_global("assets", assets::addresses());
    templates.add_filter("moment", moment);
    templates.add_filter("phrase", phrase);
    templates.add_filter("sentence", sentence);
    templates.add_filter("own", own);
    templates.add_filter("plain", plain);
    for (name, text) in [
        ("layout.html", include_str!("pages/layout.html")),
        ("narrow.html", include_str!("pages/narrow.html")),
        ("form.html", include_str!("pages/form.html")),
        ("setup.html", include_str!("pages/setup.html")),
        ("sign_in.html", include_str!("pages/sign_in.html")),
        ("account.html", include_str!("pages/account.html")),
        ("organizations.html", include_str!("pages/organizations.html")),
        ("inside.html", include_str!("pages/inside.html")),
        ("organization.html", include_str!("pages/organization.html")),
        ("members.html", include_str!("pages/members.html")),
        ("invitations.html", include_str!("pages/invitations.html")),
        ("invited.html", include_str!("pages/invited.html")),
        ("inbox.html", include_str!("pages/inbox.html")),
        ("mail.html", include_str!("pages/mail.html")),
        ("sign_up.html", include_str!("pages/sign_up.html")),
        ("confirm.html", include_str!("pages/confirm.html")),
        ("told.html", include_str!("pages/told.html")),
        ("forgot.html", include_str!("pages/forgot.html")),
        ("reset.html", include_str!("pages/reset.html")),
        ("stay.html", include_str!("pages/stay.html")),
        ("docs.html", include_str!("pages/docs.html")),
        ("problem.html", include_str!("pages/problem.html")),
        ("failed.html", include_str!("pages/failed.html")),
    ] {
        if let Err(error) = templates.add_template(name, text) {
            tracing::error!(error = &error as &dyn std::error::Error, "page `{name}` does not parse");
        }
    }
    templates
});

/// A page, filled in; every value is escaped. `problem` in `values` is what went wrong, if something did.
fn page(status: StatusCode, name: &str, values: &Value) -> HttpResponse {
    let page = TEMPLATES.get_template(&format!("{name}.html")).and_then(|page| page.render(values));
    match page {
        Ok(page) => HttpResponse::build(status)
            .content_type("text/html; charset=utf-8")
            .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
            .body(page),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "failed to render page `{name}`");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// A problem as templates have it.
fn told(problem: &Problem) -> Value {
    let wire = problem.wire();
    context! { title => wire.title, detail => wire.detail, code => problem.code(), errors => Serde(wire.errors) }
}

/// Whether a failure shows itself as a page.
pub(crate) fn tells_itself(error: &actix_web::Error) -> bool {
    error.as_error::<Instead>().is_some()
}

/// A refusal before any handler: as a page where people come.
pub(crate) fn refused(route: &str, problem: Problem) -> actix_web::Error {
    if route.starts_with("/v1") { problem.into() } else { Instead::Problem(problem).into() }
}

/// What is shown instead of a page.
#[derive(Debug)]
pub(crate) enum Instead {
    /// Whoever it is must sign in, and comes back then.
    SignIn {
        /// Where to.
        back: String,
    },
    /// The same for whoever is signed in, but since too long ago.
    SignInAgain {
        /// Where to.
        back: String,
    },
    /// What went wrong.
    Problem(Problem),
}

impl<P: Into<Problem>> From<P> for Instead {
    fn from(problem: P) -> Self {
        Self::Problem(problem.into())
    }
}

impl fmt::Display for Instead {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SignIn { .. } | Self::SignInAgain { .. } => out.write_str("signing in comes first"),
            Self::Problem(problem) => problem.fmt(out),
        }
    }
}

impl ResponseError for Instead {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::SignIn { .. } | Self::SignInAgain { .. } => StatusCode::SEE_OTHER,
            Self::Problem(problem) => problem.status(),
        }
    }

    fn error_response(&self) -> HttpResponse {
        match self {
            Self::SignIn { back } => visitor::see_other(&sign_in::address(back)),
            Self::SignInAgain { back } => visitor::see_other(&sign_in::once_more(back)),
            Self::Problem(problem) => {
                let mut response = page(problem.status(), "failed", &context! { problem => told(problem) });
                problem.say_when(response.headers_mut());
                response
            }
        }
    }
}

/// The page behind a problem's `type`.
async fn explained(named: Path<(String, String)>) -> Result<HttpResponse, Problem> {
    let (area, name) = named.into_inner();
    let code = format!("{area}/{name}");
    let text = PAGES.iter().find(|(known, _)| *known == code).map(|(_, text)| *text);
    let text = text.ok_or_else(Problem::not_found)?;
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, pulldown_cmark::Parser::new(text));
    let title = text.lines().next().unwrap_or_default().trim_start_matches("# ").to_owned();
    let values = context! { title, code, text => Value::from_safe_string(html) };
    std::future::ready(Ok(page(StatusCode::OK, "problem", &values))).await
}

/// A moment for people: `<time>` with the day and the time.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a filter")]
fn moment(text: String) -> Value {
    let (day, rest) = text.split_once('T').unwrap_or((&text, ""));
    let time = rest.split('.').next().unwrap_or_default();
    let (exact, day, time) = (escaped(&text), escaped(day), escaped(time));
    Value::from_safe_string(format!(r#"<time datetime="{exact}">{day} {time} UTC</time>"#))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A name such as `tenant.suspended` as words.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a filter")]
fn phrase(name: String) -> String {
    let words = name.replace(['.', '_'], " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What went wrong, in few words, as a sentence.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a filter")]
fn sentence(words: String) -> String {
    let mut letters = words.chars();
    let begun = letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>());
    begun.map(|begun| format!("{begun}.")).unwrap_or_default()
}

/// What somebody called something: in a direction of its own, so that it turns no words around it (UAX #9 s. 6.3).
#[expect(clippy::needless_pass_by_value, reason = "the shape of a filter")]
fn own(text: Value) -> Value {
    Value::from_safe_string(format!("<bdi>{}</bdi>", escaped(&text.to_string())))
}

/// The same where there can be no element: without what turns words.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a filter")]
fn plain(text: String) -> String {
    let turns = |letter: char| matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.replace(turns, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_typed_is_escaped() {
        let problem = context! { title => "<i>", detail => "", code => "", errors => Vec::<String>::new() };
        let values = context! { token => "\"><script>", email => "", name => "<b>", is_good => true, shortest => 12, problem };
        let page = TEMPLATES.get_template("setup.html").unwrap().render(values).unwrap();
        assert!(page.contains("&lt;b&gt;") && !page.contains("<script>") && !page.contains("<i>"), "{page}");
    }

    /// A page is reached by links and forms, which know no other methods; the API has its own addresses.
    #[test]
    fn pages_are_got_and_posted_and_lie_beside_the_api() {
        for (path, methods) in TABLE {
            assert!(methods.iter().all(|method| ["get", "post"].contains(method)), "{path}");
            assert!(!path.starts_with("/v1"), "{path}");
        }
    }

    #[test]
    fn a_moment_and_a_name_are_for_people() {
        let moment = moment("2026-11-25T22:34:40.123Z".to_owned()).to_string();
        assert_eq!(moment, r#"<time datetime="2026-11-25T22:34:40.123Z">2026-11-25 22:34:40 UTC</time>"#);
        assert_eq!(phrase("tenant.owner_added".to_owned()), "Tenant owner added");
        assert_eq!(sentence("the Acme of ten_1 says no".to_owned()), "The Acme of ten_1 says no.");
    }

    #[test]
    fn what_people_called_something_turns_no_words_around_it() {
        let name = "a\u{202e}b<\u{2066}c";
        assert_eq!(own(Value::from(name)).to_string(), "<bdi>a\u{202e}b&lt;\u{2066}c</bdi>");
        assert_eq!(plain(name.to_owned()), "ab<c");
    }
}
