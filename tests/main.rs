//! Promises of the product, through public doors: of real processes, or of a node in memory where the test drives the
//! clock.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test must fail loudly"
)]

mod api;
mod audit;
mod auth;
mod backup;
mod browser;
mod cli;
mod cluster;
mod config;
mod described;
mod disk;
mod doors;
mod durability;
mod edge;
mod faults;
mod going;
mod guesses;
mod harness;
mod hostile;
mod invitations;
mod live;
mod logs;
mod mail;
mod members;
mod migrate;
mod overload;
mod pages;
mod people;
mod readme;
mod sagas;
mod security;
mod sessions;
mod store;
mod strangers;
mod sweep;
mod switching;
mod tidy;
mod upgrade;
