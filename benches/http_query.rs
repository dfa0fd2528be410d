//! B3: one tenant by its id through HTTP, against the service of `baseline/` and its `SELECT`.
//!
//! Ours answers from the running entity, after the same proof of the caller as for a command. Once all of them
//! run; once the node may keep a tenth of them in memory, so that nine of ten reads bring one back and send
//! another away. The rival has all of its rows in the database's memory both times.

use std::path::Path;

use prognet_benches::{
    client::{self, pick},
    machine,
    node::{self, Node},
    pairs::{Effort, Sample, Unit, alternate, print_head},
    postgres::{Postgres, Service, TOKEN},
};

const TENANTS: u64 = 10_000;
const CONNECTIONS: usize = 64;

/// Connections to the database; nothing is written, so that sessions have nothing to set.
const SETTINGS: [(usize, &str); 3] = [(4, ""), (16, ""), (64, "")];

fn main() -> anyhow::Result<()> {
    let effort = Effort::asked();
    let directory = machine::scratch()?;
    let database = Postgres::start(&directory.path().join("postgres"))?;
    let data = directory.path().join("node");
    let count = TENANTS / effort.shrink;
    let tenants = found(&data, count)?;
    let start =
        |pool, _: &str| Service::start(env!("CARGO_BIN_EXE_baseline"), &database.url(), tenants.len(), pool);
    let rival = |service: &Service| read_rival(service, &database, &tenants, effort);
    let service = Service::fastest("read", &SETTINGS, start, rival)?;

    print_head("B3: one of 10 000 tenants by its id through HTTP, 64 connections");
    let resident = (count / 10).to_string();
    for (name, settings) in [
        ("all of them run", &[] as &[(&str, &str)]),
        ("a tenth may run", &[("PROGNET_ENTITIES_RESIDENT_MAX", &resident)]),
    ] {
        let node = Node::start_with(&node::binary()?, &data, settings)?;
        let token = node.sign_in(&data)?;
        let ours = || read_ours(&node, &token, &tenants, effort);
        alternate(name, effort.pairs, ours, || rival(&service))?.print(Unit::PerSecond, 2.0);
    }
    Ok(())
}

/// Founds the tenants through the API; returns their ids.
fn found(data: &Path, count: u64) -> anyhow::Result<Vec<String>> {
    let node = Node::start(&node::binary()?, data)?;
    node.found_tenants(&node.sign_in(data)?, count)
}

fn read_ours(node: &Node, token: &str, tenants: &[String], effort: Effort) -> anyhow::Result<Sample> {
    let make = |number| {
        let path = format!("/v1/tenants/{}", pick(number, tenants).1);
        client::request("GET", &path, token, "", "")
    };
    client::drive(&[node.address], CONNECTIONS, effort.window, &[node.pid()], &make)
}

fn read_rival(
    service: &Service,
    database: &Postgres,
    tenants: &[String],
    effort: Effort,
) -> anyhow::Result<Sample> {
    let make = |number| {
        let path = format!("/tenants/{}", pick(number, tenants).0);
        client::request("GET", &path, TOKEN, "", "")
    };
    let servers = [service.pid(), database.pid()?];
    client::drive(&[service.address], CONNECTIONS, effort.window, &servers, &make)
}
