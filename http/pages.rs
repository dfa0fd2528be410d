//! Pages made here, for what must work before any app does: no script, no foreign host, readable anywhere.

use std::sync::LazyLock;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use minijinja::{Environment, UndefinedBehavior, Value};

/// Our style sheet and forms to ourselves, nothing else.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("pages/style.css");

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    for (name, text) in
        [("layout.html", include_str!("pages/layout.html")), ("setup.html", include_str!("pages/setup.html"))]
    {
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
