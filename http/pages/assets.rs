//! What pages are made of besides HTML. Addresses carry a print of the content, so browsers may keep it for good.

use actix_web::{HttpResponse, http::header};
use aws_lc_rs::digest::{SHA256, digest};
use minijinja::{Value, context};

const STYLE: &str = include_str!("pages.css");
const LIVE: &str = include_str!("live.js");
const MARK: &str = include_str!("mark.svg");

/// Where they are.
pub(super) fn addresses() -> Value {
    context! {
        style => address("pages.css", STYLE.as_bytes()),
        live => address("live.js", LIVE.as_bytes()),
        mark => address("mark.svg", MARK.as_bytes()),
    }
}

/// Where something of this name and content is.
pub(super) fn address(name: &str, content: &[u8]) -> String {
    let print = digest(&SHA256, content);
    let print: String = print.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("/assets/{name}?v={print}")
}

/// The style sheet of all pages.
pub(super) async fn style() -> HttpResponse {
    std::future::ready(asset("text/css; charset=utf-8", STYLE.as_bytes())).await
}

/// What keeps events current.
pub(super) async fn live() -> HttpResponse {
    std::future::ready(asset("text/javascript; charset=utf-8", LIVE.as_bytes())).await
}

/// The mark of ProgNetwork.
pub(super) async fn mark() -> HttpResponse {
    std::future::ready(asset("image/svg+xml", MARK.as_bytes())).await
}

/// Something that is the same for everyone as long as its address is.
pub(super) fn asset(media_type: &'static str, content: &'static [u8]) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(media_type)
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .body(content)
}
