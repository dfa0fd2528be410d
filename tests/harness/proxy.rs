//! A TCP proxy on the loopback that a test can cut, stall and slow down, so that no test needs to be root.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
};

/// How the statement begins that appends to the journal, in the message that prepares it: behind its name, and a zero.
const APPEND: &[u8] = b"\0-- Appends a batch";

/// What happens to bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Connections break, and new ones do at once.
    pub(crate) is_cut: bool,
    /// The same, of nodes with these names that dial through it.
    pub(crate) cut_off: BTreeSet<String>,
    /// Connections stay, and nothing passes.
    pub(crate) is_stalled: bool,
    /// Everything passes this much later.
    pub(crate) delay: Duration,
}

/// Where it leads.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Passes connections on until it is dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    rules: watch::Sender<Rules>,
    cuts: Arc<Cuts>,
    kept: Arc<Kept>,
    _runtime: Arc<Mutex<Option<tokio::runtime::Runtime>>>,
}

impl Proxy {
    /// One that passes everything, on a thread of its own.
    pub(crate) fn before(target: Target) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (rules, given) = watch::channel(Rules::default());
        let cuts = Arc::new(Cuts::default());
        let kept = Arc::<Kept>::default();
        let (counted, keeping) = (Arc::clone(&cuts), Arc::clone(&kept));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (cuts, kept) = (Arc::clone(&counted), Arc::clone(&keeping));
                connections.spawn(pass(client, target.clone(), given.clone(), cuts, kept));
            }
        });
        Self { port, rules, cuts, kept, _runtime: Arc::new(Mutex::new(Some(runtime))) }
    }

    /// Other rules from now on, for connections that are open, too.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Rules)) {
        self.rules.send_modify(change);
    }

    /// So many of the next appends are sent, and their connections break: every other one as soon as it was sent, the
    /// rest once it was answered, before anybody hears of it.
    pub(crate) fn cut_appends(&self, count: usize) {
        self.cuts.left.store(count, Ordering::Relaxed);
    }

    /// Appends cut so far.
    pub(crate) fn appends_cut(&self) -> usize {
        self.cuts.done.load(Ordering::Relaxed)
    }

    /// Keeps what passes from now on, over connections that are yet to be opened.
    pub(crate) fn keep(&self) {
        self.kept.is_wanted.store(true, Ordering::Relaxed);
    }

    /// What was kept, each way of each connection by itself.
    pub(crate) fn kept(&self) -> Vec<Vec<u8>> {
        self.kept.ways.lock().unwrap().clone()
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self._runtime.lock().unwrap().take() {
            runtime.shutdown_background();
        }
    }
}

/// Appends to be cut, and those that were.
#[derive(Default)]
struct Cuts {
    left: AtomicUsize,
    done: AtomicUsize,
}

/// What passed, if somebody wants to know.
#[derive(Default)]
struct Kept {
    is_wanted: AtomicBool,
    ways: Mutex<Vec<Vec<u8>>>,
}

impl Kept {
    /// Places for both ways of a connection.
    fn places(&self) -> Option<[usize; 2]> {
        let mut ways = self.ways.lock().unwrap();
        let first = ways.len();
        self.is_wanted.load(Ordering::Relaxed).then(|| {
            ways.extend([Vec::new(), Vec::new()]);
            [first, first + 1]
        })
    }

    fn keep(&self, place: Option<usize>, bytes: &[u8]) {
        if let Some(place) = place {
            self.ways.lock().unwrap()[place].extend(bytes);
        }
    }
}

/// What is to be done with bytes that came.
enum Passing {
    On,
    OnAndEnd,
    End,
}

/// Cuts the appends of one connection.
struct Cutter {
    cuts: Arc<Cuts>,
    /// What a use of the append has in it, once it is prepared.
    append: Mutex<Option<Vec<u8>>>,
    awaits_answer: AtomicBool,
}

impl Cutter {
    fn asked(&self, bytes: &[u8]) -> Passing {
        let mut append = self.append.lock().unwrap();
        let Some(known) = &*append else {
            *append = prepared(bytes);
            return Passing::On;
        };
        let one_less = |left: usize| left.checked_sub(1);
        let is_append = bytes.windows(known.len()).any(|window| window == known);
        if !is_append || self.cuts.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_err()
        {
            return Passing::On;
        }
        if self.cuts.done.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return Passing::OnAndEnd;
        }
        self.awaits_answer.store(true, Ordering::Relaxed);
        Passing::On
    }

    fn answered(&self) -> Passing {
        if self.awaits_answer.load(Ordering::Relaxed) { Passing::End } else { Passing::On }
    }
}

/// The append's name, `s` and a number, between zeros: as every use of it begins.
fn prepared(bytes: &[u8]) -> Option<Vec<u8>> {
    let end = bytes.windows(APPEND.len()).position(|window| window == APPEND)?;
    let digits = bytes[..end].iter().rev().take_while(|letter| letter.is_ascii_digit()).count();
    let start = end.checked_sub(digits + 1)?;
    Some([b"\0", &bytes[start..end], b"\0"].concat())
}

async fn pass(
    client: TcpStream,
    target: Target,
    mut rules: watch::Receiver<Rules>,
    cuts: Arc<Cuts>,
    kept: Arc<Kept>,
) -> io::Result<()> {
    if rules.borrow().is_cut {
        return Ok(());
    }
    client.set_nodelay(true)?;
    let server: Box<dyn Stream> = match target {
        Target::Tcp(address) => {
            let server = TcpStream::connect(address).await?;
            server.set_nodelay(true)?;
            Box::new(server)
        }
        Target::Unix(path) => Box::new(UnixStream::connect(path).await?),
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    // A node says its name first.
    let mut first = vec![0; 4096];
    let length = from_client.read(&mut first).await?;
    let name = name_in(&first[..length]);
    let is_over =
        |rules: &Rules| rules.is_cut || name.as_ref().is_some_and(|name| rules.cut_off.contains(name));
    if is_over(&rules.borrow()) {
        return Ok(());
    }
    let [there, back] = kept.places().map_or([None; 2], |places| places.map(Some));
    kept.keep(there, &first[..length]);
    to_server.write_all(&first[..length]).await?;
    let (one, two) = (rules.clone(), rules.clone());
    let cutter = Cutter { cuts, append: Mutex::default(), awaits_answer: AtomicBool::new(false) };
    let asked = |bytes: &[u8]| {
        kept.keep(there, bytes);
        cutter.asked(bytes)
    };
    let answered = |bytes: &[u8]| {
        kept.keep(back, bytes);
        cutter.answered()
    };
    tokio::select! {
        ended = copy(&mut from_client, &mut to_server, one, asked) => ended,
        ended = copy(&mut from_server, &mut to_client, two, answered) => ended,
        _ = rules.wait_for(is_over) => Ok(()),
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut rules: watch::Receiver<Rules>,
    passing: impl Fn(&[u8]) -> Passing,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut bytes).await?;
        if length == 0 {
            return Ok(());
        }
        let delay = match rules.wait_for(|rules| !rules.is_stalled).await {
            Ok(rules) => rules.delay,
            Err(_) => return Ok(()),
        };
        if !delay.is_zero() {
            tokio::time::sleep_until(tokio::time::Instant::now() + delay).await;
        }
        let passing = passing(&bytes[..length]);
        if !matches!(passing, Passing::End) {
            to.write_all(&bytes[..length]).await?;
        }
        if !matches!(passing, Passing::On) {
            return Ok(());
        }
    }
}

/// The name in a hello (MessagePack: the key `node`, then a short text).
fn name_in(bytes: &[u8]) -> Option<String> {
    let at = bytes.windows(5).position(|window| window == b"\xa4node")?;
    let length = usize::from(bytes.get(at + 5)?.checked_sub(0xa0)?);
    let name = bytes.get(at + 6..at + 6 + length)?;
    Some(String::from_utf8_lossy(name).into_owned())
}

mod tests {
    use super::*;

    /// As PostgreSQL's `Parse` has it: its length ends with a letter's byte here.
    #[test]
    fn an_append_is_known_by_the_name_it_was_prepared_under() {
        let parse = |name: &str, text: &str| {
            [b"P\0\0\x0eQ", name.as_bytes(), b"\0", text.as_bytes(), b"\0\0\0"].concat()
        };

        let look = parse("s11", "-- What became of a batch");
        let append = parse("s12", "-- Appends a batch to its shards");
        assert_eq!(prepared(&[look.clone(), append, look.clone()].concat()), Some(b"\0s12\0".to_vec()));
        assert_eq!(prepared(&look), None);
        assert_eq!(prepared(b"\0-- Appends a batch"), None);
    }
}
