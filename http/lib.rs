//! The edge: HTTP and SSE. Handlers prove the right, parse into types, ask, and answer.

mod caller;
mod cursor;
mod management;
mod problem;
mod v1;

use std::{io, net::SocketAddr, time::Duration};

use actix_web::{App, HttpServer, dev::ServerHandle, web};
use prognet_supervisor::Node;

pub use caller::operator_token;

/// Where to listen and how much to take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The public door.
    pub listen: SocketAddr,
    /// Health and metrics.
    pub management: SocketAddr,
    /// Bytes of a body.
    pub body_bytes_max: usize,
    /// Time a request may take.
    pub deadline: Duration,
    /// Items of a page.
    pub page_items_max: usize,
}

/// What handlers share.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) node: Node,
    pub(crate) settings: Settings,
}

/// A door that is open.
pub struct Serving {
    /// The public address, with the port it got.
    pub listen: SocketAddr,
    /// The management address, with the port it got.
    pub management: SocketAddr,
    /// Stops both.
    pub handles: Vec<ServerHandle>,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Serving")
            .field("listen", &self.listen)
            .field("management", &self.management)
            .finish_non_exhaustive()
    }
}

/// Binds both doors and serves; needs a tokio runtime.
///
/// # Errors
/// When an address is taken.
pub fn bind(settings: &Settings, node: &Node) -> io::Result<Serving> {
    let edge = web::Data::new(Edge { node: node.clone(), settings: settings.clone() });
    let limit = settings.body_bytes_max;
    let public = {
        let edge = edge.clone();
        HttpServer::new(move || {
            App::new()
                .app_data(edge.clone())
                .app_data(web::PayloadConfig::new(limit))
                .configure(v1::routes)
                .default_service(web::to(problem::no_route))
        })
        .disable_signals()
        .shutdown_timeout(5)
        .bind(settings.listen)?
    };
    let management = HttpServer::new(move || App::new().app_data(edge.clone()).configure(management::routes))
        .workers(1)
        .disable_signals()
        .bind(settings.management)?;
    let address =
        |addresses: Vec<SocketAddr>| addresses.first().copied().ok_or(io::ErrorKind::AddrNotAvailable);
    let (listen, management_at) = (address(public.addrs())?, address(management.addrs())?);
    let servers = [public.run(), management.run()];
    let handles = servers.iter().map(actix_web::dev::Server::handle).collect();
    for server in servers {
        drop(tokio::task::spawn(server));
    }
    Ok(Serving { listen, management: management_at, handles })
}
