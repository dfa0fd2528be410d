//! The long run: faults that a seed draws, one after the other, on nodes in network namespaces of their own, whose packets
//! are dropped without a word. It takes root and a quarter of an hour:
//!
//! ```sh
//! cargo test --locked --test prognet -- --ignored --nocapture long
//! ```
//! `FAULTS_SEED` repeats a run.

use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::process::Signal;

use super::{Cluster, NAMES, Seat, after, under_load};
use crate::{
    harness::{history::clients::Dice, postgres::run},
    strangers::links::Authority,
};

const ROUNDS: usize = 8;
/// Faults of a round, which is judged when they are over.
const FAULTS: usize = 6;

/// A bridge, and a namespace a node on it.
struct Network;

impl Network {
    fn new() -> Self {
        // What a run that was killed has left.
        drop(Self);
        let network = Self;
        ip("link add prognet type bridge");
        ip("addr add 10.77.0.254/24 dev prognet");
        ip("link set prognet up");
        for (at, name) in NAMES.iter().enumerate() {
            ip(&format!("netns add prognet-{name}"));
            ip(&format!("link add prognet-{name} type veth peer name eth0 netns prognet-{name}"));
            ip(&format!("link set prognet-{name} master prognet up"));
            ip(&format!("-n prognet-{name} addr add {}/24 dev eth0", address(at)));
            ip(&format!("-n prognet-{name} link set eth0 up"));
            ip(&format!("-n prognet-{name} link set lo up"));
        }
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let mut gone = vec!["link del prognet".to_owned()];
        gone.extend(NAMES.map(|name| format!("netns del prognet-{name}")));
        for arguments in gone {
            // What was not made cannot go.
            drop(Command::new("ip").args(arguments.split(' ')).output());
        }
    }
}

fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split(' ')));
}

fn address(at: usize) -> String {
    format!("10.77.0.{}", at + 1)
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// kill -9 of so many.
    Kill(usize),
    /// SIGSTOP for so long, then SIGCONT.
    Freeze(Duration),
    /// What one sends another is dropped.
    OneWay,
    /// What two send each other.
    BothWays,
    /// What one sends, and what is sent to it.
    Alone,
    /// SIGTERM, and started again.
    Restart,
}

impl Fault {
    fn drawn(dice: &mut Dice) -> Self {
        match dice.below(8) {
            0 => Self::Kill(1),
            1 => Self::Kill(2),
            2 => Self::Freeze(Duration::from_secs(2)),
            3 => Self::Freeze(Duration::from_secs(30)),
            4 => Self::OneWay,
            5 => Self::BothWays,
            6 => Self::Alone,
            _ => Self::Restart,
        }
    }
}

/// Packets of one node for another, dropped or passed.
fn way(verb: &str, from: usize, to: usize) {
    ip(&format!("-n prognet-{} route {verb} blackhole {}/32", NAMES[from], address(to)));
}

/// Nodes in the namespaces, which trust each other by certificates and share a database by its socket.
async fn cluster(authority: &Authority) -> Cluster {
    let mut cluster = Cluster::empty(&NAMES, &[]).await;
    let url = cluster.server().url("postgres", cluster.database());
    for (at, (seat, name)) in cluster.seats.iter_mut().zip(NAMES).enumerate() {
        seat.namespace = Some(format!("prognet-{name}"));
        seat.listen = format!("{}:8080", address(at));
        seat.set("PROGNET_CLUSTER_LISTEN", &format!("{}:7101", address(at)));
        seat.set("PROGNET_STORAGE_URL", &url);
        seat.set("PROGNET_MAIL_DEV_INBOX", "on");
        authority.vouches_at(seat, name);
    }
    cluster.start().await;
    cluster
}

#[expect(clippy::print_stderr, reason = "whoever reads why a round failed reads what was done in it")]
async fn happens(fault: Fault, dice: &mut Dice, seats: &mut [Seat], is_open: &[AtomicBool]) {
    let first = dice.below(NAMES.len());
    let second = (first + 1 + dice.below(NAMES.len() - 1)) % NAMES.len();
    eprintln!("{fault:?} {} {}", NAMES[first], NAMES[second]);
    let lasts = Duration::from_millis(500 + 500 * dice.below(20) as u64);
    let open = |at: usize, is: bool| is_open[at].store(is, Ordering::Relaxed);
    match fault {
        Fault::Kill(count) => {
            let killed = &[first, second][..count];
            for at in killed {
                open(*at, false);
                seats[*at].kill();
            }
            after(lasts).await;
            for at in killed {
                seats[*at].start().await;
                open(*at, true);
            }
        }
        Fault::Freeze(time) => {
            open(first, false);
            seats[first].signal(Signal::STOP);
            after(time).await;
            seats[first].signal(Signal::CONT);
            open(first, true);
        }
        Fault::OneWay | Fault::BothWays => {
            let both = [(first, second), (second, first)];
            let ways = if matches!(fault, Fault::OneWay) { &both[..1] } else { &both[..] };
            ways.iter().for_each(|(from, to)| way("add", *from, *to));
            after(lasts).await;
            ways.iter().for_each(|(from, to)| way("del", *from, *to));
        }
        Fault::Alone => {
            open(first, false);
            ip(&format!("link set prognet-{} down", NAMES[first]));
            after(lasts).await;
            ip(&format!("link set prognet-{} up", NAMES[first]));
            open(first, true);
        }
        Fault::Restart => {
            open(first, false);
            assert_eq!(seats[first].leave().await, Some(0));
            seats[first].start().await;
            open(first, true);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "as root, for a quarter of an hour: see the file's beginning"]
async fn long_run_of_drawn_faults_loses_nothing_and_doubles_nothing() {
    let _network = Network::new();
    let authority = Authority::new();
    let mut cluster = cluster(&authority).await;
    for round in 0..ROUNDS {
        under_load(&mut cluster, &format!("long-{round}"), async |seats, clients, is_open| {
            let mut dice = clients.dice();
            for _ in 0..FAULTS {
                let fault = Fault::drawn(&mut dice);
                happens(fault, &mut dice, seats, is_open).await;
                clients.goes_on(30).await;
            }
        })
        .await;
        cluster.is_even().await;
    }
}
