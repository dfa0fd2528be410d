//! The API's description (OpenAPI 3.1), made from the handlers and kept in `docs/openapi.json`.

use actix_web::{HttpResponse, web::Data};
use prognet_actors::ids::{AccountId, InvitationId, SessionId, TenantId};
use prognet_sdk::Problem;
use utoipa::{
    Modify, Number, OpenApi,
    openapi::{
        RefOr, Schema,
        path::{Parameter, ParameterIn},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    accounts, audit, cluster, dev, events, invitations, me, members, people, roles, sessions, setup, system,
    tenants,
};
use crate::{Edge, keys, live};

/// What any route may answer instead, as `application/problem+json` (RFC 9457).
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "the description is made from it")]
pub(crate) enum Problems {
    /// The request is not valid; `errors` names the fields.
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(Problem),
    /// A good token is needed.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// The caller may not do this.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// There is no such thing, or not for this caller.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// The state of things says no.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// What it is about was erased.
    #[response(status = 410, content_type = "application/problem+json")]
    Gone(Problem),
    /// It is at another version.
    #[response(status = 412, content_type = "application/problem+json")]
    OtherVersion(Problem),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is of another type.
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(Problem),
    /// The idempotency key was used with another request.
    #[response(status = 422, content_type = "application/problem+json")]
    KeyReused(Problem),
    /// Too much at once for this one: `Retry-After`.
    #[response(status = 429, content_type = "application/problem+json")]
    Busy(Problem),
    /// Something is broken here; the request's id finds it in the logs.
    #[response(status = 500, content_type = "application/problem+json")]
    Fault(Problem),
    /// Try again: `Retry-After`.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ProgNetwork",
        description = "The back end under an organization platform's apps. Times are RFC 3339 in UTC; lists are \
            pages `{data, next}`; failures are problems (RFC 9457) whose `type` opens a page. Doors for strangers \
            say how their limit stands: `RateLimit-Policy`, `RateLimit`, and `Retry-After` once it is reached.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact(),
        version = "1",
    ),
    paths(
        setup::set_up,
        sessions::sign_in,
        sessions::refresh,
        sessions::end,
        sessions::me,
        me::change_password,
        me::sessions,
        me::end_others,
        accounts::sign_up,
        accounts::verify,
        accounts::forgot,
        accounts::reset,
        accounts::confirm_email,
        accounts::undo_email,
        accounts::stay,
        me::rename,
        me::change_email,
        me::delete,
        me::activity,
        me::export,
        people::find,
        people::read,
        people::disable,
        people::enable,
        people::end_sessions,
        people::activity,
        keys::jwks,
        keys::revoke,
        tenants::create,
        tenants::list,
        tenants::read,
        tenants::rename,
        tenants::limit_sessions,
        tenants::suspend,
        tenants::resume,
        members::list,
        members::read,
        members::change,
        members::suspend,
        members::resume,
        members::remove,
        members::own,
        roles::list,
        roles::define,
        invitations::invite,
        invitations::list,
        invitations::revoke,
        invitations::look,
        invitations::accept,
        invitations::decline,
        events::of_tenant,
        audit::of_tenant,
        live::socket::open,
        live::sse,
        dev::messages,
        cluster::nodes,
        cluster::drain,
        cluster::shards,
        system::counts,
        system::actor,
        system::release,
    ),
    tags(
        (name = "setup", description = "The first admin"),
        (name = "sessions", description = "Signing in, staying signed in, signing out"),
        (name = "accounts", description = "Signing up, mailed links, forgotten passwords; and people, for platform admins"),
        (name = "me", description = "What is the caller's own"),
        (name = "tenants", description = "Organizations"),
        (name = "members", description = "Who belongs to an organization, and what they may do"),
        (name = "invitations", description = "People asked into an organization by mail"),
        (name = "events", description = "What happens: live, read back, and who did it"),
        (name = "dev", description = "While building on a node: the mails it caught"),
        (name = "system", description = "What runs on a node"),
    ),
    // Only answers name it, and those are not searched for schemas.
    components(schemas(Problem)),
    security(("bearer" = [])),
    modifiers(&Bearer),
)]
struct Description;

/// How callers prove who they are.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// The ids in paths, and what they begin with.
const IDS: [(&str, &str); 4] = [
    ("account", AccountId::PREFIX),
    ("invitation", InvitationId::PREFIX),
    ("session", SessionId::PREFIX),
    ("tenant", TenantId::PREFIX),
];

/// The description as it is published, by a node whose pages have at most so many items.
fn text(page_items_max: usize) -> String {
    let mut description = Description::openapi();
    let operations = description.paths.paths.values_mut().flat_map(|path| {
        [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete]
            .into_iter()
            .flatten()
    });
    for parameter in operations.flat_map(|operation| operation.parameters.iter_mut().flatten()) {
        let RefOr::T(Parameter {
            name, parameter_in, schema: Some(RefOr::T(Schema::Object(schema))), ..
        }) = parameter
        else {
            continue;
        };
        if name == "limit" {
            schema.maximum = Some(Number::UInt(page_items_max));
        }
        let id = IDS.iter().find(|(id, _)| *parameter_in == ParameterIn::Path && id == name);
        // 26 characters hold 130 bits: the first is not above 7.
        schema.pattern = id.map(|(_, prefix)| format!("^{prefix}[0-7][0-9a-hjkmnp-tv-z]{{25}}$"));
    }
    description.to_pretty_json().map(|text| text + "\n").unwrap_or_default()
}

/// The API's description.
pub(crate) async fn document(edge: Data<Edge>) -> HttpResponse {
    let text = text(edge.settings.page_items_max);
    std::future::ready(HttpResponse::Ok().content_type("application/json").body(text)).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The default of `http.page_items_max`.
    const PAGE_ITEMS_MAX: usize = 200;

    /// What describes the others.
    const UNDESCRIBED: [&str; 1] = ["/openapi.json"];

    #[test]
    fn the_description_has_exactly_the_routes_that_are_served() {
        let description: serde_json::Value = serde_json::from_str(&text(PAGE_ITEMS_MAX)).unwrap();
        let paths = description["paths"].as_object().unwrap().iter();
        let described: BTreeSet<_> = paths
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().unwrap().keys();
                methods.map(move |method| (path.clone(), method.clone()))
            })
            .collect();
        let served = super::super::TABLE.iter().filter(|(path, _)| !UNDESCRIBED.contains(path));
        let served: BTreeSet<_> = served
            .flat_map(|(path, methods)| {
                methods.iter().map(|method| ((*path).to_owned(), (*method).to_owned()))
            })
            .collect();
        assert_eq!(described, served);
    }

    /// Generators refuse a description without them.
    #[test]
    fn every_answer_and_every_operation_is_described() {
        let description: serde_json::Value = serde_json::from_str(&text(PAGE_ITEMS_MAX)).unwrap();
        assert_eq!(description["openapi"], "3.1.0");
        for (path, methods) in description["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                assert!(operation["summary"].is_string(), "{method} {path} has no summary");
                for (status, answer) in operation["responses"].as_object().unwrap() {
                    let text = answer["description"].as_str().unwrap_or_default();
                    assert!(!text.is_empty(), "{method} {path} {status} is not described");
                }
            }
        }
    }

    /// What is shown to whoever reads a route for the first time, in the shape that its schema says.
    #[test]
    fn every_body_and_every_answer_has_an_example_of_its_shape() {
        let description: serde_json::Value = serde_json::from_str(&text(PAGE_ITEMS_MAX)).unwrap();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let answers = operation["responses"].as_object().unwrap().iter();
                let answers = answers.filter(|(status, _)| status.starts_with('2')).map(|(_, answer)| answer);
                let bodies =
                    answers.chain([&operation["requestBody"]]).filter_map(|it| it["content"].as_object());
                for (media_type, content) in bodies.flatten() {
                    let schema = resolved(&content["schema"], &description);
                    let own = content.get("example").or_else(|| schema.get("example"));
                    let case = format!("{method} {path}, {media_type}");
                    let example = own.unwrap_or_else(|| panic!("{case} has no example"));
                    fits(example, schema, &description, &case);
                }
            }
        }
    }

    fn resolved<'a>(
        schema: &'a serde_json::Value,
        description: &'a serde_json::Value,
    ) -> &'a serde_json::Value {
        let named = schema["$ref"].as_str().and_then(|named| named.strip_prefix('#'));
        named.map_or(schema, |pointer| description.pointer(pointer).unwrap())
    }

    /// Fields and no others, as far as a schema names them.
    #[track_caller]
    fn fits(
        example: &serde_json::Value,
        schema: &serde_json::Value,
        description: &serde_json::Value,
        case: &str,
    ) {
        let schema = resolved(schema, description);
        if let (Some(fields), Some(given)) = (schema["properties"].as_object(), example.as_object()) {
            let required = schema["required"].as_array().into_iter().flatten();
            for field in required.map(|field| field.as_str().unwrap()) {
                assert!(given.contains_key(field), "{case}: the example has no `{field}`");
            }
            for (field, value) in given {
                let known = fields.get(field).unwrap_or_else(|| panic!("{case}: there is no `{field}`"));
                fits(value, known, description, case);
            }
        }
        if let Some(items) = schema.get("items") {
            let given = example.as_array().unwrap_or_else(|| panic!("{case}: {example} is no list"));
            given.iter().for_each(|item| fits(item, items, description, case));
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = text(PAGE_ITEMS_MAX);
        let description: serde_json::Value = serde_json::from_str(&text).unwrap();
        let references: BTreeSet<_> =
            text.split("\"$ref\": \"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 10, "{references:?}");
        for reference in references {
            assert!(description.pointer(reference).is_some(), "nothing is at {reference}");
        }
    }

    #[test]
    fn every_limit_is_described_with_its_bounds() {
        let description: serde_json::Value = serde_json::from_str(&text(7)).unwrap();
        let operations = description["paths"].as_object().unwrap().values().flat_map(|path| path.as_object());
        let parameters =
            operations.flatten().filter_map(|(_, operation)| operation["parameters"].as_array()).flatten();
        let limits: Vec<_> = parameters.filter(|parameter| parameter["name"] == "limit").collect();
        assert!(!limits.is_empty());
        for limit in limits {
            assert_eq!((&limit["schema"]["minimum"], &limit["schema"]["maximum"]), (&1.into(), &7.into()));
        }
    }

    #[test]
    fn ids_in_paths_are_described_as_they_are() {
        let description: serde_json::Value = serde_json::from_str(&text(7)).unwrap();
        let operation = &description["paths"]["/v1/tenants/{tenant}/members/{account}"]["delete"];
        let parameters = operation["parameters"].as_array().unwrap().iter();
        let patterns: Vec<_> = parameters.filter_map(|it| it["schema"]["pattern"].as_str()).collect();
        let digits = "[0-7][0-9a-hjkmnp-tv-z]{25}$";
        assert_eq!(patterns, [format!("^ten_{digits}"), format!("^acc_{digits}")]);
        assert!(TenantId::new(u128::MAX).to_string().starts_with("ten_7"));
    }

    /// `UPDATE=1 cargo test -p prognet-http` writes it anew.
    #[test]
    fn the_committed_description_is_the_served_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not a setting")]
        if std::env::var("UPDATE").is_ok() {
            std::fs::write(path, text(PAGE_ITEMS_MAX)).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), text(PAGE_ITEMS_MAX));
    }
}
