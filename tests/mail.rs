//! Mail on its way: nothing is lost, nothing comes twice without need, whatever the server does.
//!
//! The server is aiosmtpd, told by the recipient's address what to do; signatures are judged by dkimpy.

pub(crate) mod counterpart;

use std::{cell::RefCell, path::Path, sync::Arc, time::Duration};

use prognet_actors::{
    communication::{
        Delivery, DevInbox, Language, Mail, Message,
        channel::{
            Channel, Smtp,
            dkim::Signer,
            smtp::{self, Security},
        },
        delivery::Sender,
        message::{self, Stage, View},
    },
    ids::AccountId,
    values::{Email, PersonName},
};
use prognet_storage::{
    embedded::{EmbeddedJournal, SledTier},
    keyring::{Keyring, MasterKey},
};
use prognet_supervisor::{Asking, Clock, Limits, Node, Parts, Service, testing::World};
use serde_json::Value;

use crate::{
    guesses::sign_up,
    harness::{self, reply},
    people::caught,
};
use counterpart::{Certificate, Server};

/// Longer than the first pause after a failure, shorter than the second.
const PAUSE: Duration = Duration::from_secs(31);
const ACCOUNT: AccountId = AccountId::new(7);

/// How a world's mails leave.
#[derive(Clone)]
pub(crate) enum Way {
    Server(smtp::Settings, Option<(String, String)>),
    Inbox(DevInbox),
}

thread_local! {
    // A world starts its node, again after each crash, on the thread of its test.
    static WAY: RefCell<Option<Way>> = const { RefCell::new(None) };
}

pub(crate) fn services() -> Vec<Service> {
    let way = WAY.with_borrow(Clone::clone).unwrap();
    let sender = Sender {
        from: Email::parse("no-reply@example.org").unwrap(),
        name: PersonName::parse("Example & Söhne").unwrap(),
    };
    let (signer, channel) = match way {
        Way::Server(settings, key) => {
            let signer = key.map(|(selector, pem)| Signer::new("example.org", &selector, &pem).unwrap());
            (signer, Channel::Smtp(Box::new(Smtp::new(settings).unwrap())))
        }
        Way::Inbox(inbox) => (None, Channel::DevInbox(inbox)),
    };
    let delivery = Delivery::new(sender, signer, channel);
    delivery.open("https://api.example.org");
    prognet_actors::services_delivering(delivery)
}

/// Mails of nodes that this thread starts from now on leave so.
pub(crate) fn leave_by(way: Way) {
    WAY.set(Some(way));
}

async fn world(way: Way) -> World {
    leave_by(way);
    World::new(services).await
}

fn plain(server: &Server) -> smtp::Settings {
    at(server.port())
}

fn at(port: u16) -> smtp::Settings {
    smtp::Settings {
        host: "127.0.0.1".to_owned(),
        port,
        security: Security::None,
        login: None,
        trusted: None,
        timeout: Duration::from_secs(60),
        hello: "example.org".to_owned(),
    }
}

fn protected(server: &Server) -> smtp::Settings {
    smtp::Settings {
        host: "localhost".to_owned(),
        security: Security::Starttls,
        login: Some(("ada".to_owned(), "correct horse".to_owned())),
        trusted: Some(std::fs::read(server.directory().join("ca.pem")).unwrap()),
        ..plain(server)
    }
}

/// A mail to an address; the id is made of it.
fn letter(to: &str) -> (u128, message::Command) {
    let id = to.bytes().fold(0_u128, |id, byte| id.wrapping_mul(257).wrapping_add(u128::from(byte)));
    let mail = Mail::VerifyAddress { name: PersonName::parse("Ada").unwrap(), account: ACCOUNT, id };
    (id, message::Command::Send { mail, to: Email::parse(to).unwrap(), language: Language::En })
}

async fn send(world: &World, to: &str) {
    let (id, send) = letter(to);
    world.ask(Message::at(ACCOUNT.home(), id), send).await.unwrap();
}

async fn view(world: &World, to: &str) -> View {
    world.read(Message::at(ACCOUNT.home(), letter(to).0)).await.unwrap().unwrap()
}

/// Waits, without letting time pass for the node, until each message rests in one of these stages.
async fn until_all(world: &World, to: &[&str], stages: &[Stage]) {
    for to in to {
        // More than one wait: a loaded machine is slow.
        for _ in 0..5 {
            if stages.contains(&view(world, to).await.stage) {
                break;
            }
            let rest = || async { stages.contains(&view(world, to).await.stage) };
            let looked = tokio::time::timeout(Duration::from_secs(3), async {
                while !rest().await {
                    drop(tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>()).await);
                }
            });
            drop(looked.await);
        }
        let stage = view(world, to).await.stage;
        assert!(stages.contains(&stage), "{to} is {stage:?}");
    }
}

#[tokio::test]
async fn whatever_a_server_answers_no_mail_is_lost_and_none_comes_twice() {
    let server = Server::start(Certificate::None);
    let key = std::fs::read_to_string(server.directory().join("rsa.pem")).unwrap();
    let world = world(Way::Server(plain(&server), Some(("rsa".to_owned(), key)))).await;
    let all = [
        "ok-a@example.org",
        "421-a@example.org",
        "451-a@example.org",
        "451data-a@example.org",
        "drop-a@example.org",
        "550-a@example.org",
        "550data-a@example.org",
    ];

    for to in all {
        send(&world, to).await;
    }
    until_all(&world, &all, &[Stage::Delivered, Stage::Waiting, Stage::GivenUp]).await;
    assert_eq!(view(&world, all[0]).await.attempts, 1);
    world.clock.advance(PAUSE);
    until_all(&world, &all, &[Stage::Delivered, Stage::GivenUp]).await;

    for (to, said) in [(all[5], "is nobody here"), (all[6], "nobody wants that")] {
        let refused = view(&world, to).await;
        assert_eq!((refused.stage, refused.attempts), (Stage::GivenUp, 1), "{to}");
        let why = refused.trouble.unwrap();
        assert!(why.contains("550") && why.contains(said) && !why.contains("@example.org"), "{why}");
    }
    for to in &all[1..5] {
        assert_eq!(
            (view(&world, to).await.stage, view(&world, to).await.attempts),
            (Stage::Delivered, 2),
            "{to}"
        );
    }
    // Only what was not taken, or whose answer was lost, came twice, and shows it.
    for to in &all[..5] {
        let times = if to.starts_with("drop") || to.starts_with("451data") { 2 } else { 1 };
        let copies = server.heard_of(to, times).await;
        assert_eq!(copies.len(), times, "{copies:?}");
        assert!(copies.iter().all(|mail| mail["message_id"] == copies[0]["message_id"]));
        assert!(
            copies.iter().all(|mail| mail["signature"] == true && mail["tampered"] == false),
            "{copies:?}"
        );
    }
    assert_eq!(server.heard().len(), 8, "and once the one that nobody wants");
}

#[tokio::test]
async fn a_server_that_stalls_some_mails_delays_no_other() {
    let server = Server::start(Certificate::None);
    let stalled: Vec<_> = (0..12).map(|number| format!("stall-{number}@example.org")).collect();
    let others: Vec<_> = (0..20).map(|number| format!("ok-{number}@example.org")).collect();
    let world = world(Way::Server(plain(&server), None)).await;

    for to in stalled.iter().chain(&others) {
        send(&world, to).await;
    }
    let others: Vec<_> = others.iter().map(String::as_str).collect();
    until_all(&world, &others, &[Stage::Delivered]).await;

    for to in stalled {
        assert_eq!(view(&world, &to).await.stage, Stage::Trying);
    }
}

#[tokio::test]
async fn mails_that_a_server_does_not_take_delay_no_other() {
    let server = Server::start(Certificate::None);
    let fates = ["421", "451", "451data", "drop", "550"];
    let troubled: Vec<_> =
        (0..25).map(|number| format!("{}-{number}@example.org", fates[number % 5])).collect();
    let others: Vec<_> = (0..10).map(|number| format!("ok-{number}@example.org")).collect();
    let world = world(Way::Server(plain(&server), None)).await;

    for to in troubled.iter().chain(&others) {
        send(&world, to).await;
    }

    let others: Vec<_> = others.iter().map(String::as_str).collect();
    until_all(&world, &others, &[Stage::Delivered]).await;
    for to in others {
        assert_eq!(view(&world, to).await.attempts, 1);
    }
    world.clock.advance(PAUSE);
    let troubled: Vec<_> = troubled.iter().map(String::as_str).collect();
    until_all(&world, &troubled, &[Stage::Delivered, Stage::GivenUp]).await;
}

/// Nobody there, or somebody who says nothing: it is tried for a day, and then the reason stands there.
#[tokio::test]
async fn a_server_that_is_not_there_is_tried_for_a_day_and_then_it_is_said_why() {
    const TO: &str = "ok-a@example.org";
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = [silent.local_addr().unwrap().port(), gone.local_addr().unwrap().port()];
    drop(gone);
    for port in ports {
        let settings = smtp::Settings { timeout: Duration::from_millis(200), ..at(port) };
        let world = world(Way::Server(settings, None)).await;
        send(&world, TO).await;
        let mut attempts = 0;
        while view(&world, TO).await.stage != Stage::GivenUp {
            let is_over = || async {
                let View { stage, attempts: now, .. } = view(&world, TO).await;
                stage == Stage::GivenUp || (stage == Stage::Waiting && now > attempts)
            };
            world.until(Duration::ZERO, is_over).await;
            attempts = view(&world, TO).await.attempts;
            world.clock.advance(Duration::from_secs(3600));
        }
        assert!((20..=40).contains(&attempts), "{attempts} attempts");
        assert!(view(&world, TO).await.trouble.is_some_and(|why| !why.is_empty()));
    }
}

#[tokio::test]
async fn a_stalled_mail_is_given_up_on_and_sent_again() {
    const TO: &str = "stall-a@example.org";
    let server = Server::start(Certificate::None);
    let settings = smtp::Settings { timeout: Duration::from_secs(1), ..plain(&server) };
    let world = world(Way::Server(settings, None)).await;

    send(&world, TO).await;
    until_all(&world, &[TO], &[Stage::Waiting]).await;
    assert!(view(&world, TO).await.trouble.unwrap().contains("did not finish within 1000 ms"));
    world.clock.advance(PAUSE);
    until_all(&world, &[TO], &[Stage::Delivered]).await;

    // Heard, but not answered: the one copy too many that is promised, and shown to be one.
    let heard = server.heard_of(TO, 2).await;
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_eq!(heard[0]["message_id"], heard[1]["message_id"]);
}

#[tokio::test]
async fn nothing_is_said_to_a_server_whose_certificate_is_wrong() {
    for certificate in [Certificate::Wrong, Certificate::Strange] {
        let server = Server::start(certificate);
        let world = world(Way::Server(protected(&server), None)).await;
        send(&world, "ok-a@example.org").await;
        until_all(&world, &["ok-a@example.org"], &[Stage::Waiting]).await;
        let why = view(&world, "ok-a@example.org").await.trouble.unwrap();
        assert!(why.contains("certificate"), "{why}");
        assert_eq!(server.heard(), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn a_server_is_spoken_to_under_tls_and_signed_in_to() {
    let server = Server::start(Certificate::Right);
    let key = std::fs::read_to_string(server.directory().join("ed25519.pem")).unwrap();
    let way = Way::Server(protected(&server), Some(("ed25519".to_owned(), key)));
    let world = world(way).await;
    // The second one goes over the connection of the first.
    for to in ["ok-a@example.org", "ok-b@example.org"] {
        send(&world, to).await;
        until_all(&world, &[to], &[Stage::Delivered]).await;
        let heard = server.heard_of(to, 1).await;
        let [mail] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((&mail["tls"], &mail["login"]), (&true.into(), &true.into()));
        assert_eq!(mail["signature"], true);
    }
}

#[tokio::test]
async fn a_wrong_password_and_a_server_without_tls_are_the_operators_to_mend() {
    let server = Server::start(Certificate::Right);
    let login = Some(("ada".to_owned(), "wrong".to_owned()));
    let world_with_wrong = world(Way::Server(smtp::Settings { login, ..protected(&server) }, None)).await;
    send(&world_with_wrong, "ok-a@example.org").await;
    until_all(&world_with_wrong, &["ok-a@example.org"], &[Stage::Waiting]).await;
    let why = view(&world_with_wrong, "ok-a@example.org").await.trouble.unwrap();
    assert!(why.contains("535"), "{why}");

    // STARTTLS is never given up: somebody in between may have taken it away.
    let bare = Server::start(Certificate::None);
    let world = world(Way::Server(protected(&bare), None)).await;
    send(&world, "ok-a@example.org").await;
    until_all(&world, &["ok-a@example.org"], &[Stage::Waiting]).await;
    assert!(view(&world, "ok-a@example.org").await.trouble.unwrap().contains("STARTTLS"));
    assert_eq!(bare.heard(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_crash_loses_no_mail_and_sends_one_copy_at_most() {
    let server = Server::start(Certificate::None);
    let mut world = world(Way::Server(plain(&server), None)).await;
    // Requested, and perhaps begun.
    send(&world, "ok-a@example.org").await;
    world.crash().await;
    // Heard by the server, whose answer is not heard.
    send(&world, "hold-a@example.org").await;
    drop(server.heard_of("hold-a@example.org", 1).await);
    world.crash().await;

    let both = ["ok-a@example.org", "hold-a@example.org"];
    // Nobody reports the attempts that died; their time is over some time later.
    world.clock.advance(Duration::from_secs(120));
    until_all(&world, &both, &[Stage::Delivered]).await;

    let (begun, held) = (server.heard_of(both[0], 1).await, server.heard_of(both[1], 2).await);
    assert!(matches!(begun.len(), 1 | 2), "{begun:?}");
    assert_eq!(held.len(), 2, "{held:?}");
    for copies in [begun, held] {
        assert!(copies.iter().all(|mail| mail["message_id"] == copies[0]["message_id"]), "{copies:?}");
    }
}

/// A mail that a node without a door out has taken in: it waits on the disk.
async fn requested(data: &Path, to: &str) {
    let directory = data.join("keyring");
    let (journal, opened) = EmbeddedJournal::open(&data.join("journal"), 1 << 20).unwrap();
    let master = MasterKey::in_directory(&directory).unwrap();
    let keyring = Arc::new(Keyring::open(&directory, &master).unwrap());
    journal.sync_first(Arc::clone(&keyring));
    let (tier, _) = SledTier::open(&data.join("tier"), 1 << 20, Arc::clone(&keyring), opened.last).unwrap();
    let tier = Arc::new(tier);
    let clock = Clock::default();
    let deadline = clock.now().after(Duration::from_secs(20));
    let parts = Parts {
        journal: Arc::new(journal),
        snapshots: Arc::<SledTier>::clone(&tier),
        read_model: tier,
        keyring,
        clock,
        limits: Limits::default(),
        placement: None,
    };
    let node = Node::start(parts, prognet_actors::services()).await.unwrap();
    let (id, send) = letter(to);
    let asking = Asking { asker: 0, key: None, trace: 0, deadline };
    node.ask(&asking, Message::at(ACCOUNT.home(), id), send).await.unwrap();
    node.stop().await;
}

#[test]
fn a_killed_process_loses_no_mail_and_sends_one_copy_at_most() {
    const TO: &str = "hold-a@example.org";
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(Certificate::None);
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // Its end lets go of the directory.
    runtime().block_on(requested(data.path(), TO));
    let port = server.port().to_string();
    let settings = [
        ("PROGNET_MAIL_SMTP_HOST", "127.0.0.1"),
        ("PROGNET_MAIL_SMTP_PORT", port.as_str()),
        ("PROGNET_MAIL_SMTP_SECURITY", "none"),
        ("PROGNET_MAIL_SMTP_TIMEOUT", "1s"),
        ("PROGNET_MAIL_FROM", "no-reply@example.org"),
    ];
    runtime().block_on(async {
        let node = harness::Node::with(data.path(), &settings);
        drop(server.heard_of(TO, 1).await);

        let node = node.kill_and_restart();

        let path = format!("/v1/system/actors/communication/message/{ACCOUNT}/{:032x}", letter(TO).0);
        let delivered = |actor: &Value| actor["state"]["stage"] == "delivered";
        node.eventually_in(Duration::from_secs(60), &path, delivered).await;
        let heard = server.heard_of(TO, 2).await;
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert_eq!(heard[0]["message_id"], heard[1]["message_id"]);
        let log = std::fs::read_to_string(data.path().join("log")).unwrap();
        assert!(!log.contains("@example.org"), "{log}");
    });
}

/// An edge like a node's own.
pub(crate) fn edge(inbox: Option<DevInbox>) -> prognet_http::Settings {
    prognet_http::Settings {
        proxies: prognet_http::Proxies::default(),
        origins: prognet_http::Origins::default(),
        limits: prognet_http::LimitSettings::default(),
        tenancy: prognet_http::TenancySettings::default(),
        restored: 0,
        untaken_max: Duration::from_secs(120),
        listen: "127.0.0.1:0".parse().unwrap(),
        management: "127.0.0.1:0".parse().unwrap(),
        body_bytes_max: 1 << 18,
        header_bytes_max: 1 << 15,
        deadline: Duration::from_secs(5),
        in_flight_max: 100,
        connections_max: 100,
        page_items_max: 100,
        auth: prognet_http::AuthSettings::default(),
        dev_inbox: inbox,
    }
}

#[tokio::test]
async fn the_dev_inbox_shows_what_was_caught_to_the_machine_alone() {
    let inbox = DevInbox::default();
    let world = world(Way::Inbox(inbox.clone())).await;
    let serving = prognet_http::bind(&edge(Some(inbox)), &world.node).await.unwrap();
    let (client, url) = (reqwest::Client::new(), format!("http://{}/v1/dev/messages", serving.listen));
    let ask = |query: &str| reply(client.get(format!("{url}?{query}")));

    let waiting = ask("to=Ada@example.org&wait=10s");
    let sending = async {
        send(&world, "bob@example.org").await;
        send(&world, "ada@example.org").await;
    };
    let (found, ()) = tokio::join!(waiting, sending);

    let found = found.unwrap().ok();
    let mail = &found["data"][0];
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&mail["to"], &mail["subject"]),
        (&"ada@example.org".into(), &"Confirm your e-mail address".into())
    );
    let link = mail["links"][0].as_str().unwrap();
    assert!(link.starts_with("https://api.example.org/verify?token="), "{link}");
    // A slash is escaped, which browsers undo.
    assert!(mail["html"].as_str().unwrap().replace("&#x2f;", "/").contains(link));
    assert!(mail["raw"].as_str().unwrap().contains("Message-ID: <"));
    assert!(mail["headers"].as_array().unwrap().iter().any(|header| header["name"] == "Auto-Submitted"));
    let after = ask(&format!("to=ada@example.org&after={}", mail["number"])).await.unwrap().ok();
    assert_eq!(after["data"].as_array().unwrap().len(), 0);
    ask("wait=soon").await.unwrap().problem(400, "request/invalid");
    let proxied = client.get(&url).header("X-Forwarded-For", "192.0.2.1");
    reply(proxied).await.unwrap().problem(404, "request/not-found");
    let elsewhere = client.get(&url).header("Host", "evil.example");
    reply(elsewhere).await.unwrap().problem(404, "request/not-found");

    let off = prognet_http::bind(&edge(None), &world.node).await.unwrap();
    let off = client.get(format!("http://{}/v1/dev/messages", off.listen));
    reply(off).await.unwrap().problem(404, "request/not-found");
}

#[tokio::test]
async fn what_was_caught_is_there_after_a_crash_and_numbers_go_on() {
    let data = tempfile::tempdir().unwrap();
    let node = harness::Node::start(data.path());
    sign_up(&node, "grace@example.org", harness::PASSWORD).await.ok();
    let before = caught(&node, "wait=30s").await;

    let node = node.kill_and_restart();

    assert_eq!(before.len(), 1);
    assert_eq!(caught(&node, "").await, before);
    sign_up(&node, "bob@example.org", harness::PASSWORD).await.ok();
    assert_eq!(caught(&node, "after=1&wait=30s").await[0]["number"], 2);
}
