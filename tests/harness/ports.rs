//! Addresses for processes that are told where to listen before they start.

use std::{
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below what systems take the ports of outgoing connections from (Linux: 32768 and up): one that is free stays so.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address of this machine that nobody listens at, and that is given out once.
pub(crate) fn free_address() -> String {
    // Another run of the tests may be at it: each begins somewhere else.
    let start = std::process::id() % u32::from(COUNT);
    let start = u16::try_from(start).unwrap();
    let address = std::iter::repeat_with(|| {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        SocketAddr::from(([127, 0, 0, 1], port))
    });
    let mut free = address.take(usize::from(COUNT)).filter(|address| TcpListener::bind(address).is_ok());
    free.next().expect("no port is free").to_string()
}
