//! A closed-loop HTTP/1.1 client, as small as one can be: whatever it costs, it costs both sides alike.
//!
//! A connection sends its next request when the last was answered. Every answer must be a 2xx; the first
//! other one ends the run, so that a fast refusal never counts as speed.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    machine,
    pairs::{Sample, Stopwatch},
};

/// The largest answer it takes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Numbers requests over all windows, so that no two ask for the same change.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A request to send, in bytes; see [`request`].
pub type Request = Vec<u8>;

/// The bytes of a request with a JSON body; without a token it proves nobody.
#[must_use]
pub fn request(method: &str, path: &str, token: &str, headers: &str, body: &str) -> Request {
    let bearer = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{bearer}content-type: application/json\r\n\
         content-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The same as a POST by nobody.
#[must_use]
pub fn post(path: &str, body: &serde_json::Value) -> Request {
    request("POST", path, "", "", &body.to_string())
}

/// One of many things and its place among them, spread evenly over all as numbers go up: the same on both sides.
#[must_use]
pub fn pick(number: u64, things: &[String]) -> (usize, &str) {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let place = usize::try_from(spread).unwrap_or(0) % things.len().max(1);
    (place, things.get(place).map_or("", String::as_str))
}

/// One connection, kept alive.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Goes on with a 2xx.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn taken(self) -> anyhow::Result<Self> {
        if !(200..300).contains(&self.status) {
            bail!("answered {} {}", self.status, String::from_utf8_lossy(&self.body));
        }
        Ok(self)
    }

    /// The body of a 2xx, as JSON.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn ok(self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.taken()?.body)?)
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(4096) })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When the connection ends or what comes is no answer that says where it ends.
    pub async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream.write_all(request).await?;
        self.received.clear();
        loop {
            if let Some(answer) = parse(&self.received)? {
                return Ok(answer);
            }
            let count = self.stream.read_buf(&mut self.received).await?;
            if count == 0 || self.received.len() > ANSWER_BYTES_MAX {
                bail!("the connection ended in the middle of an answer");
            }
        }
    }
}

/// The answer, once all of it is there.
fn parse(received: &[u8]) -> anyhow::Result<Option<Answer>> {
    let Some(head) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(received.get(..head).unwrap_or_default())?;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    let rest = received.get(head + 4..).unwrap_or_default();
    let body = if let Some(length) = header(text, "content-length") {
        rest.get(..length.parse::<usize>()?).map(<[u8]>::to_vec)
    } else if status == 204 {
        Some(Vec::new())
    } else if header(text, "transfer-encoding") == Some("chunked") {
        chunks(rest)?
    } else {
        bail!("an answer that does not say where it ends")
    };
    Ok(body.map(|body| Answer { status, body }))
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let mut named = head.lines().filter_map(|line| line.split_once(": "));
    named.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}

/// A body that came in chunks (RFC 9112 s. 7.1), once the last is there.
fn chunks(mut rest: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|bytes| bytes == b"\r\n") {
        let size = std::str::from_utf8(rest.get(..line).unwrap_or_default())?;
        let (from, size) = (line + 2, usize::from_str_radix(size, 16)?);
        // A line ends each chunk, the last and empty one too.
        let Some(next) = rest.get(from + size + 2..) else { break };
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(rest.get(from..from + size).unwrap_or_default());
        rest = next;
    }
    Ok(None)
}

/// Load from a number of connections for a window, spread over the doors there are; `servers` are the processes whose
/// CPU it costs.
///
/// # Errors
/// When a connection fails or an answer is no 2xx.
pub fn drive(
    doors: &[SocketAddr],
    connections: usize,
    window: Duration,
    servers: &[u32],
    make: &(impl Fn(u64) -> Request + Sync),
) -> anyhow::Result<Sample> {
    work(doors, connections, window, servers, &async |connection: &mut Connection, number| {
        connection.ask(&make(number)).await?.taken().map(|_| ())
    })
}

/// The same with operations of several requests, or of requests that need the answers before.
///
/// # Errors
/// As the operation's.
pub fn work(
    doors: &[SocketAddr],
    connections: usize,
    window: Duration,
    servers: &[u32],
    operation: &impl AsyncFn(&mut Connection, u64) -> anyhow::Result<()>,
) -> anyhow::Result<Sample> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut open = Vec::with_capacity(connections);
        for door in doors.iter().cycle().take(connections) {
            open.push(Connection::open(*door).await?);
        }
        let (before, watch) = (machine::cpu_of(servers), Stopwatch::start());
        let loops = open.iter_mut().map(|connection| async move {
            let mut nanos = Vec::with_capacity(16 * 1024);
            while watch.elapsed() < window {
                let asked = Stopwatch::start();
                operation(connection, NEXT.fetch_add(1, Ordering::Relaxed)).await?;
                nanos.push(u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX));
            }
            anyhow::Ok(nanos)
        });
        let nanos: Vec<u64> = futures_util::future::try_join_all(loops).await?.concat();
        let (elapsed, cpu) = (watch.elapsed(), machine::cpu_of(servers).saturating_sub(before));
        Ok(Sample::of(nanos.len(), elapsed, cpu).with_latencies(nanos))
    })
}

/// Sends requests over a number of connections, each once, and hands the answers back in no order.
///
/// # Errors
/// When a connection fails or an answer is no 2xx.
pub fn send_all(
    address: SocketAddr,
    connections: usize,
    requests: &[Request],
) -> anyhow::Result<Vec<serde_json::Value>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let share = requests.len().div_ceil(connections).max(1);
        let loops = requests.chunks(share).map(|requests| async move {
            let mut connection = Connection::open(address).await?;
            let mut answers = Vec::with_capacity(requests.len());
            for request in requests {
                answers.push(connection.ask(request).await?.ok()?);
            }
            anyhow::Ok(answers)
        });
        Ok(futures_util::future::try_join_all(loops).await?.concat())
    })
}
