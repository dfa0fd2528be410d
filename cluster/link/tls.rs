//! Who answers at the other end of a stream: both prove a certificate under the cluster's own CA, in their node's name.

mod anyone;

use std::{path::PathBuf, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ParsedCertificate, WebPkiClientVerifier},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::tables::NodeId;

/// The files of a node.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM certificates under which every node of the cluster proves its name.
    pub ca: PathBuf,
    /// This node's PEM certificate, with its chain; its DNS name is the node's name.
    pub certificate: PathBuf,
    /// The key of the certificate, in PEM.
    pub key: PathBuf,
}

/// Both ends' configurations.
#[derive(Clone)]
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    /// For whoever does not know yet who answers.
    knocker: TlsConnector,
}

/// Why one of two ends does not take the other's certificate. Each names the setting to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untrusted {
    /// Another authority's, or nobody's.
    #[error("its certificate is of another authority: `cluster.ca_file` of the two differ")]
    Authority,
    /// It is over, or has not begun.
    #[error("its certificate is over or not good yet: renew what is in its `cluster.certificate_file`")]
    Time,
    /// Its name is not among the certificate's.
    #[error(
        "its certificate is not in its name: the one of `cluster.certificate_file` must have its `cluster.node` as a \
         DNS name"
    )]
    Name,
    /// It is for something else, or broken.
    #[error("its certificate is none for a node: look at what is in its `cluster.certificate_file`")]
    Unfit,
    /// It shows none.
    #[error(
        "it shows no certificate: give it `cluster.ca_file`, `cluster.certificate_file` and `cluster.key_file`"
    )]
    None,
    /// It says something that is no TLS.
    #[error(
        "it does not speak TLS as this node does: give `cluster.ca_file` and what belongs to it to both or none"
    )]
    Plain,
    /// It speaks TLS to a node that does not.
    #[error(
        "it speaks TLS and this node does not: give this one `cluster.ca_file`, `cluster.certificate_file` and \
         `cluster.key_file`"
    )]
    Secured,
    /// The other end takes this node's for one of another authority's.
    #[error("it takes this node's certificate for another authority's: `cluster.ca_file` of the two differ")]
    OwnAuthority,
    /// The other end does not take this node's because of the time.
    #[error("this node's certificate is over or not good yet: renew what is in `cluster.certificate_file`")]
    OwnTime,
    /// The other end does not take this node's.
    #[error("it does not take this node's certificate: look at what is in `cluster.certificate_file`")]
    Own,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of a library's many kinds these are about certificates")]
impl Untrusted {
    /// Whether a stream broke because of a certificate, and why.
    pub(super) fn of(error: &std::io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidCertificate(why) => Some(Self::for_one(why)),
            rustls::Error::NoCertificatesPresented => Some(Self::None),
            rustls::Error::InvalidMessage(_) => Some(Self::Plain),
            rustls::Error::AlertReceived(alert) => Self::told(*alert),
            _ => None,
        }
    }

    const fn for_one(why: &CertificateError) -> Self {
        match why {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Time,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::Name,
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Authority,
            _ => Self::Unfit,
        }
    }

    const fn told(alert: AlertDescription) -> Option<Self> {
        match alert {
            AlertDescription::UnknownCA | AlertDescription::DecryptError => Some(Self::OwnAuthority),
            AlertDescription::CertificateExpired => Some(Self::OwnTime),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::AccessDenied => Some(Self::Own),
            _ => None,
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Tls {
    /// Reads the files; says which setting to look at.
    pub(super) fn read(files: &TlsFiles) -> Result<Self, (&'static str, Failure)> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let ca = |error: Failure| ("cluster.ca_file", error);
        let certificate = |error: Failure| ("cluster.certificate_file", error);
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(&files.ca).map_err(|error| ca(error.into()))? {
            roots.add(root.map_err(|error| ca(error.into()))?).map_err(|error| ca(error.into()))?;
        }
        let roots = Arc::new(roots);
        let chain = CertificateDer::pem_file_iter(&files.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| certificate(error.into()))?;
        let key =
            PrivateKeyDer::from_pem_file(&files.key).map_err(|error| ("cluster.key_file", error.into()))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let verifier = verifier.build().map_err(|error| ca(error.into()))?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| certificate(error.into()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| certificate(error.into()))?;
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| certificate(error.into()))?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain, key)
            .map_err(|error| certificate(error.into()))?;
        let mut knocker = client.clone();
        let anyone = anyone::of(roots, provider).map_err(|error| ca(error.into()))?;
        knocker.dangerous().set_certificate_verifier(anyone);
        Ok(Self {
            acceptor: Arc::new(server).into(),
            connector: Arc::new(client).into(),
            knocker: Arc::new(knocker).into(),
        })
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        Ok(self.acceptor.accept(stream).await?.into())
    }

    /// Whoever answers must have a certificate in the node's name.
    pub(super) async fn connect(
        &self,
        to: NodeId,
        stream: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = server_name(to).ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.connector.connect(name, stream).await?.into())
    }

    /// Whoever answers must have a certificate of the cluster's own authority, and is still to prove its name.
    pub(super) async fn knock(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let address = stream.peer_addr()?.ip();
        Ok(self.knocker.connect(ServerName::from(address), stream).await?.into())
    }
}

/// Whether the certificate at the other end is in the node's name.
pub(super) fn proves(stream: &TlsStream<TcpStream>, node: NodeId) -> bool {
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates().and_then(|chain| chain.first());
    let parsed = certificate.and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
    match (parsed, server_name(node)) {
        (Some(parsed), Some(name)) => rustls::client::verify_server_name(&parsed, &name).is_ok(),
        _ => false,
    }
}

fn server_name(node: NodeId) -> Option<ServerName<'static>> {
    ServerName::try_from(node.0.to_string()).ok()
}

/// Takes nobody: the handshake of whoever tries fails for want of a certificate.
pub(super) fn closed_door() -> Option<TlsAcceptor> {
    #[derive(Debug)]
    struct Nothing;

    impl rustls::server::ResolvesServerCert for Nothing {
        fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
            None
        }
    }

    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Nothing));
    Some(Arc::new(config).into())
}
