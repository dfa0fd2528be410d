//! Pages made here, for what must work before any app does: no script, no foreign host, readable anywhere.

use std::sync::LazyLock;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web::Path,
};
use minijinja::{Environment, UndefinedBehavior, Value, context};

use crate::problem::{PAGES, Problem};

/// Our style sheet and forms to ourselves, nothing else.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("pages/style.css");

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    for (name, text) in [
        ("layout.html", include_str!("pages/layout.html")),
        ("setup.html", include_str!("pages/setup.html")),
        ("problem.html", include_str!("pages/problem.html")),
    ] {
        if let Err(error) = templates.add_template(name, text) {
            tracing::error!(error = &error as &dyn std::error::Error, "page `{name}` does not parse");
        }
    }
    templates
});

/// A page, filled in; every value is escaped.
pub(crate) fn page(status: StatusCode, name: &str, values: &Value) -> HttpResponse {
    let page = TEMPLATES.get_template(&format!("{name}.html")).and_then(|page| page.render(values));
    match page {
        Ok(page) => HttpResponse::build(status)
            .content_type("text/html; charset=utf-8")
            .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
            .insert_header((header::REFERRER_POLICY, "no-referrer"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .body(page),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "failed to render page `{name}`");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// The page behind a problem's `type`.
pub(crate) async fn problem(named: Path<(String, String)>) -> Result<HttpResponse, Problem> {
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

/// The style sheet of all pages.
pub(crate) async fn style() -> HttpResponse {
    let style = HttpResponse::Ok()
        .content_type("text/css; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "public, max-age=3600"))
        .body(STYLE);
    std::future::ready(style).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_typed_is_escaped() {
        let values = minijinja::context! {
            token => "\"><script>", email => "", name => "<b>", is_good => true,
            title => "<i>", errors => Vec::<String>::new(),
        };
        let page = TEMPLATES.get_template("setup.html").unwrap().render(values).unwrap();
        assert!(page.contains("&lt;b&gt;") && !page.contains("<script>") && !page.contains("<i>"), "{page}");
    }
}
