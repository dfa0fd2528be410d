//! A proxy that knows PostgreSQL's messages and cuts the connection at the append.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::Notify,
    task::JoinSet,
};

/// Of so many appends the answers are never passed back; every fifth of them never reaches the server.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    left: AtomicUsize,
    /// That was the last.
    all_made: Notify,
}

impl Cuts {
    /// Waits until so many have been made.
    pub(super) async fn make(&self, count: usize) {
        self.left.store(count, Ordering::Relaxed);
        self.all_made.notified().await;
    }

    /// The place of the next cut from the end, if there is one to make.
    fn next(&self) -> Option<usize> {
        let left = self.left.load(Ordering::Relaxed);
        (left > 0).then_some(left)
    }

    fn made(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.all_made.notify_one();
        }
    }
}

/// Listens on a free port of the loopback until it is dropped.
pub(super) struct Proxy {
    pub(super) port: u16,
    pub(super) cuts: Arc<Cuts>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// One before the server with this socket.
    pub(super) async fn before(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cuts, mut accepting) = (Arc::new(Cuts::default()), JoinSet::new());
        let shared = Arc::clone(&cuts);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (socket, cuts) = (socket.clone(), Arc::clone(&shared));
                connections.spawn(async move { drop(pass(client, socket, &cuts).await) });
            }
        });
        Self { port, cuts, _accepting: accepting }
    }
}

/// Passes one connection on, until either side ends it or an append is cut.
async fn pass(client: TcpStream, socket: PathBuf, cuts: &Cuts) -> io::Result<()> {
    let server = UnixStream::connect(socket).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        cut = pass_requests(&mut from_client, &mut to_server, cuts) => cut,
        ended = tokio::io::copy(&mut from_server, &mut to_client) => ended.map(drop),
    }
}

/// Passes what the client says on; returns where it is to be cut.
async fn pass_requests(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    cuts: &Cuts,
) -> io::Result<()> {
    // The start-up message has no type.
    to.write_all(&message(from, &mut Vec::new()).await?).await?;
    let (mut appending, mut is_append) = (Vec::new(), false);
    loop {
        let mut kind = vec![from.read_u8().await?];
        let whole = message(from, &mut kind).await?;
        let body = &whole[5..];
        match whole[0] {
            // Parse: the statement's name, its text.
            b'P' if contains(body, b"insert into record") => appending = name(body).to_vec(),
            // Bind: the portal's name, the statement's.
            b'B' => is_append = !appending.is_empty() && name(&body[name(body).len() + 1..]) == appending,
            _ => {}
        }
        let cut = cuts.next().filter(|_| is_append);
        if whole[0] == b'B' && cut.is_some_and(|cut| cut % 5 == 0) {
            cuts.made();
            return Ok(());
        }
        to.write_all(&whole).await?;
        // Sync: with it the server has all of it.
        if whole[0] == b'S' && cut.is_some() {
            cuts.made();
            return Ok(());
        }
    }
}

/// Reads a message behind what of it was read already.
async fn message(from: &mut (impl AsyncRead + Unpin), begun: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    begun.extend(length.to_be_bytes());
    let start = begun.len();
    begun.resize(start + usize::try_from(length).unwrap() - 4, 0);
    from.read_exact(&mut begun[start..]).await?;
    Ok(std::mem::take(begun))
}

fn name(body: &[u8]) -> &[u8] {
    body.split(|byte| *byte == 0).next().unwrap()
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|window| window == text)
}
