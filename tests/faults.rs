//! Entities that fail on purpose, behind the real edge: what callers and operators see.

use std::time::Duration;

use futures_util::future::join_all;
use prognet_actors::{
    ids::TenantId,
    users::{Reservation, reservation},
    values::Email,
};
use prognet_sdk::{LiveFrame, LiveRequest};
use prognet_supervisor::{
    Aggregate, Context, Decision, Entity, Kind, Limits, Refused, Service, Unavailable,
    testing::{self, Fault},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    harness::{ADMIN, Reply, reply},
    live::Socket,
};

/// Counts, and fails as it is told.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Fragile(u64);

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Command {
    Add,
    PanicInDecide,
    PanicInEvolve,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Added {},
    Broken {},
}

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("never")]
struct Never;

impl Aggregate for Fragile {
    const KIND: Kind = Kind::new("fragile", "fragile");
    type Command = Command;
    type Event = Event;
    type Reply = u64;
    type Rejection = Never;

    fn decide(&self, command: Command, _: &Context) -> Result<Decision<Self>, Never> {
        Ok(match command {
            Command::Add => Decision::event(Event::Added {}),
            Command::PanicInDecide => panic!("told to"),
            Command::PanicInEvolve => Decision::event(Event::Broken {}),
        })
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Added {} => self.0 += 1,
            Event::Broken {} => panic!("told to"),
        }
    }

    fn reply(&self) -> u64 {
        self.0
    }
}

fn at(id: u128) -> Entity<Fragile> {
    Entity::new(TenantId::new(1).home(), id)
}

fn services() -> Vec<Service> {
    let mut services = prognet_actors::services();
    services.push(Service::new("fragile").aggregate::<Fragile>());
    services
}

/// A node on memory with a fragile service, its real edge, and an admin's token.
struct World {
    inner: testing::World,
    url: String,
    management: String,
    setup_token: String,
    token: String,
    client: reqwest::Client,
}

impl World {
    async fn new() -> Self {
        Self::within(Limits::default()).await
    }

    async fn within(limits: Limits) -> Self {
        let mut world = Self::empty(limits).await;
        world.set_up(ADMIN.0).await.ok();
        let tokens = world.sign_in(ADMIN.0).await.ok();
        tokens["access_token"].as_str().unwrap().clone_into(&mut world.token);
        world
    }

    /// One without an admin.
    async fn empty(limits: Limits) -> Self {
        let inner = testing::World::with(limits, services).await;
        let settings = prognet_http::Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            management: "127.0.0.1:0".parse().unwrap(),
            body_bytes_max: 1 << 18,
            header_bytes_max: 1 << 15,
            deadline: Duration::from_secs(5),
            in_flight_max: 100,
            connections_max: 100,
            untaken_max: Duration::from_secs(120),
            page_items_max: 100,
            proxies: prognet_http::Proxies::default(),
            origins: prognet_http::Origins::default(),
            limits: prognet_http::LimitSettings::default(),
            auth: prognet_http::AuthSettings::default(),
            dev_inbox: None,
            tenancy: prognet_http::TenancySettings::default(),
            restored: 0,
        };
        let serving = prognet_http::bind(&settings, &inner.node).await.unwrap();
        let (url, management) =
            (format!("http://{}", serving.listen), format!("http://{}", serving.management));
        let setup_token = serving.setup_link.unwrap().rsplit_once("token=").unwrap().1.to_owned();
        Self { inner, url, management, setup_token, token: String::new(), client: reqwest::Client::new() }
    }

    async fn set_up(&self, email: &str) -> Reply {
        let token = &self.setup_token;
        let body = json!({ "token": token, "email": email, "password": ADMIN.1, "name": "Ada" });
        reply(self.client.post(format!("{}/v1/setup", self.url)).json(&body)).await.unwrap()
    }

    async fn sign_in(&self, email: &str) -> Reply {
        let body = json!({ "email": email, "password": ADMIN.1 });
        reply(self.client.post(format!("{}/v1/sessions", self.url)).json(&body)).await.unwrap()
    }

    async fn ask(&self, id: u128, command: Command) -> Result<u64, Refused<Never>> {
        self.inner.ask(at(id), command).await
    }

    async fn found(&self, slug: &str) -> Reply {
        let request = self.client.post(format!("{}/v1/tenants", self.url)).bearer_auth(&self.token);
        reply(request.json(&json!({ "name": slug, "slug": slug }))).await.unwrap()
    }

    fn path(id: u128) -> String {
        format!("/v1/system/actors/fragile/fragile/{}/{id:032x}", TenantId::new(1))
    }

    async fn seen(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        reply(request).await.unwrap().ok()
    }

    async fn post(&self, path: &str) -> Reply {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        reply(request).await.unwrap()
    }
}

#[tokio::test]
async fn a_panic_in_decide_changes_nothing_and_restarts_nobody() {
    let world = World::new().await;
    world.ask(1, Command::Add).await.unwrap();

    assert!(matches!(world.ask(1, Command::PanicInDecide).await, Err(Refused::Fault)));

    assert_eq!(world.ask(1, Command::Add).await.unwrap(), 2);
    let actor = world.seen(&World::path(1)).await;
    assert_eq!((actor["status"].as_str(), actor["restarts"].as_u64()), (Some("hot"), Some(0)));
}

#[tokio::test]
async fn an_entity_that_keeps_crashing_is_seen_in_quarantine_and_released_by_an_operator() {
    let world = World::new().await;
    world.ask(1, Command::Add).await.unwrap();
    world.ask(2, Command::Add).await.unwrap();

    let is_quarantined = || async {
        let crashed = world.ask(1, Command::PanicInEvolve).await;
        matches!(crashed, Err(Refused::Unavailable(Unavailable::Quarantined)))
    };
    world.inner.until(Duration::from_millis(100), is_quarantined).await;

    let actor = world.seen(&World::path(1)).await;
    assert_eq!(actor["status"], "quarantined");
    assert!(actor["error"].is_string());
    let counts = world.seen("/v1/system/actors").await;
    let fragile = counts["data"].as_array().unwrap().iter().find(|line| line["kind"] == "fragile").unwrap();
    assert_eq!(fragile["quarantined"], 1);
    assert_eq!(world.ask(2, Command::Add).await.unwrap(), 2, "its neighbour does not notice");
    world.post(&format!("{}/release", World::path(2))).await.problem(409, "actor/not-quarantined");

    assert_eq!(world.post(&format!("{}/release", World::path(1))).await.status, 204);

    assert_eq!(world.ask(1, Command::Add).await.unwrap(), 2, "it has its history");
}

#[tokio::test]
async fn only_who_runs_the_platform_looks_into_actors() {
    let world = World::new().await;
    for path in ["/v1/system/actors".to_owned(), World::path(1)] {
        let request = world.client.get(format!("{}{path}", world.url));
        reply(request).await.unwrap().problem(401, "auth/token");
    }
    let wrong = format!("/v1/system/actors/fragile/fragile/{}/7", TenantId::new(1));
    let request = world.client.get(format!("{}{wrong}", world.url)).bearer_auth(&world.token);
    reply(request).await.unwrap().problem(400, "request/invalid");
}

/// What the disk is, is anybody's guess after a failed sync: nothing is taken until the node starts again.
#[tokio::test]
async fn a_node_whose_disk_fails_to_sync_stays_up_unready_and_refuses_writes() {
    let world = World::new().await;
    world.found("before").await.ok();
    world.inner.memory.fail_appends([Fault::Poisoned]);

    for slug in ["during", "after"] {
        let refused = world.found(slug).await;
        assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
        refused.problem(503, "node/unavailable");
    }

    let ready = reply(world.client.get(format!("{}/readyz", world.management))).await.unwrap();
    assert_eq!(ready.status, 503);
    assert!(ready.body.as_str().unwrap().contains("journal: poisoned"), "{ready:?}");
    let alive = reply(world.client.get(format!("{}/livez", world.management))).await.unwrap();
    assert_eq!(alive.status, 200);
    let list = world.seen("/v1/tenants").await;
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "what was acknowledged is there, nothing else");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_takes_them_again_once_there_is_room() {
    let world = World::new().await;
    world.inner.memory.fail_appends([Fault::Full]);

    let refused = world.found("acme").await;

    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    refused.problem(503, "node/unavailable");
    assert_eq!(world.found("acme").await.status, 201);
}

#[tokio::test]
async fn setting_up_with_a_taken_address_makes_nobody_and_the_link_is_good_for_another() {
    let world = World::empty(Limits::default()).await;
    let key = Email::parse("eve@example.org").unwrap().key();
    let eves = Reservation::at(world.inner.node.hash("email", key.as_bytes()));
    let claim = reservation::Command::Claim { owner: 99, lasts: Duration::from_secs(3_600) };
    world.inner.ask(eves, claim).await.unwrap();
    let records = world.inner.memory.records();

    world.set_up("eve@example.org").await.problem(409, "setup/email-taken");

    assert_eq!(world.inner.memory.records(), records, "nothing is written");
    world.sign_in("eve@example.org").await.problem(401, "session/credentials");
    assert_eq!(world.set_up(ADMIN.0).await.status, 201);
    assert_eq!(world.sign_in(ADMIN.0).await.status, 201);
    world.sign_in("eve@example.org").await.problem(401, "session/credentials");
}

/// Who is told that their token is no good throws it away.
#[tokio::test]
async fn a_node_too_busy_to_check_a_token_says_so_and_calls_no_token_bad() {
    const QUEUE: usize = 8;
    let world = World::within(Limits { node_queue: QUEUE, ..Limits::default() }).await;
    let mut proven = Socket::at(&world.url).await;
    let auth = LiveRequest::Auth { token: world.token.clone() };
    proven.send(&auth).await;
    assert!(matches!(proven.frame().await, LiveFrame::Authenticated { .. }));
    world.inner.memory.hold_appends();
    let mut held = Box::pin(join_all((1..).take(QUEUE).map(|id| world.ask(id, Command::Add))));
    let is_full = world.inner.until(Duration::ZERO, || async { world.inner.memory.held() == QUEUE });
    tokio::select! {
        _ = &mut held => panic!("nothing is durable yet"),
        () = is_full => {}
    }
    // Nothing of what the gate remembers is believed any more, nor of what the socket was told.
    world.inner.clock.advance(Duration::from_secs(3));

    let me = reply(world.client.get(format!("{}/v1/me", world.url)).bearer_auth(&world.token));
    let me = me.await.unwrap();
    assert!(me.headers.contains_key("retry-after"), "{me:?}");
    me.problem(503, "node/unavailable");
    assert_eq!(u16::from(proven.closed().await.code), 1013);
    let mut late = Socket::at(&world.url).await;
    late.send(&auth).await;
    let LiveFrame::Refused { problem } = late.frame().await else { panic!("nobody can say who it is") };
    assert_eq!(problem.kind, "/problems/node/unavailable");

    world.inner.memory.release_appends();
    assert!(held.await.into_iter().all(|added| matches!(added, Ok(1))));
    late.send(&auth).await;
    assert!(
        matches!(late.frame().await, LiveFrame::Authenticated { .. }),
        "the same token on the same socket"
    );
}
