//! A node that is asked for more than it has room for: refused early, in bounded memory, and told in numbers.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{Node, reply, until};

/// A request whose body does not come, over a connection of its own; it holds a place until it is dropped.
async fn trickling(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(node.url().trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /v1/tenants HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n\r\n{{",
        node.tokens().access_token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_HTTP_DEADLINE", "1s")]);
    let mut stream = trickling(&node).await;

    let mut answer = vec![0; 4096];
    // Promised: the deadline and a second for bodies.
    let length = timeout(Duration::from_secs(3 * 2), stream.read(&mut answer)).await.unwrap().unwrap();

    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("/problems/request/too-slow"), "{answer}");
}

/// Waits until so many requests are being served.
async fn in_flight(node: &Node, wanted: usize) {
    let wanted = format!("prognet_http_requests_in_flight {wanted}");
    for _ in 0..600 {
        let (_, numbers) = node.managed("/metrics").await;
        if numbers.lines().any(|line| line == wanted) {
            return;
        }
        node.a_moment_later().await;
    }
    panic!("never: {wanted}")
}

/// Lets this process, and the nodes it starts, open as many files as the system allows; how many that is.
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    limit.maximum.map_or(usize::MAX, |maximum| usize::try_from(maximum).unwrap())
}

/// Sends one request on each of so many connections, all before the first answer is read, as far as this
/// process may have that many.
async fn flood(node: &Node, requests: usize, request: impl Fn(usize) -> String) -> Vec<String> {
    let address = node.url().trim_start_matches("http://");
    let (numbers, mut answers): (Vec<_>, _) = ((0..requests).collect(), Vec::new());
    for wave in numbers.chunks(descriptors() / 2) {
        let mut streams = Vec::new();
        for number in wave {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request(*number).as_bytes()).await.unwrap();
            streams.push(stream);
        }
        answers.extend(join_all(streams.into_iter().map(answer)).await);
    }
    answers
}

async fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is cut after its answer was an answer all the same.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8(answer).unwrap()
}

/// Either the work was done, or it was refused early with a hint when to come back.
#[track_caller]
fn is_early_refusal(answer: &str) -> bool {
    let is_refused = answer.starts_with("HTTP/1.1 503 ") || answer.starts_with("HTTP/1.1 429 ");
    assert!(is_refused || answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
    assert_eq!(head.contains("retry-after: "), is_refused, "{answer}");
    is_refused
}

#[tokio::test]
async fn ten_thousand_requests_beyond_the_limit_are_refused_early_in_bounded_memory() {
    let data = tempfile::tempdir().unwrap();
    let settings = [("PROGNET_HTTP_IN_FLIGHT_MAX", "8"), ("PROGNET_HTTP_DEADLINE", "10m")];
    descriptors();
    let node = Node::with(data.path(), &settings);
    let get = format!(
        "GET /v1/me HTTP/1.1\r\nhost: here\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
        node.tokens().access_token
    );
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(trickling(&node).await);
    }
    in_flight(&node, 8).await;
    let before = node.memory_peak_bytes();

    let answers = flood(&node, 10_000, |_| get.clone()).await;

    assert!(answers.iter().all(|answer| is_early_refusal(answer)), "no place was free");
    assert!(answers[0].contains("/problems/node/overloaded"), "{}", answers[0]);
    let grown = node.memory_peak_bytes().saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "{grown} bytes for 10 000 refusals");
    assert_eq!(node.managed("/livez").await.0, 200, "the other door is open all the while");
    drop(held);
    in_flight(&node, 0).await;
    assert_eq!(node.get("/v1/me").await.status, 200, "places are free again");
}

#[tokio::test]
async fn of_ten_thousand_commands_at_once_each_is_done_or_refused_early_and_none_is_lost() {
    let data = tempfile::tempdir().unwrap();
    let settings = [("PROGNET_ENTITIES_ENTITY_QUEUE", "8"), ("PROGNET_HTTP_IN_FLIGHT_MAX", "64")];
    descriptors();
    let node = Node::with(data.path(), &settings);
    let path = format!("/v1/tenants/{}", node.tenant("acme").await);
    let token = &node.tokens().access_token;
    let rename = |number: usize| {
        format!(
            "PATCH {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 16\r\n\r\n{{\"name\":\"{number:05}\"}}"
        )
    };
    let before = node.memory_peak_bytes();

    let answers = flood(&node, 10_000, rename).await;

    let done = answers.iter().filter(|answer| !is_early_refusal(answer)).count();
    assert!(done > 0, "it goes on working under load");
    assert_eq!(node.get(&path).await.ok()["version"], done + 1, "each acknowledged one, and no other");
    let grown = node.memory_peak_bytes().saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "{grown} bytes for 10 000 commands");
}

/// Whether the system still has the node's end of a connection (`net/tcp` in proc(5)); a deaf peer is not told.
fn is_held(stream: &TcpStream) -> bool {
    let [local, remote] = [stream.peer_addr(), stream.local_addr()];
    let [local, remote] = [local, remote].map(|address| format!(":{:04X}", address.unwrap().port()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let ends: Vec<_> = line.split_whitespace().skip(1).take(2).collect();
        ends.len() == 2 && ends[0].ends_with(&local) && ends[1].ends_with(&remote)
    })
}

/// It asks for much and reads nothing: neither its buffers nor the node's hold all of it.
#[tokio::test]
async fn a_connection_whose_peer_reads_nothing_is_given_up() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_HTTP_UNTAKEN_MAX", "1s")]);
    let mut deaf = TcpStream::connect(node.url().trim_start_matches("http://")).await.unwrap();
    let much = "GET /openapi.json HTTP/1.1\r\nhost: here\r\n\r\n".repeat(200);
    deaf.write_all(much.as_bytes()).await.unwrap();

    assert!(is_held(&deaf));
    until(|| !is_held(&deaf)).await;

    assert_eq!(node.get("/v1/me").await.status, 200, "nobody else notices");
}

/// Shells give 1 024 descriptors or fewer, and a connection takes one.
#[tokio::test]
async fn a_node_holds_more_connections_than_the_soft_limit_it_was_started_with() {
    const SOFT: usize = 128;
    descriptors();
    let data = tempfile::tempdir().unwrap();
    let node = Node::with_few_descriptors(data.path(), SOFT);
    let get = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: here\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..2 * SOFT {
        let mut stream = TcpStream::connect(node.url().trim_start_matches("http://")).await.unwrap();
        stream.write_all(get.as_bytes()).await.unwrap();
        held.push(stream);
    }

    for stream in &mut held {
        let mut answer = [0; 15];
        timeout(Duration::from_secs(10), stream.read_exact(&mut answer)).await.expect("not taken").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_what_a_client_made_up() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let id = node.tenant("acme").await;
    node.get(&format!("/v1/tenants/{id}")).await.ok();
    node.get("/made/up").await.problem(404, "request/not-found");
    let brewed = node.request(Method::from_bytes(b"BREW").unwrap(), "/v1/me");
    reply(brewed).await.unwrap().problem(405, "request/method");

    let (_, numbers) = node.managed("/metrics").await;

    let count = "prognet_http_request_duration_seconds_count";
    for line in [
        format!("{count}{{route=\"/v1/tenants/{{tenant}}\",method=\"GET\",status=\"200\"}} 1"),
        format!("{count}{{route=\"none\",method=\"GET\",status=\"404\"}} 1"),
        format!("{count}{{route=\"/v1/me\",method=\"other\",status=\"405\"}} 1"),
        format!("# TYPE {} histogram", count.trim_end_matches("_count")),
    ] {
        assert!(numbers.lines().any(|found| found == line), "{line} is not in {numbers}");
    }
    for made_up in [&id, "BREW", "made"] {
        assert!(!numbers.contains(made_up), "{made_up} in {numbers}");
    }
}
