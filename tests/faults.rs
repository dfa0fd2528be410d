//! Entities that fail on purpose, behind the real edge: what callers and operators see.

use std::time::Duration;

use prognet_actors::ids::TenantId;
use prognet_supervisor::{
    Aggregate, Context, Decision, Entity, Kind, Refused, Service, Unavailable,
    testing::{self, Fault},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Reply, reply};

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
    token: String,
    client: reqwest::Client,
}

impl World {
    async fn new() -> Self {
        let inner = testing::World::new(services).await;
        let settings = prognet_http::Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            management: "127.0.0.1:0".parse().unwrap(),
            body_bytes_max: 1 << 18,
            header_bytes_max: 1 << 15,
            deadline: Duration::from_secs(5),
            in_flight_max: 100,
            connections_max: 100,
            page_items_max: 100,
            proxies: prognet_http::Proxies::default(),
            auth: prognet_http::AuthSettings::default(),
            tenancy: prognet_http::TenancySettings::default(),
        };
        let serving = prognet_http::bind(&settings, &inner.node).await.unwrap();
        let (client, url) = (reqwest::Client::new(), format!("http://{}", serving.listen));
        let management = format!("http://{}", serving.management);
        let setup_token = serving.setup_link.unwrap().rsplit_once("token=").unwrap().1.to_owned();
        let (email, password) = ADMIN;
        let body = json!({ "token": setup_token, "email": email, "password": password, "name": "Ada" });
        reply(client.post(format!("{url}/v1/setup")).json(&body)).await.unwrap().ok();
        let body = json!({ "email": email, "password": password });
        let tokens = reply(client.post(format!("{url}/v1/sessions")).json(&body)).await.unwrap().ok();
        let token = tokens["access_token"].as_str().unwrap().to_owned();
        Self { inner, url, management, token, client }
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
