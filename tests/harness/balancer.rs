//! What stands in front of several nodes: one address, whose connections go to those that take them, in turn.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

type Targets = Arc<Mutex<Vec<SocketAddr>>>;

/// Passes connections on until it is dropped.
pub(crate) struct Balancer {
    address: SocketAddr,
    targets: Targets,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Balancer {
    /// One that leads nowhere yet, on a thread of its own.
    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, targets) = (listener.local_addr().unwrap(), Targets::default());
        let known = Arc::clone(&targets);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let mut connections = JoinSet::new();
            let mut turn = 0;
            while let Ok((client, _)) = listener.accept().await {
                let mut targets = known.lock().unwrap().clone();
                let next = turn % targets.len().max(1);
                targets.rotate_left(next);
                turn += 1;
                connections.spawn(pass(client, targets));
            }
        });
        Self { address, targets, runtime: Some(runtime) }
    }

    /// Leads to these from now on.
    pub(crate) fn lead_to(&self, targets: impl IntoIterator<Item = SocketAddr>) {
        *self.targets.lock().unwrap() = targets.into_iter().collect();
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// To the first that does not refuse; what one side ends, the other is told.
async fn pass(mut client: TcpStream, targets: Vec<SocketAddr>) {
    for target in targets {
        if let Ok(mut server) = TcpStream::connect(target).await {
            drop(server.set_nodelay(true));
            drop(client.set_nodelay(true));
            drop(copy_bidirectional(&mut client, &mut server).await);
            return;
        }
    }
}
