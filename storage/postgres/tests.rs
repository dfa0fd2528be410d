//! Opening a store: what is refused, and what the operator is told to change.

mod tls;

use std::error::Error as _;

use super::{
    testing::{Database, Server, settings},
    *,
};

/// Why a store at this address does not open.
async fn refused(url: &str) -> OpenError {
    match Store::open(&settings(url)).await {
        Ok(store) => panic!("{store:?} opens"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    for url in ["https://example.org", "postgres://", "postgres://user@", "host=localhost", "nonsense"] {
        let error = refused(url).await;
        assert!(matches!(error, OpenError::Url(_)), "{url}: {error:?}");
        assert!(error.to_string().contains("storage.url"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = refused(&format!("postgres://user:secret@127.0.0.1:{port}/db")).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    let told = format!("{error} {:?}", error.source());
    assert!(told.contains(&format!("127.0.0.1:{port}")) && !told.contains("secret"), "{told}");
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_database_are_told() {
    let server = Server::shared();
    let database = server.database().await;
    server.create_stranger().await;

    let error = refused(&(server.url("stranger", &database.name) + " password=wrong")).await;
    assert!(matches!(&error, OpenError::Refused { user, .. } if user == "stranger"), "{error:?}");

    let error = refused(&server.url("postgres", "nowhere")).await;
    assert!(matches!(&error, OpenError::NoDatabase { database, .. } if database == "nowhere"), "{error:?}");
}

#[tokio::test]
async fn a_user_who_may_make_no_tables_is_told_which_right_is_missing() {
    let server = Server::shared();
    let database = server.database().await;
    server.create_stranger().await;
    let url = server.url("stranger", &database.name) + " password=right";

    let error = refused(&url).await;

    assert!(matches!(error, OpenError::Permission { .. }), "{error:?}");
    assert!(error.to_string().contains("grant create, usage on schema public to stranger"), "{error}");
    // With just that right it opens.
    database.execute("grant create, usage on schema public to stranger").await;
    Store::open(&settings(&url)).await.unwrap();
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let server = Server::shared();
    let sql = "create database latin encoding 'LATIN1' locale 'C' template template0";
    server.execute("postgres", sql).await;
    let error = refused(&server.url("postgres", "latin")).await;
    assert!(matches!(&error, OpenError::Setting { setting: "server_encoding", .. }), "{error:?}");
    assert!(error.to_string().contains("LATIN1") && error.to_string().contains("UTF8"), "{error}");
}

#[tokio::test]
async fn sessions_wait_for_the_disk_whatever_the_server_s_default() {
    for (default, expected) in [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")] {
        let database = Database::fresh().await;
        let sql = format!("alter database {} set synchronous_commit = {default}", database.name);
        database.execute(&sql).await;
        let store = database.store().await;
        let session = store.connector.connect().await.unwrap();
        for client in [&session.client, &**store.client().await.unwrap()] {
            let row = client.query_one("show synchronous_commit", &[]).await.unwrap();
            assert_eq!(row.get::<_, &str>(0), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_open_a_new_store_at_once_all_find_its_schema() {
    let database = Database::fresh().await;
    let opened = futures_util::future::join_all((0..8).map(|_| database.store())).await;
    for store in opened {
        let client = store.client().await.unwrap();
        let row = client.query_one("select count(*) from migration", &[]).await.unwrap();
        assert!(row.get::<_, i64>(0) > 0);
    }
}

#[tokio::test]
async fn a_schema_of_a_newer_build_is_refused() {
    let database = Database::fresh().await;
    drop(database.store().await);
    database.execute("insert into migration (number, name) values (9999, 'later')").await;
    let error = refused(&database.url).await;
    assert!(matches!(error, OpenError::Newer { found: 9999, .. }), "{error:?}");
}

#[tokio::test]
async fn settings_and_store_show_no_password() {
    let url = "host=localhost user=me password=secret";
    assert!(!format!("{:?}", settings(url)).contains("secret"));
    assert!(!Connector::new(&settings(url)).unwrap().to_string().contains("secret"));
}
