//! One operation, tried until its end is known or it takes too long.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prognet_actors::ids::TenantId;
use prognet_sdk::client::Retry;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep_until};

use super::{
    Function, Seen, Stage, Value,
    clients::{Actor, Doors},
    recorder::Recorder,
};
use crate::harness::{ADMIN, Reply, reply};

/// How operations are tried, and how that went.
pub(crate) struct Tries {
    run: String,
    bearer: String,
    http: reqwest::Client,
    recorder: Arc<Recorder>,
    done: AtomicUsize,
    errors: Mutex<Vec<String>>,
}

/// What an answer means.
enum Meaning {
    Done(Json),
    Refused,
    /// It may have been done.
    Unknown,
}

impl Tries {
    pub(crate) fn new(run: &str, bearer: String, recorder: Arc<Recorder>) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let (run, done, errors) = (run.to_owned(), AtomicUsize::new(0), Mutex::default());
        Self { run, bearer, http, recorder, done, errors }
    }

    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn errors(&self) -> Vec<String> {
        self.errors.lock().unwrap().clone()
    }

    /// One operation from its first step to its last; a tenant if it founded one.
    pub(crate) async fn of(
        &self,
        actor: &mut Actor,
        function: Function,
        tenant: Option<TenantId>,
        doors: &Doors<'_>,
    ) -> Option<TenantId> {
        let (trace, key) = (actor.dice.id(), tenant.map(TenantId::number));
        let name = format!("{} {trace:x}", self.run);
        let asked = match function {
            Function::Create | Function::Rename => Value::Name(name.clone()),
            Function::Suspend | Function::Resume | Function::Read | Function::SignIn => Value::Nothing,
        };
        let step = |stage, key, value| {
            self.recorder.step(actor.process, (stage, function), (key, trace), value);
        };
        step(Stage::Invoke, key, asked);
        let request = |url: &str| {
            let (method, path, body) = self.request(function, tenant, &name, trace);
            let request = self.http.request(method, format!("{url}{path}")).json(&body);
            let request =
                if function == Function::SignIn { request } else { request.bearer_auth(&self.bearer) };
            request
                .header("Idempotency-Key", format!("{}-{trace:x}", self.run))
                .header("traceparent", format!("00-{trace:032x}-00f067aa0ba902b7-01"))
        };
        let mut founded = None;
        match self.tried(function, request, doors, &mut actor.dice).await {
            Meaning::Done(body) if function == Function::SignIn => {
                assert!(body["access_token"].is_string(), "{body}");
                step(Stage::Ok, None, Value::Nothing);
            }
            Meaning::Done(body) => {
                let (id, seen) = seen(&body);
                if function == Function::Create {
                    founded = id;
                }
                step(Stage::Ok, id.map(TenantId::number).or(key), Value::Seen(seen));
            }
            Meaning::Refused => step(Stage::Fail, key, Value::Nothing),
            Meaning::Unknown => {
                step(Stage::Info, key, Value::Nothing);
                actor.process = self.recorder.process();
                return None;
            }
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        founded
    }

    fn request(
        &self,
        function: Function,
        tenant: Option<TenantId>,
        name: &str,
        trace: u128,
    ) -> (Method, String, Json) {
        let path = tenant.map_or("/v1/tenants".to_owned(), |tenant| format!("/v1/tenants/{tenant}"));
        match function {
            Function::Create => {
                let slug = format!("{}-{:x}", self.run, trace >> 64);
                (Method::POST, path, json!({ "name": name, "slug": slug }))
            }
            Function::Rename => (Method::PATCH, path, json!({ "name": name })),
            Function::Suspend => (Method::POST, format!("{path}/suspend"), json!({ "reason": "other" })),
            Function::Resume => (Method::POST, format!("{path}/resume"), json!({})),
            Function::Read => (Method::GET, path, json!({})),
            Function::SignIn => {
                let (email, password) = ADMIN;
                (Method::POST, "/v1/sessions".to_owned(), json!({ "email": email, "password": password }))
            }
        }
    }

    /// Asks again as the SDK does, at another door each time.
    async fn tried(
        &self,
        function: Function,
        request: impl Fn(&str) -> RequestBuilder,
        doors: &Doors<'_>,
        dice: &mut super::clients::Dice,
    ) -> Meaning {
        let (retry, began) = (Retry::default(), Instant::now());
        let (mut attempts, mut is_unsure) = (0, false);
        let mut turn = dice.below(doors.len());
        loop {
            turn += 1;
            let open: Vec<_> = doors.iter().filter(|(is_open, _)| is_open.load(Ordering::Relaxed)).collect();
            let Some((_, url)) = open.get(turn % open.len().max(1)) else {
                breathe().await;
                continue;
            };
            let answer = reply(request(url)).await;
            if let Ok(answer) = &answer
                && let Some(meaning) = meaning(function, answer)
            {
                // What is refused now may have been asked twice, and be done by the first time later.
                let is_refused = matches!(meaning, Meaning::Refused);
                return if is_refused && is_unsure { Meaning::Unknown } else { meaning };
            }
            self.errors.lock().unwrap().push(format!("{function:?} at {url}: {answer:?}"));
            (attempts, is_unsure) = (attempts + 1, true);
            let asked = answer.ok().and_then(|answer| {
                let seconds = answer.headers.get("retry-after")?.to_str().ok()?.parse().ok()?;
                Some(Duration::from_secs(seconds))
            });
            let Some(pause) = retry.pause(attempts, began.elapsed(), asked, dice.next()) else {
                return Meaning::Unknown;
            };
            sleep_until(Instant::now() + pause).await;
        }
    }
}

/// What an answer means; none if it is worth another attempt.
fn meaning(function: Function, answer: &Reply) -> Option<Meaning> {
    let problem = answer.body["type"].as_str().unwrap_or_default();
    match (function, answer.status.as_u16(), problem) {
        (_, 200..300, _) => Some(Meaning::Done(answer.body.clone())),
        (Function::Suspend, 409, "/problems/tenant/already-suspended")
        | (Function::Resume, 409, "/problems/tenant/not-suspended") => Some(Meaning::Refused),
        // That it is not there is an answer as well, and to be judged.
        (Function::Read, 404, "/problems/tenant/unknown") => Some(Meaning::Done(Json::Null)),
        (_, 408 | 429 | 500.., _) => None,
        _ => panic!("{function:?}: {answer:?}"),
    }
}

fn seen(body: &Json) -> (Option<TenantId>, Seen) {
    if body.is_null() {
        return (None, Seen { version: 0, name: String::new(), is_open: true });
    }
    let id = body["id"].as_str().unwrap().parse().unwrap();
    let seen = Seen {
        version: body["version"].as_u64().unwrap(),
        name: body["name"].as_str().unwrap().to_owned(),
        is_open: body["status"] == "active",
    };
    (Some(id), seen)
}

/// Between two looks at something.
pub(crate) async fn breathe() {
    sleep_until(Instant::now() + Duration::from_millis(20)).await;
}
