//! What a server has to prove, and that it is checked.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// A file with the authority's certificate.
fn roots(directory: &Path, authority: &Authority) -> PathBuf {
    let path = directory.join("roots.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    path
}

/// The shared server behind TLS, under a certificate for a host name.
struct Front {
    port: u16,
    _accepting: JoinSet<()>,
}

impl Front {
    async fn start(authority: &Authority, host: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
        let acceptor =
            acceptor(certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = Server::shared().directory().join(".s.PGSQL.5432");
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, socket) = (acceptor.clone(), socket.clone());
                connections.spawn(async move { drop(pass(client, &acceptor, &socket).await) });
            }
        });
        Self { port, _accepting: accepting }
    }

    /// Opens a store over it.
    async fn open(
        &self,
        database: &Database,
        sslmode: &str,
        roots: Option<PathBuf>,
    ) -> Result<Store, OpenError> {
        let url = format!(
            "host=localhost hostaddr=127.0.0.1 port={} user=postgres dbname={} sslmode={sslmode}",
            self.port, database.name
        );
        Store::open(&Settings { roots, ..settings(&url) }).await
    }
}

fn acceptor(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> TlsAcceptor {
    let builder = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(std::sync::Arc::new(builder.with_single_cert(vec![certificate], key).unwrap()))
}

/// Says yes to TLS, as PostgreSQL does, and passes what is in it on.
async fn pass(mut client: TcpStream, acceptor: &TlsAcceptor, socket: &Path) -> io::Result<()> {
    // A request of 8 bytes asks for TLS.
    client.read_exact(&mut [0; 8]).await?;
    client.write_all(b"S").await?;
    let mut client = acceptor.accept(client).await?;
    copy_bidirectional(&mut client, &mut UnixStream::connect(socket).await?).await.map(drop)
}

/// What went wrong in the handshake.
fn handshake(result: Result<Store, OpenError>) -> String {
    match result {
        Err(OpenError::Unreachable { source, .. }) => {
            source.source().map(ToString::to_string).unwrap_or_default()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_roots_a_server_is_encrypted_to_and_proves_nothing() {
    let (database, front) = (Database::fresh().await, Front::start(&authority(), "elsewhere").await);
    for sslmode in ["prefer", "require"] {
        front.open(&database, sslmode, None).await.unwrap();
    }
}

#[tokio::test]
async fn under_roots_a_server_proves_the_name_it_is_reached_by() {
    let (database, directory, authority) =
        (Database::fresh().await, tempfile::tempdir().unwrap(), authority());
    let roots = roots(directory.path(), &authority);

    let proven =
        Front::start(&authority, "localhost").await.open(&database, "prefer", Some(roots.clone())).await;
    let named_otherwise =
        Front::start(&authority, "elsewhere").await.open(&database, "prefer", Some(roots.clone())).await;
    let of_others = Front::start(&super::tls::authority(), "localhost")
        .await
        .open(&database, "prefer", Some(roots))
        .await;

    proven.unwrap();
    assert!(handshake(named_otherwise).contains("not valid for name"));
    assert!(handshake(of_others).contains("invalid peer certificate"));
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let database = Database::fresh().await;
    let directory = tempfile::tempdir().unwrap();
    let roots = roots(directory.path(), &authority());
    // No TLS is known on a Unix socket.
    for (sslmode, roots) in [("require", None), ("prefer", Some(roots))] {
        let url = format!("{} sslmode={sslmode}", database.url);
        let opened = Store::open(&Settings { roots, ..settings(&url) }).await;
        assert_eq!(handshake(opened), "server does not support TLS");
    }
}

#[tokio::test]
async fn roots_that_cannot_be_used_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for path in [directory.path().join("missing.pem"), empty] {
        let opened =
            Store::open(&Settings { roots: Some(path.clone()), ..settings("host=localhost user=me") }).await;
        assert!(
            matches!(&opened, Err(OpenError::Tls(told, _)) if told.contains(path.to_str().unwrap())),
            "{opened:?}"
        );
    }
    let settings =
        Settings { roots: Some(directory.path().into()), ..settings("host=h user=me sslmode=disable") };
    let opened = Store::open(&settings).await;
    assert!(
        matches!(&opened, Err(OpenError::Tls(told, _)) if told.contains("sslmode=disable")),
        "{opened:?}"
    );
}
