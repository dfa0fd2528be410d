//! A node in memory behind its real edge, on a clock that the test drives; its mails are caught.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex},
    time::Duration,
};

use prognet_actors::communication::DevInbox;
use prognet_sdk::Tokens;
use prognet_supervisor::{Name, Node, Reader, ReaderError, Recorded, Service, testing::World};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ADMIN, PASSWORD, Reply, reply};
use crate::{
    guesses::tokens,
    mail::{self, Way},
    people::token_in,
};

/// What a turn takes on the clock, while something waits for it and the clock is to run.
const STEP: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Driven {
    pub(crate) world: World,
    pub(crate) admin: Tokens,
    pub(crate) url: String,
    inbox: DevInbox,
    step: Duration,
    client: reqwest::Client,
    events: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// Sees every event as it is under its seal.
struct Witness(Arc<Mutex<Vec<Vec<u8>>>>);

impl Reader for Witness {
    const NAME: &'static str = "witness";

    fn concerns(&self, _: Name) -> bool {
        true
    }

    async fn take(&self, event: &Recorded, _: &Node) -> Result<(), ReaderError> {
        self.0.lock().unwrap().push(event.body.to_vec());
        Ok(())
    }
}

thread_local! {
    // A world starts its node on the thread of its test.
    static EVENTS: RefCell<Arc<Mutex<Vec<Vec<u8>>>>> = RefCell::default();
}

fn services() -> Vec<Service> {
    let mut services = mail::services();
    services.push(Service::new("witness").reader(Witness(EVENTS.with_borrow(Arc::clone))));
    services
}

impl Driven {
    /// A node whose admin is signed in; its clock runs while it works.
    pub(crate) async fn start() -> Self {
        Self::stepping(STEP).await
    }

    /// One whose clock stands until the test moves it: what takes time on the clock has no end there.
    pub(crate) async fn still() -> Self {
        Self::stepping(Duration::ZERO).await
    }

    async fn stepping(step: Duration) -> Self {
        let (inbox, events) = (DevInbox::default(), Arc::default());
        EVENTS.set(Arc::clone(&events));
        mail::leave_by(Way::Inbox(inbox.clone()));
        let world = World::new(services).await;
        let serving = prognet_http::bind(&mail::edge(Some(inbox.clone())), &world.node).await.unwrap();
        let (url, client) = (format!("http://{}", serving.listen), reqwest::Client::new());
        let token = serving.setup_link.unwrap().rsplit_once("token=").unwrap().1.to_owned();
        let body = json!({ "token": token, "email": ADMIN.0, "password": ADMIN.1, "name": "Ada" });
        reply(client.post(format!("{url}/v1/setup")).json(&body)).await.unwrap().ok();
        let body = json!({ "email": ADMIN.0, "password": ADMIN.1 });
        let admin = tokens(reply(client.post(format!("{url}/v1/sessions")).json(&body)).await.unwrap());
        Self { world, admin, url, inbox, step, client, events }
    }

    /// A request without a token.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Its answer, however much of the clock's time that takes.
    pub(crate) async fn answer(&self, request: reqwest::RequestBuilder) -> Reply {
        self.world.driven(self.step, reply(request)).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.answer(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn with(&self, method: Method, path: &str, token: &str, body: Value) -> Reply {
        self.answer(self.request(method, path).bearer_auth(token).json(&body)).await
    }

    pub(crate) async fn sign_in(&self, email: &str, password: &str) -> Reply {
        self.post("/v1/sessions", json!({ "email": email, "password": password })).await
    }

    /// The tokens in all mails to an address, oldest first, once there are so many mails.
    pub(crate) async fn links(&self, to: &str, mails: usize) -> Vec<String> {
        let caught = async || self.inbox.after(&self.world.node, 0, Some(to)).await.unwrap();
        self.world.until(self.step, || async { caught().await.len() >= mails }).await;
        let links = caught().await.into_iter().map(|mail| json!({ "links": mail.links }));
        links.filter_map(|mail| token_in(&mail)).collect()
    }

    /// Somebody who signed up, showed that the address is theirs, and signed in.
    pub(crate) async fn person(&self, email: &str) -> Tokens {
        let body = json!({ "email": email, "password": PASSWORD, "name": "Grace" });
        assert_eq!(self.post("/v1/accounts", body).await.status, StatusCode::ACCEPTED);
        let token = self.links(email, 1).await.remove(0);
        let verified =
            self.post("/v1/accounts/verify", json!({ "token": token, "password": PASSWORD })).await;
        assert_eq!(verified.status, StatusCode::NO_CONTENT, "{verified:?}");
        tokens(self.sign_in(email, PASSWORD).await)
    }

    /// Every event so far, unsealed.
    pub(crate) fn events(&self) -> Vec<Vec<u8>> {
        self.events.lock().unwrap().clone()
    }
}
