//! The nodes of a cluster.

use reqwest::Method;
use serde_json::json;

use super::{Client, Error};
use crate::{NodeList, ShardList};

impl Client {
    /// The nodes of the cluster.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn nodes(&self) -> Result<NodeList, Error> {
        self.ask(self.get(&["system", "nodes"], &[])?).await
    }

    /// The shards of the cluster, those of one service or one owner if wanted.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn shards(&self, service: Option<&str>, owner: Option<&str>) -> Result<ShardList, Error> {
        self.ask(self.get(&["system", "shards"], &[("service", service), ("owner", owner)])?).await
    }

    /// Lets a node give its shards away and leave.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn drain_node(&self, node: &str) -> Result<(), Error> {
        let request = self.write(Method::POST, &["system", "nodes", node, "drain"], &json!({}))?;
        self.retried(&request, true).await.map(drop)
    }
}
