//! The management door: health and counts, on loopback unless an operator says otherwise.

use actix_web::{HttpResponse, web};

use crate::Edge;

pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/livez", web::get().to(live))
        .route("/readyz", web::get().to(ready))
        .route("/metrics", web::get().to(metrics))
        .route("/version", web::get().to(version));
}

/// The process turns; nothing else is asked.
async fn live() -> HttpResponse {
    std::future::ready(HttpResponse::Ok().body("ok\n")).await
}

/// Whether requests should come here, and what is in the way.
async fn ready(edge: web::Data<Edge>) -> HttpResponse {
    let checks = edge.node.health();
    let is_ready = checks.iter().all(|(_, check)| check.is_ok());
    let lines: String = checks
        .into_iter()
        .map(|(name, check)| match check {
            Ok(()) => format!("{name}: ok\n"),
            Err(why) => format!("{name}: {why}\n"),
        })
        .collect();
    let mut response = if is_ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    std::future::ready(response.body(lines)).await
}

/// Counts per kind, as Prometheus text.
async fn metrics(edge: web::Data<Edge>) -> HttpResponse {
    let mut text = String::new();
    for (metric, kind) in [
        ("hot", "gauge"),
        ("activations_total", "counter"),
        ("restarts_total", "counter"),
        ("quarantined", "gauge"),
    ] {
        text.push_str(&format!("# TYPE prognet_entities_{metric} {kind}\n"));
        for count in edge.node.counts() {
            let value = match metric {
                "hot" => count.hot,
                "activations_total" => count.activations,
                "restarts_total" => count.restarts,
                _ => count.quarantined,
            };
            text.push_str(&format!("prognet_entities_{metric}{{kind=\"{}\"}} {value}\n", count.kind));
        }
    }
    std::future::ready(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text)).await
}

async fn version() -> HttpResponse {
    std::future::ready(HttpResponse::Ok().json(serde_json::json!({ "version": env!("CARGO_PKG_VERSION") })))
        .await
}
