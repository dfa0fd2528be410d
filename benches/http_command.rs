//! B1, B2 and C2: a durable command through HTTP, against the service of `baseline/` over PostgreSQL. In C2 ours stores
//! in the very same database server.
//!
//! The command renames one of many tenants: the same body in, the same fields out, durable before it is
//! answered on both sides. Ours is the released binary with authentication, limits, tracing and projections
//! on; it journals an event, and with an `Idempotency-Key` the reply as well. The rival is first tried with
//! several settings, and the fastest of them is the one that is measured against.

use std::path::Path;

use prognet_benches::{
    client::{self, pick},
    machine,
    node::{self, Node, stored_in},
    pairs::{Effort, Sample, Unit, alternate, print_head},
    postgres::{Postgres, Service, TOKEN},
};

const TENANTS: u64 = 10_000;

/// Connections to the database, and options of its sessions: all durable, all worth trying.
const SETTINGS: [(usize, &str); 5] = [
    (4, ""),
    (16, ""),
    (64, ""),
    (16, "-c commit_delay=50 -c commit_siblings=2"),
    (64, "-c commit_delay=50 -c commit_siblings=2"),
];

fn main() -> anyhow::Result<()> {
    let effort = Effort::asked();
    let directory = machine::scratch()?;
    let database = Postgres::start(&directory.path().join("postgres"))?;
    let bench = Bench::start(&directory.path().join("node"), &database, &[], effort)?;
    let service = bench.fastest_rival()?;
    bench.measure(&service, "B1: durable command through HTTP, 64 connections", 64, 2.5)?;
    bench.measure(&service, "B2: durable command through HTTP, 1 connection", 1, 0.9)?;
    drop(bench);
    let (url, data) = (database.create("prognet")?, directory.path().join("node-of-database"));
    let bench = Bench::start(&data, &database, &stored_in(&url), effort)?;
    bench.measure(&service, "C2: the same with PostgreSQL as the store of both, 64 connections", 64, 2.0)
}

/// Both sides, running.
struct Bench<'a> {
    node: Node,
    token: String,
    tenants: Vec<String>,
    database: &'a Postgres,
    effort: Effort,
}

impl<'a> Bench<'a> {
    fn start(
        data: &Path,
        database: &'a Postgres,
        settings: &[(&str, &str)],
        effort: Effort,
    ) -> anyhow::Result<Self> {
        let node = Node::start_with(&node::binary()?, data, settings)?;
        let token = node.sign_in(data)?;
        let tenants = node.found_tenants(&token, TENANTS / effort.shrink)?;
        Ok(Self { node, token, tenants, database, effort })
    }

    fn measure(&self, service: &Service, title: &str, connections: usize, aim: f64) -> anyhow::Result<()> {
        print_head(title);
        for (name, is_keyed, path) in [
            ("plain / one row", false, "/tenants"),
            ("plain / row and outbox", false, "/outbox/tenants"),
            ("with key / row and outbox", true, "/outbox/tenants"),
        ] {
            let pairs = alternate(
                name,
                self.effort.pairs,
                || self.ours(connections, is_keyed),
                || self.rival(service, connections, path),
            )?;
            pairs.print(Unit::PerSecond, aim);
        }
        Ok(())
    }

    fn ours(&self, connections: usize, is_keyed: bool) -> anyhow::Result<Sample> {
        let make = |number: u64| {
            let path = format!("/v1/tenants/{}", pick(number, &self.tenants).1);
            let key = if is_keyed { format!("idempotency-key: {number}\r\n") } else { String::new() };
            client::request("PATCH", &path, &self.token, &key, &body(number))
        };
        // The database is idle while ours keeps everything itself.
        let servers = [self.node.pid(), self.database.pid()?];
        client::drive(&[self.node.address], connections, self.effort.window, &servers, &make)
    }

    fn rival(&self, service: &Service, connections: usize, path: &str) -> anyhow::Result<Sample> {
        let make = |number: u64| {
            let path = format!("{path}/{}", pick(number, &self.tenants).0);
            client::request("PATCH", &path, TOKEN, "", &body(number))
        };
        let servers = [service.pid(), self.database.pid()?];
        client::drive(&[service.address], connections, self.effort.window, &servers, &make)
    }

    fn fastest_rival(&self) -> anyhow::Result<Service> {
        let start = |pool, options: &str| {
            let url = format!("{} options='{options}'", self.database.url());
            Service::start(env!("CARGO_BIN_EXE_baseline"), &url, self.tenants.len(), pool)
        };
        Service::fastest("one row", &SETTINGS, start, |service| self.rival(service, 64, "/tenants"))
    }
}

fn body(number: u64) -> String {
    format!(r#"{{"name":"Acme Rockets and Roller Skates, branch {number:010}"}}"#)
}
