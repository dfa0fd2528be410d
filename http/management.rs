//! The management door: health and counts, on loopback unless an operator says otherwise.

use std::{
    fmt::{self, Write},
    sync::atomic::Ordering,
};

use actix_web::{HttpRequest, HttpResponse, web};
use prognet_supervisor::KindCount;

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

/// Whether requests should come here, and what is in the way; `?verbose` also tells how far readers are.
async fn ready(request: HttpRequest, edge: web::Data<Edge>) -> HttpResponse {
    let checks = edge.node.health();
    let is_ready = checks.iter().all(|(_, check)| check.is_ok());
    let checks = checks.into_iter().map(|(name, check)| match check {
        Ok(()) => format!("{name}: ok\n"),
        Err(why) => format!("{name}: {why}\n"),
    });
    let readers = edge.node.readers().into_iter().filter(|_| request.query_string() == "verbose");
    let readers = readers.map(|reader| match reader.error {
        None => format!("reader {}: {} records behind\n", reader.name, reader.lag),
        Some(why) => format!("reader {}: {} records behind, stuck: {why}\n", reader.name, reader.lag),
    });
    let lines: String = checks.chain(readers).collect();
    let mut response = if is_ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    std::future::ready(response.body(lines)).await
}

/// All numbers, as Prometheus text.
async fn metrics(edge: web::Data<Edge>) -> HttpResponse {
    let mut text = String::new();
    // Writing to a string does not fail.
    write(&edge, &mut text).unwrap_or_default();
    std::future::ready(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text)).await
}

/// Reads one number of a kind of entity.
type Reading = fn(&KindCount) -> u64;

/// Per kind of entity: name, type, meaning.
const OF_KINDS: [(&str, &str, &str, Reading); 4] = [
    ("prognet_entities_hot", "gauge", "Entities running as actors.", |count| count.hot),
    ("prognet_entities_activations_total", "counter", "Starts of entities.", |count| count.activations),
    ("prognet_entities_restarts_total", "counter", "Crashes of entities.", |count| count.restarts),
    ("prognet_entities_quarantined", "gauge", "Entities waiting for an operator.", |count| count.quarantined),
];

fn write(edge: &Edge, text: &mut impl Write) -> fmt::Result {
    for (name, kind, meaning, reading) in OF_KINDS {
        writeln!(text, "# HELP {name} {meaning}\n# TYPE {name} {kind}")?;
        for count in edge.node.counts() {
            writeln!(text, "{name}{{kind=\"{}\"}} {}", count.kind, reading(&count))?;
        }
    }
    let lag = "prognet_reader_lag_records";
    writeln!(text, "# HELP {lag} Durable records a reader has yet to take in.\n# TYPE {lag} gauge")?;
    for reader in edge.node.readers() {
        writeln!(text, "{lag}{{reader=\"{}\"}} {}", reader.name, reader.lag)?;
    }
    let bytes = "prognet_entities_resident_bytes";
    writeln!(text, "# HELP {bytes} What running entities weigh, by estimate.\n# TYPE {bytes} gauge")?;
    writeln!(text, "{bytes} {}", edge.node.resident_bytes())?;
    let sockets = "prognet_live_sockets";
    writeln!(text, "# HELP {sockets} Live WebSockets that are open.\n# TYPE {sockets} gauge")?;
    writeln!(text, "{sockets} {}", edge.sockets.load(Ordering::Relaxed))?;
    let hashes = "prognet_password_hashes_total";
    writeln!(text, "# HELP {hashes} Passwords hashed, to keep or to check one.\n# TYPE {hashes} counter")?;
    writeln!(text, "{hashes} {}", edge.passwords.hashes())?;
    let healthy = "prognet_healthy";
    writeln!(text, "# HELP {healthy} Whether a check of readiness holds.\n# TYPE {healthy} gauge")?;
    for (check, outcome) in edge.node.health() {
        writeln!(text, "{healthy}{{check=\"{check}\"}} {}", u8::from(outcome.is_ok()))?;
    }
    edge.node.write_cluster_numbers(text)?;
    edge.traffic.write(text)
}

async fn version() -> HttpResponse {
    std::future::ready(HttpResponse::Ok().json(serde_json::json!({ "version": env!("CARGO_PKG_VERSION") })))
        .await
}
