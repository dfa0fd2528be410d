//! What a request brings, parsed into types; what does not parse is refused by the name of its field.

use std::{future::Future, pin::Pin};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, web::Bytes};
use serde::de::DeserializeOwned;
use serde_path_to_error::Error;

use crate::{Edge, problem::Problem};

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

/// A form, as browsers send it.
#[derive(Debug)]
pub(crate) struct Form<T>(pub(crate) T);

/// The query of an address.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if !is_json(request) {
            return Box::pin(std::future::ready(Err(Problem::media_type("application/json"))));
        }
        let body = Bytes::from_request(request, payload);
        Box::pin(async move { json(&body.await.map_err(|error| Problem::of(&error))?).map(Json) })
    }
}

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(query(request.query_string()).map(Query))
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Form<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        const FORM: &str = "application/x-www-form-urlencoded";
        if !request.content_type().eq_ignore_ascii_case(FORM) {
            return Box::pin(std::future::ready(Err(Problem::media_type(FORM))));
        }
        let body = String::from_request(request, payload);
        Box::pin(async move { query(&body.await.map_err(|error| Problem::of(&error))?).map(Form) })
    }
}

/// How many items a page may have: 50 unless said otherwise.
pub(crate) fn page_items(limit: Option<usize>, edge: &Edge) -> Result<usize, Problem> {
    let max = edge.settings.page_items_max;
    let limit = limit.unwrap_or(max.min(50));
    let is_valid = (1..=max).contains(&limit);
    is_valid.then_some(limit).ok_or_else(|| Problem::field("limit", format!("a number from 1 to {max}")))
}

fn is_json(request: &HttpRequest) -> bool {
    request.content_type().eq_ignore_ascii_case("application/json")
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut input = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut input).map_err(|error| invalid("body", &error))?;
    input.end().map_err(|error| Problem::field("body", error))?;
    Ok(value)
}

fn query<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let input = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
    serde_path_to_error::deserialize(input).map_err(|error| invalid("query", &error))
}

/// Names the field; one that is missing or unknown has no path, so its name is taken from the message.
fn invalid<E: std::error::Error>(whole: &str, error: &Error<E>) -> Problem {
    let (path, message) = (error.path().to_string(), error.inner().to_string());
    let named = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|words| message.strip_prefix(words));
    let name = named.and_then(|rest| rest.split_once('`')).map(|(name, _)| name);
    let field = match (path.as_str(), name) {
        // Of the whole: it is another type, or ends too early for a path.
        ("." | "?", name) => name.unwrap_or(whole).to_owned(),
        (path, Some(name)) if !path.ends_with(name) => format!("{path}.{name}"),
        (path, _) => path.to_owned(),
    };
    Problem::field(&field, message)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsing is looked at")]
    struct Wanted {
        name: String,
        limit: Option<u8>,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only parsing is looked at")]
    struct Inner {
        deep: bool,
    }

    #[track_caller]
    fn names(problem: Result<Wanted, Problem>, field: &str) {
        assert_eq!(problem.unwrap_err().errors()[0].field, field);
    }

    #[test]
    fn a_body_that_does_not_fit_is_refused_by_field() {
        assert_eq!(json::<Wanted>(br#"{"name":"x"}"#).unwrap().name, "x");
        for (body, field) in [
            (&br#"{"name":7}"#[..], "name"),
            (br"{}", "name"),
            (br#"{"name":"x","owner":1}"#, "owner"),
            (br#"{"name":"x","limit":300}"#, "limit"),
            (br#"{"name":"x","inner":{"deep":0}}"#, "inner.deep"),
            (br#"{"name":"x","inner":{}}"#, "inner.deep"),
            (b"[]", "body"),
            (b"{", "body"),
            (b"", "body"),
            (br#"{"name":"x"} more"#, "body"),
            (b"{\"name\":\"\xff\"}", "name"),
        ] {
            names(json(body), field);
        }
    }

    #[test]
    fn a_query_that_does_not_fit_is_refused_by_field() {
        assert_eq!(query::<Wanted>("name=a+b%26c").unwrap().name, "a b&c");
        for (text, field) in [
            ("", "name"),
            ("name=x&limit=many", "limit"),
            ("name=x&limit=-1", "limit"),
            ("name=x&limt=1", "limt"),
            ("name=x&name=y", "name"),
        ] {
            names(query(text), field);
        }
    }
}
