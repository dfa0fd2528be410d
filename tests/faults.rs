//! Entities that fail on purpose, behind the real edge: what callers and operators see.

use std::sync::Arc;

use prognet_actors::ids::TenantId;
use prognet_storage::{
    embedded::{EmbeddedJournal, SledTier},
    keyring::{Keyring, MasterKey},
};
use prognet_supervisor::{
    Aggregate, Asking, Clock, Context, Decision, Entity, Kind, Limits, Node, Parts, Refused, Service,
    Unavailable,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::harness::{ADMIN, reply};

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

/// A node with a fragile service, its edge, and an admin's token.
struct World {
    node: Node,
    url: String,
    token: String,
    client: reqwest::Client,
    _data: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let (journal, opened) = EmbeddedJournal::open(&data.path().join("journal"), 1 << 20).unwrap();
        let keyring = Keyring::open(&data.path().join("keyring"), &MasterKey::new([3; 32])).unwrap();
        let keyring = Arc::new(keyring);
        journal.sync_first(Arc::clone(&keyring));
        let tier = data.path().join("tier");
        let (tier, _) = SledTier::open(&tier, 1 << 23, Arc::clone(&keyring), opened.last).unwrap();
        let tier = Arc::new(tier);
        let parts = Parts {
            journal: Arc::new(journal),
            snapshots: Arc::<SledTier>::clone(&tier),
            read_model: tier,
            keyring,
            clock: Clock::default(),
            limits: Limits::default(),
        };
        let mut services = prognet_actors::services();
        services.push(Service::new("fragile").aggregate::<Fragile>());
        let node = Node::start(parts, services).await.unwrap();
        let settings = prognet_http::Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            management: "127.0.0.1:0".parse().unwrap(),
            body_bytes_max: 1 << 18,
            header_bytes_max: 1 << 15,
            deadline: std::time::Duration::from_secs(5),
            in_flight_max: 100,
            connections_max: 100,
            page_items_max: 100,
            auth: prognet_http::AuthSettings::default(),
        };
        let serving = prognet_http::bind(&settings, &node).await.unwrap();
        let (client, url) = (reqwest::Client::new(), format!("http://{}", serving.listen));
        let setup_token = serving.setup_link.unwrap().rsplit_once("token=").unwrap().1.to_owned();
        let (email, password) = ADMIN;
        let body = json!({ "token": setup_token, "email": email, "password": password, "name": "Ada" });
        reply(client.post(format!("{url}/v1/setup")).json(&body)).await.unwrap().ok();
        let body = json!({ "email": email, "password": password });
        let tokens = reply(client.post(format!("{url}/v1/sessions")).json(&body)).await.unwrap().ok();
        let token = tokens["access_token"].as_str().unwrap().to_owned();
        Self { node, url, token, client, _data: data }
    }

    async fn ask(&self, id: u128, command: Command) -> Result<u64, Refused<Never>> {
        let deadline = self.node.clock().now().after(std::time::Duration::from_secs(20));
        let asking = Asking { asker: 1, key: None, trace: 0, deadline };
        self.node.ask(&asking, at(id), command).await.map(|answered| answered.reply)
    }

    fn path(id: u128) -> String {
        format!("/v1/system/actors/fragile/fragile/{}/{id:032x}", TenantId::new(1))
    }

    async fn seen(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        reply(request).await.unwrap().ok()
    }

    async fn post(&self, path: &str) -> crate::harness::Reply {
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

    while !matches!(
        world.ask(1, Command::PanicInEvolve).await,
        Err(Refused::Unavailable(Unavailable::Quarantined))
    ) {
        tokio::task::yield_now().await;
    }

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
