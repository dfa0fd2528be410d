//! Promises of the product, through its public doors: real processes, killed for real.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test must fail loudly"
)]

mod api;
mod auth;
mod backup;
mod cli;
mod config;
mod disk;
mod durability;
mod edge;
mod faults;
mod guesses;
mod harness;
mod invitations;
mod live;
mod logs;
mod members;
mod overload;
mod readme;
mod sweep;
mod tidy;
