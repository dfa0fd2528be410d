//! What is left of the pages in a build without them (feature `no-ui`): problems explain themselves as text.

use actix_web::{
    HttpResponse,
    web::{self, Path, get},
};

use crate::problem::{PAGES, Problem};

crate::v1::serve! {
    "/problems/{area}/{name}" => { get explained }
}

/// Nothing here does.
pub(crate) const fn tells_itself(_: &actix_web::Error) -> bool {
    false
}

/// A refusal before any handler.
pub(crate) fn refused(_: &str, problem: Problem) -> actix_web::Error {
    problem.into()
}

/// What is behind a problem's `type`: Markdown.
async fn explained(named: Path<(String, String)>) -> Result<HttpResponse, Problem> {
    let (area, name) = named.into_inner();
    let code = format!("{area}/{name}");
    let text = PAGES.iter().find(|(known, _)| *known == code).map(|(_, text)| *text);
    let text = text.ok_or_else(Problem::not_found)?;
    std::future::ready(Ok(HttpResponse::Ok().content_type("text/markdown; charset=utf-8").body(text))).await
}
