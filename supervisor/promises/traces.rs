//! One trace from the edge to the disk.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Instrument,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use super::{Command, at, world};
use crate::Asking;

/// A span or an event as it was told: its name, its trace, the span it lies in.
#[derive(Debug, Clone, Default, PartialEq)]
struct Told {
    name: String,
    trace: String,
    within: Option<&'static str>,
}

/// Writes down what is told on this thread.
#[derive(Debug, Default, Clone)]
struct Listener(Arc<Mutex<Vec<Told>>>);

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "trace" => self.trace = format!("{value:?}"),
            "message" => self.name = format!("{value:?}"),
            _ => {}
        }
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Listener {
    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut told = Told { name: span.metadata().name().to_owned(), ..Told::default() };
        span.record(&mut told);
        let parent = context.span(id).and_then(|span| span.parent());
        told.within = parent.map(|parent| parent.name());
        self.0.lock().unwrap().push(told);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut told = Told::default();
        event.record(&mut told);
        told.within = context.event_span(event).map(|span| span.name());
        self.0.lock().unwrap().push(told);
    }
}

#[tokio::test]
async fn one_trace_leads_from_the_request_through_the_decision_to_the_append() {
    let listener = Listener::default();
    let _told_here = tracing::subscriber::set_default(Registry::default().with(listener.clone()));
    let world = world().await;
    // A place in the code that another test's thread met first took that thread's silence for everybody's.
    world.ask(at(1), Command::Add).await.unwrap();
    tracing::callsite::rebuild_interest_cache();
    let asking = Asking { trace: 0xABC, ..world.asking(None) };

    let request = tracing::info_span!("request");
    world.node.ask(&asking, at(1), Command::Add).instrument(request).await.unwrap();

    let told = listener.0.lock().unwrap();
    let trace = format!("{:032x}", 0xABC);
    for (name, trace, within) in [
        ("decide", trace.as_str(), "request"),
        ("append", trace.as_str(), "decide"),
        ("appended", "", "append"),
    ] {
        let wanted = Told { name: name.to_owned(), trace: trace.to_owned(), within: Some(within) };
        assert!(told.contains(&wanted), "{name} is not told: {told:?}");
    }
}
