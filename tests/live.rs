//! The live WebSocket, met by a client that nobody here wrote.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use prognet_sdk::{LiveFrame, LiveRequest, Tokens};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, protocol::CloseFrame},
};

use crate::harness::{ADMIN, Node, reply};

pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// A socket that has proven nobody.
    pub(crate) async fn at(url: &str) -> Self {
        let url = url.replacen("http", "ws", 1);
        Self(tokio_tungstenite::connect_async(format!("{url}/v1/live")).await.unwrap().0)
    }

    async fn stranger(node: &Node) -> Self {
        Self::at(node.url()).await
    }

    async fn with(node: &Node, token: &str) -> Self {
        let mut socket = Self::stranger(node).await;
        socket.send(&LiveRequest::Auth { token: token.to_owned() }).await;
        assert!(matches!(socket.frame().await, LiveFrame::Authenticated { .. }));
        socket
    }

    pub(crate) async fn admin(node: &Node) -> Self {
        Self::with(node, &node.tokens().access_token).await
    }

    pub(crate) async fn send(&mut self, request: &LiveRequest) {
        let text = serde_json::to_string(request).unwrap();
        self.0.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn watch(&mut self, topic: &str, after: Option<String>) {
        self.send(&LiveRequest::Subscribe { topic: topic.to_owned(), after }).await;
        assert!(matches!(self.frame().await, LiveFrame::Subscribed { .. }));
    }

    async fn message(&mut self) -> Message {
        let message = tokio::time::timeout(Duration::from_secs(60), self.0.next());
        message.await.expect("nothing came").expect("the connection ended").unwrap()
    }

    pub(crate) async fn frame(&mut self) -> LiveFrame {
        loop {
            match self.message().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(why) => panic!("closed: {why:?}"),
                _ => {}
            }
        }
    }

    /// The next event's type and cursor.
    pub(crate) async fn event(&mut self) -> (String, String) {
        match self.frame().await {
            LiveFrame::Event { event, .. } => (event.kind, event.cursor),
            other => panic!("no event: {other:?}"),
        }
    }

    /// Everything until it is closed, and why.
    pub(crate) async fn closed(&mut self) -> CloseFrame {
        loop {
            if let Message::Close(why) = self.message().await {
                return why.unwrap();
            }
        }
    }
}

async fn tenant_tokens(node: &Node, tenant: &str) -> Tokens {
    let body = json!({ "email": ADMIN.0, "password": ADMIN.1, "tenant": tenant });
    let signed_in = reply(node.stranger(Method::POST, "/v1/sessions").json(&body)).await.unwrap();
    serde_json::from_value(signed_in.ok()).unwrap()
}

#[tokio::test]
async fn a_socket_resumes_behind_its_cursor_over_a_kill_and_misses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let id = node.tenant("acme").await;
    let (path, topic) = (format!("/v1/tenants/{id}"), format!("tenant:{id}"));
    let mut socket = Socket::admin(&node).await;
    socket.watch(&topic, None).await;
    node.post(&format!("{path}/suspend"), json!({ "reason": "abuse" })).await.ok();
    let (kind, cursor) = socket.event().await;
    assert_eq!(kind, "tenant.suspended");

    node.post(&format!("{path}/resume"), json!({})).await.ok();
    let node = node.kill_and_restart();
    node.post(&format!("{path}/suspend"), json!({ "reason": "other" })).await.ok();
    let mut socket = Socket::admin(&node).await;
    socket.watch(&topic, Some(cursor)).await;

    assert_eq!(socket.event().await.0, "tenant.resumed");
    assert_eq!(socket.event().await.0, "tenant.suspended");
}

#[tokio::test]
async fn an_event_names_its_entity_by_the_id_that_routes_take() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let tenant = node.tenant("acme").await;
    let mut socket = Socket::admin(&node).await;
    socket.watch(&format!("account:{}", node.tokens().account), None).await;

    let session = tenant_tokens(&node, &tenant).await.session;

    let LiveFrame::Event { event, .. } = socket.frame().await else { panic!("no event") };
    assert_eq!((event.kind.as_str(), event.id), ("session.opened", session));
}

#[tokio::test]
async fn a_socket_that_proves_nobody_is_closed() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mut silent = Socket::stranger(&node).await;
    let mut wrong = Socket::stranger(&node).await;
    wrong.send(&LiveRequest::Auth { token: "no token".to_owned() }).await;
    let mut eager = Socket::stranger(&node).await;
    eager.send(&LiveRequest::Subscribe { topic: "system".to_owned(), after: None }).await;
    let mut babbling = Socket::stranger(&node).await;
    babbling.0.send(Message::text("{")).await.unwrap();

    assert_eq!(u16::from(wrong.closed().await.code), 4001);
    assert_eq!(u16::from(eager.closed().await.code), 4001);
    assert_eq!(u16::from(babbling.closed().await.code), 4400);
    assert_eq!(u16::from(silent.closed().await.code), 4001);
}

#[tokio::test]
async fn a_suspended_tenants_sockets_are_closed_and_told_why() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (own, other) = (node.tenant("own").await, node.tenant("other").await);
    let mut socket = Socket::with(&node, &tenant_tokens(&node, &own).await.access_token).await;
    socket.watch(&format!("tenant:{own}"), None).await;
    socket.send(&LiveRequest::Subscribe { topic: format!("tenant:{other}"), after: None }).await;
    let LiveFrame::Refused { problem } = socket.frame().await else { panic!("another tenant's topic opens") };
    assert_eq!(problem.kind, "/problems/tenant/unknown");
    let mut neighbour = Socket::with(&node, &tenant_tokens(&node, &other).await.access_token).await;
    neighbour.watch(&format!("tenant:{other}"), None).await;

    node.post(&format!("/v1/tenants/{own}/suspend"), json!({ "reason": "abuse" })).await.ok();

    let why = socket.closed().await;
    assert_eq!(u16::from(why.code), 4003);
    assert!(why.reason.contains("abuse"), "{why:?}");
    let rename = node.request(Method::PATCH, &format!("/v1/tenants/{other}")).json(&json!({ "name": "New" }));
    reply(rename).await.unwrap().ok();
    assert_eq!(neighbour.event().await.0, "tenant.renamed", "its neighbour does not notice");
}

#[tokio::test]
async fn a_socket_of_an_ended_session_is_closed() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let tenant = node.tenant("acme").await;
    let tokens = tenant_tokens(&node, &tenant).await;
    let mut socket = Socket::with(&node, &tokens.access_token).await;

    node.delete(&format!("/v1/sessions/{}", tokens.session)).await;

    assert_eq!(u16::from(socket.closed().await.code), 4004);
}

#[tokio::test]
async fn a_token_that_ends_closes_its_socket_unless_a_fresh_one_comes() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_AUTH_ACCESS_TOKEN_LIFE", "3s")]);
    let mut left = Socket::admin(&node).await;
    let mut renewed = Socket::admin(&node).await;
    let body = json!({ "refresh_token": node.tokens().refresh_token });
    let long = node.refreshed(&body).await;
    renewed.send(&LiveRequest::Auth { token: long.access_token }).await;
    assert!(matches!(renewed.frame().await, LiveFrame::Authenticated { .. }));

    assert_eq!(u16::from(left.closed().await.code), 4002);
    assert_eq!(u16::from(renewed.closed().await.code), 4002, "each token has its end");
}

#[tokio::test]
async fn a_socket_that_reads_nothing_is_closed_and_its_neighbour_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let id = node.tenant("acme").await;
    let topic = format!("tenant:{id}");
    let mut deaf = Socket::admin(&node).await;
    for number in 0..8 {
        // Many topics make much to send; one topic more than once is one subscription.
        let tenant = node.tenant(&format!("other-{number}")).await;
        deaf.watch(&format!("tenant:{tenant}"), None).await;
    }
    deaf.watch("system", None).await;
    let mut neighbour = Socket::admin(&node).await;
    neighbour.watch(&topic, None).await;

    let padding = "x".repeat(90);
    let mut renamed = 0;
    let mut flood = async || {
        for _ in 0..200 {
            renamed += 1;
            let body = json!({ "name": format!("{renamed} {padding}") });
            reply(node.request(Method::PATCH, &format!("/v1/tenants/{id}")).json(&body)).await.unwrap().ok();
            assert_eq!(neighbour.event().await.0, "tenant.renamed");
        }
    };
    for _ in 0..200 {
        flood().await;
        if node.metric("prognet_live_sockets").await == 1 {
            break;
        }
    }

    assert_eq!(node.metric("prognet_live_sockets").await, 1, "the deaf one is gone");
    // What it did not read yet still lies before it; then it is told, with its cursor.
    let mut seen = 0;
    let why = loop {
        match deaf.message().await {
            Message::Close(why) => break why.unwrap(),
            Message::Text(_) => seen += 1,
            _ => {}
        }
    };
    assert_eq!(u16::from(why.code), 4008);
    assert!(seen > 0 && seen < renamed, "{seen} of {renamed}");
    let mut again = Socket::admin(&node).await;
    again.watch("system", Some(why.reason.to_string())).await;
    assert_eq!(again.event().await.0, "tenant.renamed");
}

#[tokio::test]
async fn a_stopping_node_says_so_to_its_sockets() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mut socket = Socket::admin(&node).await;
    socket.watch("system", None).await;

    assert_eq!(node.terminate(), Some(0));

    assert_eq!(u16::from(socket.closed().await.code), 1001);
}
