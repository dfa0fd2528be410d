//! Nodes that link over loopback.

#![expect(clippy::wildcard_enum_match_arm, reason = "an event that is not the expected one fails the test")]

use prognet_supervisor::Name;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::*;
use crate::tables::{Build, Wire};

/// What takes seconds by its nature gets three times that.
const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    link: RactorLink,
    events: mpsc::Receiver<LinkEvent>,
    frames: mpsc::Receiver<Bytes>,
    me: Incarnation,
    /// Takes frames in for as long as the node is there.
    _handler: Arc<Handler>,
}

struct Handler(mpsc::Sender<Bytes>);

impl FrameHandler for Handler {
    fn handle(self: Arc<Self>, _from: Incarnation, frame: Bytes) {
        self.0.try_send(frame).unwrap();
    }
}

fn hello(name: &str) -> Hello {
    Hello {
        generation: 1,
        shards: 256,
        wire: Wire { min: 1, max: 1 },
        build: Build { major: 0, minor: 1, patch: 0 },
        node: NodeId(Name::parse(name).unwrap()),
        site: String::new(),
    }
}

fn settings() -> LinkSettings {
    LinkSettings {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        secret: b"the secret of this test".to_vec(),
        tls: None,
    }
}

/// A node of its own: names must differ between tests, which share a process and with it the groups of gateways.
async fn node(name: &str, settings: &LinkSettings) -> Node {
    let hello = hello(name);
    let me = Incarnation { node: hello.node, number: 1 };
    let (link, events) = RactorLink::start(settings, hello).await.unwrap();
    let (sender, frames) = mpsc::channel(1_024);
    let handler = Arc::new(Handler(sender));
    link.handle_by(Arc::<Handler>::downgrade(&handler));
    link.became(me);
    stands(&link).await;
    Node { link, events, frames, me, _handler: handler }
}

async fn stands(link: &RactorLink) {
    while link.0.lock().server.is_none() {
        sleep(Duration::from_millis(5)).await;
    }
}

impl Node {
    fn address(&self) -> String {
        self.link.address().unwrap().to_string()
    }

    fn knows(&self, others: &[&Self]) {
        self.link.meet(others.iter().map(|other| (other.me, other.address())).collect());
    }

    /// The next event that is not about a refused connection.
    async fn event(&mut self) -> LinkEvent {
        let next = async {
            loop {
                match self.events.recv().await.unwrap() {
                    LinkEvent::Refused { .. } | LinkEvent::TurnedAway { .. } | LinkEvent::Failed { .. } => {}
                    event => return event,
                }
            }
        };
        timeout(PATIENCE, next).await.expect("an event")
    }

    async fn linked_to(&mut self, other: Incarnation) {
        match self.event().await {
            LinkEvent::Up(peer) => assert_eq!(peer, other),
            event => panic!("{event:?}"),
        }
    }

    async fn hears(&mut self, expected: &[u8]) {
        let frame = timeout(PATIENCE, self.frames.recv()).await.expect("a frame").unwrap();
        assert_eq!(&*frame, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_link_and_talk_both_ways_in_order() {
    let (mut a, mut b) = (node("talk-a", &settings()).await, node("talk-b", &settings()).await);
    a.knows(&[&b]);
    b.knows(&[&a]);
    a.linked_to(b.me).await;
    b.linked_to(a.me).await;

    for number in 0..200_u32 {
        a.link.send(b.me.node, 7, Bytes::copy_from_slice(&number.to_be_bytes())).unwrap();
    }
    b.link.send(a.me.node, 1, Bytes::from_static(b"and back")).unwrap();

    for number in 0..200_u32 {
        b.hears(&number.to_be_bytes()).await;
    }
    a.hears(b"and back").await;
    let too_large = Bytes::from(vec![0; FRAME_MAX + 1]);
    assert_eq!(a.link.send(b.me.node, 0, too_large), Err(LinkError::Large));
    a.link.send(b.me.node, 0, Bytes::from(vec![1; FRAME_MAX])).unwrap();
    b.hears(&vec![1; FRAME_MAX]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_met_no_more_is_hung_up_and_may_come_back_as_another_run() {
    let (mut a, mut b) = (node("back-a", &settings()).await, node("back-b", &settings()).await);
    a.knows(&[&b]);
    b.knows(&[&a]);
    a.linked_to(b.me).await;
    b.linked_to(a.me).await;

    b.me.number = 2;
    b.link.became(b.me);
    stands(&b.link).await;
    b.knows(&[&a]);
    a.knows(&[&b]);

    assert!(matches!(a.event().await, LinkEvent::Down(node) if node == b.me.node));
    a.linked_to(b.me).await;
    a.link.send(b.me.node, 0, Bytes::from_static(b"again")).unwrap();
    b.hears(b"again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_turned_away_and_an_existing_link_goes_on() {
    let (mut a, mut b) = (node("calm-a", &settings()).await, node("calm-b", &settings()).await);
    a.knows(&[&b]);
    b.knows(&[&a]);
    a.linked_to(b.me).await;
    b.linked_to(a.me).await;
    let other = LinkSettings { secret: b"another secret".to_vec(), ..settings() };
    let stranger = node("calm-c", &other).await;
    stranger.knows(&[&a]);
    a.knows(&[&b, &stranger]);
    // Silent, half-open, garbage, and too long.
    let silent = TcpStream::connect(a.address()).await.unwrap();
    let mut garbage = TcpStream::connect(a.address()).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut long = TcpStream::connect(a.address()).await.unwrap();
    long.write_all(&[0xff; 64]).await.unwrap();

    let mut rest = Vec::new();
    drop(timeout(PATIENCE, garbage.read_to_end(&mut rest)).await.expect("hung up"));
    drop(timeout(PATIENCE, long.read_to_end(&mut rest)).await.expect("hung up"));
    for number in 0..20_u8 {
        a.link.send(b.me.node, 0, Bytes::copy_from_slice(&[number])).unwrap();
        b.hears(&[number]).await;
    }
    assert_eq!(a.link.peers().len(), 1, "the stranger is none");
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_nothing_is_sent_a_window_and_then_cut_off() {
    let mut a = node("still-a", &settings()).await;
    let other = (a.me, a.address());
    let (told, met) = std::sync::mpsc::channel();
    let (wake, woken) = std::sync::mpsc::channel::<()>();
    let (freeze, frozen) = tokio::sync::oneshot::channel::<()>();
    // A runtime of its own, which stands still once the two are linked.
    let still = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut b = node("still-b", &settings()).await;
            told.send((b.me, b.address())).unwrap();
            b.link.meet(vec![other.clone()]);
            b.linked_to(other.0).await;
            frozen.await.unwrap();
        });
        woken.recv().unwrap_err();
    });
    let b = tokio::task::spawn_blocking(move || met.recv().unwrap()).await.unwrap();
    a.link.meet(vec![b.clone()]);
    a.linked_to(b.0).await;
    freeze.send(()).unwrap();
    let frame = Bytes::from(vec![0; 64 * 1024]);
    let full = async {
        loop {
            match a.link.send(b.0.node, 0, frame.clone()) {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    };

    let refused = timeout(PATIENCE, full).await.expect("a bound");

    assert_eq!(refused, LinkError::Busy);
    assert!(matches!(a.event().await, LinkEvent::Down(node) if node == b.0.node));
    drop(wake);
    tokio::task::spawn_blocking(move || still.join().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_refuses_connections_which_is_told() {
    let a = node("gone-a", &settings()).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = Incarnation { node: NodeId(Name::new("gone-b")), number: 3 };
    let Node { link, mut events, .. } = a;

    link.meet(vec![(gone, port.to_string())]);

    let told = timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert!(matches!(told, LinkEvent::Refused { of, address } if of == gone && address == port), "{told:?}");
}

#[tokio::test]
async fn a_node_without_a_secret_or_without_certificates_in_public_does_not_start() {
    let none = LinkSettings { secret: Vec::new(), ..settings() };
    let refused = RactorLink::start(&none, hello("bare")).await.unwrap_err();
    assert!(refused.to_string().contains("cluster.secret"), "{refused}");

    let public = LinkSettings { listen: Some("0.0.0.0:0".parse().unwrap()), ..settings() };
    let refused = RactorLink::start(&public, hello("bare")).await.unwrap_err();
    assert!(refused.to_string().contains("cluster.ca_file"), "{refused}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = LinkSettings { listen: Some(taken.local_addr().unwrap()), ..settings() };
    let refused = RactorLink::start(&taken, hello("bare")).await.unwrap_err();
    assert!(refused.to_string().contains("cluster.listen"), "{refused}");
}
