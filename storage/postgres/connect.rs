//! Reaching the server: its address, what proves who answers, and how every session is set.
//!
//! | `sslmode` of the address | what it proves |
//! | --- | --- |
//! | `disable` | nothing; everything can be read on the way |
//! | `prefer` (the default) | nothing: encrypted if the server offers it, and who sits between can take the offer away |
//! | `require` | that nobody listens in, not who answers; with `channel_binding=require` also that whoever answers knows the password's hash |
//! | any but `disable`, and [`Settings::roots`] given | who answers: a certificate for the address's host name, issued under one of the roots (elsewhere called `verify-full`) |
//!
//! A Unix socket is proven by the file system's permissions and knows no TLS.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::task::JoinSet;
use tokio_postgres::{
    Client, Config,
    config::{Host, SslMode, TargetSessionAttrs},
    error::SqlState,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::schema::MigrationError;

/// The oldest server that is tested, as `server_version_num` counts.
const OLDEST: i32 = 130_000;
/// A server that is there answers within this; the address may say otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A host that is gone is noticed after about three of these, not after the system's two hours.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The sessions' common part. Read committed is what the append relies on: it takes a row as it is once it holds its
/// lock, not as it was when the statement began. `remote_apply` is the one setting stronger than `on`. What is prepared
/// is planned once, not each time: planning the append took a third of its time, and all go by indexes, whatever is asked
/// for. Such a plan guesses high at ranges and limits that it does not know: nothing is compiled for the sake of that. A
/// server that does not know a setting goes without.
const EVERY_SESSION: &str = "set default_transaction_isolation = 'read committed'; \
    select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') <> 'remote_apply'; \
    select set_config(name, 'force_generic_plan', false) from pg_settings where name = 'plan_cache_mode'; \
    select set_config(name, 'off', false) from pg_settings where name = 'jit'";
/// A statement of the pool that takes longer is broken off: its caller has long been answered.
const READ_TIMEOUT: &str = "set statement_timeout = '30s'";
/// The writer's never are: broken off while it waits for a synchronous standby, a commit would count as done.
const NO_TIMEOUT: &str = "set statement_timeout = 0";

/// Where the database is.
#[derive(Clone)]
pub struct Settings {
    /// `postgres://user:password@host:port/database?sslmode=require`, or libpq's `host=... user=...`.
    pub url: String,
    /// A file of PEM certificates: the server must prove its host name under one of them.
    pub roots: Option<PathBuf>,
    /// Sessions for reads and rows at most; the journal has two more.
    pub pool_max: usize,
}

impl fmt::Debug for Settings {
    /// Without the address, which may hold a password.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Settings")
            .field("roots", &self.roots)
            .field("pool_max", &self.pool_max)
            .finish_non_exhaustive()
    }
}

/// Why a store does not open. The text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address cannot be read.
    #[error(
        "`storage.url` is no address of a PostgreSQL database: `postgres://user:password@host:5432/database`"
    )]
    Url(#[source] Option<tokio_postgres::Error>),
    /// The roots cannot be read, or contradict the address.
    #[error("{0}")]
    Tls(String, #[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// Nobody answers.
    #[error(
        "failed to reach PostgreSQL at {server}: does it run there, and are `storage.url` and its roots right?"
    )]
    Unreachable {
        /// Where.
        server: String,
        /// Why.
        source: tokio_postgres::Error,
    },
    /// The server does not let the user in.
    #[error("PostgreSQL at {server} does not let `{user}` in: check user and password of `storage.url`")]
    Refused {
        /// Where.
        server: String,
        /// Who.
        user: String,
        /// Why.
        source: tokio_postgres::Error,
    },
    /// There is no such database.
    #[error(
        "PostgreSQL at {server} has no database `{database}`: `create database {database} encoding 'UTF8'`"
    )]
    NoDatabase {
        /// Where.
        server: String,
        /// Which.
        database: String,
    },
    /// The user may not do what a store needs.
    #[error(
        "`{user}` of `storage.url` may not make or use the store's tables: let it own the database, or \
         `grant create, usage on schema public to {user}`"
    )]
    Permission {
        /// Who.
        user: String,
        /// Why.
        source: tokio_postgres::Error,
    },
    /// A setting of the server would lose what is acknowledged, or cannot hold it.
    #[error("PostgreSQL at {server} has `{setting}` {found}, needed is {needed}")]
    Setting {
        /// Where.
        server: String,
        /// Its name.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        needed: &'static str,
    },
    /// The schema belongs to a newer build.
    #[error("the store's schema is at migration {found}, this build knows {known}: run the newer build")]
    Newer {
        /// What is there.
        found: i32,
        /// What is known.
        known: i32,
    },
    /// A statement failed.
    #[error("failed to {what}")]
    Statement {
        /// What was attempted.
        what: String,
        /// Why.
        source: tokio_postgres::Error,
    },
    /// The pool's settings contradict each other.
    #[error("failed to make a pool of sessions: {0}")]
    Pool(String),
    /// The journal's thread does not start.
    #[error("failed to start the journal's thread")]
    Thread(#[source] std::io::Error),
    /// Nobody knows whether a migration into it is finished.
    #[error("failed to read whether everything was moved here")]
    Arrival(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A session of its own, and the task that moves its bytes; both end when dropped.
pub(super) struct Session {
    pub(super) client: Client,
    /// Has one task, which ends when the connection does.
    pub(super) link: JoinSet<()>,
}

/// How sessions are made.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
}

impl fmt::Display for Connector {
    /// The servers' addresses.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.config.get_ports();
        for (at, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432);
            let separator = if at == 0 { "" } else { ", " };
            match host {
                Host::Tcp(host) => write!(out, "{separator}{host}:{port}")?,
                Host::Unix(path) => write!(out, "{separator}{}:{port}", path.display())?,
            }
        }
        Ok(())
    }
}

impl Connector {
    pub(super) fn new(settings: &Settings) -> Result<Self, OpenError> {
        let mut config: Config = settings.url.parse().map_err(|error| OpenError::Url(Some(error)))?;
        if config.get_hosts().is_empty() || config.get_user().is_none() {
            return Err(OpenError::Url(None));
        }
        if config.get_application_name().is_none() {
            config.application_name("prognet");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(KEEPALIVE * 3);
        }
        config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(2);
        // A standby is no place to write to.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if settings.roots.is_some() {
            if config.get_ssl_mode() == SslMode::Disable {
                let contradiction =
                    "`sslmode=disable` of `storage.url` contradicts the roots: leave one of them out";
                return Err(OpenError::Tls(contradiction.to_owned(), None));
            }
            config.ssl_mode(SslMode::Require);
        }
        Ok(Self { config, tls: MakeRustlsConnect::new(tls(settings)?) })
    }

    /// The database and its servers, for people.
    pub(super) fn place(&self) -> String {
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        format!("database `{database}` at {self}")
    }

    pub(super) fn config(&self) -> Config {
        self.config.clone()
    }

    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }

    /// A session for statements that are never broken off.
    pub(super) async fn connect(&self) -> Result<Session, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        let mut link = JoinSet::new();
        link.spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(error = &error as &dyn std::error::Error, "lost a connection to the store");
            }
        });
        client.batch_execute(&format!("{EVERY_SESSION}; {NO_TIMEOUT}")).await?;
        Ok(Session { client, link })
    }

    /// What to change when the first session fails.
    pub(super) fn refused(&self, error: tokio_postgres::Error) -> OpenError {
        let (server, user) = (self.to_string(), self.config.get_user().unwrap_or_default().to_owned());
        let database = self.config.get_dbname().unwrap_or(&user).to_owned();
        match error.code() {
            Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
                OpenError::Refused { server, user, source: error }
            }
            Some(&SqlState::INVALID_CATALOG_NAME) => OpenError::NoDatabase { server, database },
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => OpenError::Permission { user, source: error },
            _ => OpenError::Unreachable { server, source: error },
        }
    }

    /// What to change when the schema cannot be used.
    pub(super) fn not_migrated(&self, error: MigrationError) -> OpenError {
        match error {
            MigrationError::Newer { found, known } => OpenError::Newer { found, known },
            MigrationError::Statement { what, source } => match source.code() {
                Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    let user = self.config.get_user().unwrap_or_default().to_owned();
                    OpenError::Permission { user, source }
                }
                _ => OpenError::Statement { what, source },
            },
        }
    }

    /// Refuses a server that cannot hold what is written, or whose word on a commit is worth nothing.
    pub(super) async fn check_server(&self, client: &Client) -> Result<(), OpenError> {
        const SETTINGS: &str = "select current_setting('server_version_num')::int4, \
            current_setting('server_version'), current_setting('server_encoding'), \
            current_setting('synchronous_commit'), coalesce(current_setting('fsync', true), 'on')";
        let found = client.query_one(SETTINGS, &[]).await;
        let row = found.map_err(|source| OpenError::Statement {
            what: "read the server's settings".to_owned(),
            source,
        })?;
        let wrong = |setting, found: &str, needed| {
            Err(OpenError::Setting { server: self.to_string(), setting, found: format!("`{found}`"), needed })
        };
        if row.get::<_, i32>(0) < OLDEST {
            return wrong("server_version", row.get(1), "13 or newer");
        }
        if row.get::<_, &str>(2) != "UTF8" {
            return wrong("server_encoding", row.get(2), "`UTF8`: `create database ... encoding 'UTF8'`");
        }
        if !["on", "remote_apply"].contains(&row.get::<_, &str>(3)) {
            return wrong("synchronous_commit", row.get(3), "`on` or `remote_apply`");
        }
        if row.get::<_, &str>(4) == "off" {
            tracing::warn!("PostgreSQL runs with `fsync = off`: a power cut may lose what is acknowledged");
        }
        Ok(())
    }
}

/// Sets a session of the pool.
pub(super) async fn for_reading(client: &Client) -> Result<(), tokio_postgres::Error> {
    client.batch_execute(&format!("{EVERY_SESSION}; {READ_TIMEOUT}")).await
}

fn tls(settings: &Settings) -> Result<ClientConfig, OpenError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder =
        builder.map_err(|error| OpenError::Tls("failed to set up TLS".to_owned(), Some(error.into())))?;
    let Some(path) = &settings.roots else {
        let unproven = Arc::new(Unproven(provider.signature_verification_algorithms));
        return Ok(builder.dangerous().with_custom_certificate_verifier(unproven).with_no_client_auth());
    };
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| {
        OpenError::Tls(format!("failed to read certificates of `{}`", path.display()), Some(error))
    };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.into()))? {
        roots
            .add(root.map_err(|error| unreadable(error.into()))?)
            .map_err(|error| unreadable(error.into()))?;
    }
    if roots.is_empty() {
        return Err(unreadable("there is none in it".into()));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Takes any certificate, as `sslmode=require` does elsewhere: the handshake then proves no name, but does prove that
/// the other end holds the certificate's key, which channel binding builds on.
#[derive(Debug)]
struct Unproven(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unproven {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
