//! Databases for tests of the store, on a real PostgreSQL.

mod server;
mod taking;

pub(crate) use self::{server::Server, taking::Taking};
use super::{Settings, Store, connect::Connector};

impl Server {
    /// A database with nothing in it.
    pub(crate) fn database(&self) -> Database {
        let name = self.create();
        Database { url: self.url("postgres", &name), name }
    }

    /// Runs SQL in a database of it, as its owner.
    pub(crate) async fn execute(&self, database: &str, sql: &str) {
        execute(&self.url("postgres", database), sql).await;
    }

    /// Makes a user `stranger` with the password `right`, who may do nothing yet.
    pub(crate) async fn create_stranger(&self) {
        let sql = "do $$ begin create role stranger login password 'right'; \
            exception when duplicate_object or unique_violation then null; end $$";
        self.execute("postgres", sql).await;
    }
}

/// A database of a test.
pub(crate) struct Database {
    pub(crate) name: String,
    pub(crate) url: String,
}

impl Database {
    /// A new one on the shared server.
    pub(crate) fn fresh() -> Self {
        Server::shared().database()
    }

    /// Runs SQL in it, as its owner.
    pub(crate) async fn execute(&self, sql: &str) {
        execute(&self.url, sql).await;
    }

    /// Opens it.
    pub(crate) async fn store(&self) -> Store {
        Store::open(&settings(&self.url)).await.unwrap()
    }
}

async fn execute(url: &str, sql: &str) {
    let session = Connector::new(&settings(url)).unwrap().connect().await.unwrap();
    session.client.batch_execute(sql).await.unwrap();
}

/// Settings as a test needs them.
pub(crate) fn settings(url: &str) -> Settings {
    Settings { url: url.to_owned(), roots: None, pool_max: 4 }
}
