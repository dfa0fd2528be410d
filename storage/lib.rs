//! Storage: journal, snapshots, read models and keys. The only crate that knows bytes and engines.
//!
//! The contracts are `journal.rs`, `snapshots.rs`, `read_model.rs` and `keyring.rs`; the default engine is
//! `embedded.rs`. Everything but the journal and the keyring can be thrown away and is rebuilt.

mod address;
pub mod backup;
pub mod chain;
pub mod codec;
#[cfg(test)]
mod conformance;
pub mod embedded;
pub mod journal;
pub mod keyring;
pub mod leases;
pub mod migrate;
pub mod postgres;
pub mod read_model;
mod recent;
mod sealed;
pub mod snapshots;

pub use address::{AddressMap, EntityRef, Epoch, Home, HomeKind, Lsn, Name, Offset, Seq, ShardId};
pub use journal::Journal;
pub use read_model::ReadModel;
pub use snapshots::Snapshots;
