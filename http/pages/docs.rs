//! The API's description for people: Swagger UI, from here alone (`docs/README.md` says which).

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use minijinja::{Value, context};

use super::{
    assets::{address, asset},
    page,
};

const UI: &[u8] = include_bytes!("docs/swagger-ui-bundle.js.gz");
const UI_STYLE: &[u8] = include_bytes!("docs/swagger-ui.css.gz");
const START: &str = include_str!("docs/start.js");
const STYLE: &str = include_str!("docs/docs.css");

/// As for all pages, and the pictures in Swagger UI's style sheet.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; \
    connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// Where they are.
pub(super) fn addresses() -> Value {
    context! {
        ui => address("swagger-ui.js", UI),
        ui_style => address("swagger-ui.css", UI_STYLE),
        start => address("docs.js", START.as_bytes()),
        style => address("docs.css", STYLE.as_bytes()),
    }
}

pub(super) async fn show() -> HttpResponse {
    let mut shown = page(StatusCode::OK, "docs", &context! { docs => addresses() });
    shown.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    std::future::ready(shown).await
}

pub(super) async fn ui() -> HttpResponse {
    std::future::ready(compressed("text/javascript; charset=utf-8", UI)).await
}

pub(super) async fn ui_style() -> HttpResponse {
    std::future::ready(compressed("text/css; charset=utf-8", UI_STYLE)).await
}

pub(super) async fn start() -> HttpResponse {
    std::future::ready(asset("text/javascript; charset=utf-8", START.as_bytes())).await
}

pub(super) async fn style() -> HttpResponse {
    std::future::ready(asset("text/css; charset=utf-8", STYLE.as_bytes())).await
}

/// Every browser reads it so; nothing is kept uncompressed.
fn compressed(media_type: &'static str, content: &'static [u8]) -> HttpResponse {
    let mut asset = asset(media_type, content);
    asset.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    asset
}
