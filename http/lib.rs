//! The edge: HTTP, WebSocket and SSE. Handlers prove the right, parse into types, ask, and answer.

#![cfg_attr(
    feature = "no-ui",
    allow(dead_code, reason = "what only the pages use is left in place without them")
)]

mod breached;
mod buckets;
mod caller;
mod cookies;
mod cors;
mod cursor;
mod gate;
mod input;
mod kept;
mod keys;
mod limits;
mod list;
mod live;
mod management;
#[cfg(feature = "no-ui")]
mod no_pages;
#[cfg(not(feature = "no-ui"))]
mod pages;
mod passwords;
mod peer;
mod place;
mod problem;
mod record;
mod request;
mod setup;
mod throttle;
mod tokens;
mod traffic;
mod v1;

use std::{
    any::Any,
    io,
    net::{SocketAddr, TcpListener},
    sync::atomic::AtomicUsize,
    time::Duration,
};

use actix_web::{App, HttpServer, dev::ServerHandle, middleware::from_fn, web};
use prognet_actors::{
    communication::DevInbox,
    ids::{AccountId, SessionId},
};
use prognet_supervisor::{Node, Unavailable};
use tokio::sync::watch;

#[cfg(feature = "no-ui")]
use no_pages as pages;

pub use breached::Breached;
pub use cors::Origins;
pub use limits::LimitSettings;
pub use passwords::HashCost;
pub use peer::Proxies;
pub use throttle::ThrottleSettings;
pub use v1::{sessions::AuthSettings, tenants::TenancySettings};

/// How long a connection may idle between requests: longer than what proxies in front usually keep (60 s),
/// so that it is they who close and no request is lost in between.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long the head of a request may take to arrive, and a closed connection to go.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a browser's session is told that it is used: an event each time, so not with every page.
const USED_EVERY: Duration = Duration::from_secs(3600);
/// Sessions of browsers remembered for that; one forgotten is told once more.
const USED_MAX: usize = 50_000;

/// Where to listen and how much to take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public door.
    pub listen: SocketAddr,
    /// Health and metrics.
    pub management: SocketAddr,
    /// Bytes of a body.
    pub body_bytes_max: usize,
    /// Bytes of all headers of a request together.
    pub header_bytes_max: usize,
    /// Time a request may take.
    pub deadline: Duration,
    /// Requests served at once; one more is answered 503 at once.
    pub in_flight_max: usize,
    /// Connections held at once; more wait to be taken.
    pub connections_max: usize,
    /// A peer that takes nothing of what is sent to it for this long is gone (RFC 5482): without it one that
    /// never reads would hold its connection for ever.
    pub untaken_max: Duration,
    /// Items of a page.
    pub page_items_max: usize,
    /// Proxies whose word about their clients counts.
    pub proxies: Proxies,
    /// Other sites whose scripts may ask the API.
    pub origins: Origins,
    /// How often one network may come to the doors that take strangers.
    pub limits: LimitSettings,
    /// How long tokens and sessions last.
    pub auth: AuthSettings,
    /// Where mails are caught, if they are.
    pub dev_inbox: Option<DevInbox>,
    /// How many tenants there may be, and how people come in.
    pub tenancy: TenancySettings,
    /// Which restoring of its database the data goes on from, 0 for none: cursors of before it are worth nothing.
    pub restored: u64,
}

/// What handlers share.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) node: Node,
    pub(crate) settings: Settings,
    /// What tokens name as their issuer.
    pub(crate) issuer: String,
    pub(crate) keys: keys::Keys,
    pub(crate) gate: gate::Gate,
    pub(crate) passwords: passwords::Passwords,
    pub(crate) throttle: throttle::Throttle,
    pub(crate) limits: limits::Limits,
    /// Sessions of browsers that were told lately that they are used.
    pub(crate) used: kept::Kept<(AccountId, SessionId), ()>,
    /// Told to whoever holds a stream open, when the node stops.
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) traffic: traffic::Traffic,
    /// Live sockets that are open.
    pub(crate) sockets: AtomicUsize,
}

impl Edge {
    /// Whether clients come by HTTPS, by what the public address says.
    pub(crate) fn is_https(&self) -> bool {
        self.issuer.starts_with("https://")
    }
}

/// A door that is open.
pub struct Serving {
    /// The public address, with the port it got.
    pub listen: SocketAddr,
    /// The management address, with the port it got.
    pub management: SocketAddr,
    /// The one-time setup link, while there is no admin.
    pub setup_link: Option<String>,
    edge: web::Data<Edge>,
    handles: Vec<ServerHandle>,
}

impl Serving {
    /// Closes live streams, takes no new requests, and returns once those taken are answered.
    pub async fn stop(&self) {
        self.edge.closing.send_replace(true);
        for handle in &self.handles {
            handle.stop(true).await;
        }
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Serving")
            .field("listen", &self.listen)
            .field("management", &self.management)
            .finish_non_exhaustive()
    }
}

/// Why a node does not serve.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address is taken, or not this machine's.
    #[error("failed to listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The system does not let the server run.
    #[error("failed to serve")]
    Serve(#[from] io::Error),
    /// The entities behind the door do not answer.
    #[error("failed to make the edge ready")]
    Node(#[from] Unavailable),
    /// argon2 does not work here.
    #[error("failed to prepare for hashing passwords: {0}")]
    Passwords(String),
}

fn door(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).map_err(|source| BindError::Listen { address, source })
}

/// How often a node asks for what its doors need, while other nodes are about to answer.
const READY_TRIES: usize = 10;

/// Knows the keys that sign and check tokens, and the token of the setup link, while there is no admin. Those who answer
/// may be nodes that have just started, too.
async fn ready(edge: &web::Data<Edge>) -> Result<Option<String>, Unavailable> {
    let (node, auth) = (&edge.node, &edge.settings.auth);
    let mut tries = 0;
    loop {
        let keys = edge.keys.look(node, auth.key_rotation, auth.access_lasts).await;
        let token = match keys {
            Ok(_) => setup::token(edge).await,
            Err(why) => Err(why),
        };
        tries += 1;
        match token {
            Err(why @ (Unavailable::Moving | Unavailable::Deadline | Unavailable::OutcomeUnknown))
                if tries < READY_TRIES =>
            {
                tracing::info!(%why, "the doors wait for other nodes");
                node.clock().sleep(why.retry_after()).await;
            }
            token => return token,
        }
    }
}

/// Binds both doors and serves; needs a tokio runtime.
///
/// # Errors
/// When an address is taken, or the node is not able to sign and check tokens.
pub async fn bind(settings: &Settings, node: &Node) -> Result<Serving, BindError> {
    let (public, management) = (door(settings.listen)?, door(settings.management)?);
    let (listen, management_at) = (public.local_addr()?, management.local_addr()?);
    let issuer = settings.auth.issuer.clone().unwrap_or_else(|| format!("http://{listen}"));
    let edge = web::Data::new(Edge {
        node: node.clone(),
        settings: settings.clone(),
        issuer,
        keys: keys::Keys::default(),
        gate: gate::Gate::default(),
        passwords: passwords(settings, node)?,
        throttle: throttle::Throttle::new(settings.auth.throttle),
        limits: limits::Limits::new(settings.limits),
        used: kept::Kept::new(USED_EVERY.min(settings.auth.refresh_idle / 4), USED_MAX),
        closing: watch::Sender::new(false),
        traffic: traffic::Traffic::default(),
        sockets: AtomicUsize::new(0),
    });
    let setup_link = ready(&edge).await?.map(|token| format!("{}/setup?token={token}", edge.issuer));
    let (limit, untaken_max) = (settings.body_bytes_max, settings.untaken_max);
    let public = {
        let edge = edge.clone();
        // Connections are limited per worker.
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        HttpServer::new(move || {
            App::new()
                .app_data(edge.clone())
                .app_data(web::PayloadConfig::new(limit))
                .configure(v1::routes)
                .configure(pages::routes)
                .default_service(web::to(problem::no_route))
                .wrap(from_fn(request::head_as_get))
                .wrap(from_fn(request::attend))
        })
        .on_connect(move |connection, _| give_up_on_deaf(connection, untaken_max))
        .workers(workers)
        .max_connections(settings.connections_max.div_ceil(workers))
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(HEAD_TIMEOUT)
        .disable_signals()
        .shutdown_timeout(5)
        .listen(public)?
    };
    let management = {
        let edge = edge.clone();
        HttpServer::new(move || {
            let app = App::new().app_data(edge.clone()).configure(management::routes);
            app.wrap(from_fn(request::head_as_get))
        })
        .workers(1)
        .disable_signals()
        .listen(management)?
    };
    let servers = [public.run(), management.run()];
    let handles = servers.iter().map(actix_web::dev::Server::handle).collect();
    for server in servers {
        #[expect(
            clippy::disallowed_methods,
            reason = "the server library restarts its own workers; it is stopped by its handle"
        )]
        drop(tokio::task::spawn(server));
    }
    #[expect(clippy::disallowed_methods, reason = "it looks for ever and fails at nothing")]
    drop(tokio::task::spawn(keys::keep(edge.clone())));
    Ok(Serving { listen, management: management_at, setup_link, edge, handles })
}

fn passwords(settings: &Settings, node: &Node) -> Result<passwords::Passwords, BindError> {
    let AuthSettings { hash_cost, password_rules, breached, .. } = &settings.auth;
    passwords::Passwords::new(node, *hash_cost, *password_rules, breached.clone())
        .map_err(|error| BindError::Passwords(error.to_string()))
}

fn give_up_on_deaf(connection: &dyn Any, untaken_max: Duration) {
    let untaken_max_ms = u32::try_from(untaken_max.as_millis()).unwrap_or(u32::MAX);
    if let Some(stream) = connection.downcast_ref::<tokio::net::TcpStream>()
        && let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, untaken_max_ms)
    {
        tracing::warn!(%error, "failed to bound how long a connection may take nothing");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_is_told_when_to_give_a_deaf_peer_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, _peer) = tokio::join!(listener.accept(), peer);
        let (stream, _) = accepted.unwrap();

        give_up_on_deaf(&stream, Duration::from_secs(120));

        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(), 120_000);
    }
}
