//! The requests in numbers: how many are being served, and what came of the others.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::http::{Method, StatusCode};

/// Upper bounds of the latency buckets, in seconds: from a warm read to a slow client's write.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Methods that get a line of their own; whatever else a client makes up shares one.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"];

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    in_flight: AtomicUsize,
    /// By route, method and status: few, whatever clients send.
    answered: Mutex<BTreeMap<(String, &'static str, u16), Latencies>>,
}

#[derive(Debug, Default)]
struct Latencies {
    counts: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

/// One request being served; over when dropped.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Traffic {
    /// A place among at most `max`, if one is free.
    pub(crate) fn enter(&self, max: usize) -> Option<InFlight<'_>> {
        let place = InFlight(&self.in_flight);
        (self.in_flight.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let method = METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or("other");
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let latencies = answered.entry((route.to_owned(), method, status.as_u16())).or_default();
        let seconds = took.as_secs_f64();
        for (count, bound) in latencies.counts.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= bound);
        }
        latencies.count += 1;
        latencies.seconds += seconds;
    }

    /// The numbers as Prometheus text.
    pub(crate) fn write(&self, out: &mut impl Write) -> std::fmt::Result {
        writeln!(out, "# HELP prognet_http_requests_in_flight Requests being served.")?;
        writeln!(out, "# TYPE prognet_http_requests_in_flight gauge")?;
        writeln!(out, "prognet_http_requests_in_flight {}", self.in_flight.load(Ordering::Relaxed))?;
        writeln!(
            out,
            "# HELP prognet_http_request_duration_seconds Time from the head of a request to its answer's."
        )?;
        writeln!(out, "# TYPE prognet_http_request_duration_seconds histogram")?;
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        for ((route, method, status), latencies) in &*answered {
            let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
            let name = "prognet_http_request_duration_seconds";
            for (count, bound) in latencies.counts.iter().zip(BUCKETS) {
                writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}")?;
            }
            writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", latencies.count)?;
            writeln!(out, "{name}_sum{{{labels}}} {}", latencies.seconds)?;
            writeln!(out, "{name}_count{{{labels}}} {}", latencies.count)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_once_its_request_is_over() {
        let traffic = Traffic::default();
        let first = traffic.enter(1);
        assert!(first.is_some());
        assert!(traffic.enter(1).is_none());
        drop(first);
        assert!(traffic.enter(1).is_some());
    }

    #[test]
    fn answers_are_counted_by_route_method_and_status_alone() {
        let traffic = Traffic::default();
        for method in [Method::GET, Method::GET, Method::from_bytes(b"BREW").unwrap()] {
            traffic.answered(&method, "/v1/me", StatusCode::OK, Duration::from_millis(3));
        }
        let mut text = String::new();
        traffic.write(&mut text).unwrap();
        let get = "route=\"/v1/me\",method=\"GET\",status=\"200\"";
        assert!(text.contains(&format!("_bucket{{{get},le=\"0.0025\"}} 0")), "{text}");
        assert!(text.contains(&format!("_bucket{{{get},le=\"0.005\"}} 2")), "{text}");
        assert!(text.contains(&format!("_count{{{get}}} 2")), "{text}");
        assert!(text.contains("method=\"other\"") && !text.contains("BREW"), "{text}");
    }
}
