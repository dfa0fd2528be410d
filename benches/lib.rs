//! What the benches share: pairs and their statistics, the processes they start, and the client.

pub mod appenders;
pub mod client;
pub mod figures;
pub mod machine;
pub mod node;
pub mod nodes;
pub mod pairs;
pub mod postgres;
pub mod shared;
pub mod world;
