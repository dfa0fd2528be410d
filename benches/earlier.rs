//! C7: a node with its own storage, as this build makes it and as an earlier one does: what many nodes cost whoever has
//! one.
//!
//! `--earlier=FILE` names the binary of the earlier build; without it there is nothing to compare with.
#![expect(clippy::print_stdout, reason = "a bench's output is its result")]

use std::path::Path;

use prognet_benches::{
    client::{self, pick},
    machine,
    node::{self, Node},
    pairs::{Effort, Sample, Unit, alternate, print_head},
};

const TENANTS: u64 = 10_000;
const CONNECTIONS: usize = 64;
const AIM: f64 = 0.97;

fn main() -> anyhow::Result<()> {
    let named = std::env::args().find_map(|argument| Some(argument.strip_prefix("--earlier=")?.to_owned()));
    let Some(earlier) = named else {
        println!("\nC7 is not measured: no `--earlier=FILE` names the binary of an earlier build");
        return Ok(());
    };
    let effort = Effort::asked();
    let directory = machine::scratch()?;
    let now = Side::start(&node::binary()?, &directory.path().join("now"), effort)?;
    let before = Side::start(Path::new(&earlier), &directory.path().join("earlier"), effort)?;

    print_head("C7: a node alone, this build and an earlier one, 64 connections");
    let renamed = alternate("rename", effort.pairs, || now.rename(effort), || before.rename(effort))?;
    renamed.print(Unit::PerSecond, AIM);
    let read = alternate("read", effort.pairs, || now.read(effort), || before.read(effort))?;
    read.print(Unit::PerSecond, AIM);
    Ok(())
}

/// A build's node.
struct Side {
    node: Node,
    token: String,
    tenants: Vec<String>,
}

impl Side {
    fn start(binary: &Path, data: &Path, effort: Effort) -> anyhow::Result<Self> {
        let node = Node::start(binary, data)?;
        let token = node.sign_in(data)?;
        let tenants = node.found_tenants(&token, TENANTS / effort.shrink)?;
        Ok(Self { node, token, tenants })
    }

    fn rename(&self, effort: Effort) -> anyhow::Result<Sample> {
        self.drive("PATCH", effort, |number| format!(r#"{{"name":"Acme Rockets, branch {number:010}"}}"#))
    }

    fn read(&self, effort: Effort) -> anyhow::Result<Sample> {
        self.drive("GET", effort, |_| String::new())
    }

    fn drive(
        &self,
        method: &str,
        effort: Effort,
        body: impl Fn(u64) -> String + Sync,
    ) -> anyhow::Result<Sample> {
        let make = |number: u64| {
            let path = format!("/v1/tenants/{}", pick(number, &self.tenants).1);
            client::request(method, &path, &self.token, "", &body(number))
        };
        client::drive(&[self.node.address], CONNECTIONS, effort.window, &[self.node.pid()], &make)
    }
}
