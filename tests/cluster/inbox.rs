//! The dev inbox of many nodes is one: what any of them caught is at each, and outlives all of them.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::{Cluster, NAMES};
use crate::{
    guesses,
    harness::{Node, PASSWORD, cluster::Seat, reply},
    people::caught,
};

fn address(person: usize) -> String {
    format!("grace.{person}@example.org")
}

async fn sign_up(node: &Node, person: usize) {
    let signed_up = guesses::sign_up(node, &address(person), PASSWORD).await;
    assert_eq!(signed_up.status, 202, "{signed_up:?}");
}

/// Some people at one node.
async fn sign_up_all(node: &Node, people: std::ops::Range<usize>) {
    join_all(people.map(|person| sign_up(node, person))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_one_node_caught_is_at_every_node_and_after_each_was_restarted() {
    let mut cluster = Cluster::of(&NAMES, &[]).await;
    let waiting = join_all(cluster.seats.iter().map(|seat| caught(seat.node(), "wait=30s")));
    let (found, ()) = tokio::join!(waiting, sign_up(cluster.seats[0].node(), 0));

    let first = found[0].clone();
    assert_eq!((first.len(), &first[0]["number"], &first[0]["to"]), (1, &json!(1), &json!(address(0))));
    for there in &found {
        assert_eq!(*there, first, "whoever caught it");
    }
    let sealed = "select count(*), count(*) filter (where position('example.org'::bytea in value) > 0) \
                  from model_row where projection = 'dev_inbox'";
    assert_eq!(cluster.query(sealed), "2|0", "nobody reads an address in the store");

    // Who sends mails changes with each of these.
    let mut people = 1;
    for _ in &NAMES {
        let (going, staying) = cluster.seats.split_first_mut().unwrap();
        let (code, ()) = tokio::join!(going.leave(), sign_up_all(staying[0].node(), people..people + 5));
        assert_eq!(code, Some(0));
        going.start().await;
        people += 5;
        cluster.seats.rotate_left(1);
    }

    for person in 0..people {
        let query = format!("to={}&wait=30s", address(person));
        assert_eq!(caught(cluster.seats[0].node(), &query).await.len(), 1, "{}", address(person));
    }
    let all = caught(cluster.seats[0].node(), "").await;
    let numbers: Vec<_> = all.iter().map(|mail| mail["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=people as u64).collect::<Vec<_>>());
    let to: BTreeMap<_, _> = all.iter().map(|mail| (mail["to"].to_string(), &mail["raw"])).collect();
    assert_eq!(to.len(), people, "each person once");
    assert_eq!(all[0], first[0]);
    for node in cluster.seats.iter().map(Seat::node) {
        assert_eq!(caught(node, "").await, all);
        let page = reply(node.stranger(Method::GET, "/dev/inbox/1")).await.unwrap().ok();
        assert!(page.as_str().unwrap().contains("Confirm your e-mail address"), "{page}");
    }
}
