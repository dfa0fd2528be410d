//! SMTP (RFC 5321): hands mails to one server, over connections of its own.
//!
//! The library's pool takes a connection back in the middle of a mail when a time-out ends it, and then reads
//! one mail's answer as another's; here only a connection whose last word was heard is used again.

use std::{
    fmt, io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lettre::{
    Address,
    transport::smtp::{
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, Certificate, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailParameter},
    },
};
use tokio::{net::TcpStream, time::Instant};

use super::{Parcel, wire};
use crate::{communication::message::Outcome, values::Email};

type SmtpError = lettre::transport::smtp::Error;

/// Connections kept for the next mails: as many as are usually under way.
const IDLE_MAX: usize = 8;
/// How long one is kept; servers close theirs after minutes.
const IDLE_LASTS: Duration = Duration::from_secs(30);
/// Characters kept of what a server said.
const SAID_MAX: usize = 300;

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// By STARTTLS; a server without it gets nothing.
    Starttls,
    /// By TLS from the first byte.
    Tls,
    /// Not at all.
    None,
}

/// The server, and how to come in.
#[derive(Clone)]
pub struct Settings {
    /// Its name, which its certificate must have.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// User and password, if it wants them.
    pub login: Option<(String, String)>,
    /// Certificates (PEM) to trust beside the system's.
    pub trusted: Option<Vec<u8>>,
    /// How long one mail may take.
    pub timeout: Duration,
    /// How this node introduces itself: a domain.
    pub hello: String,
}

impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Settings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

/// A server that mails are handed to.
pub struct Smtp {
    settings: Settings,
    hello: ClientId,
    tls: Option<TlsParameters>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    since: Instant,
    connection: AsyncSmtpConnection,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Smtp").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Why a mail was not handed over.
#[derive(Debug)]
enum Trouble {
    /// There is no way to the server.
    Unreachable(io::Error),
    /// It did not let us in.
    Greeting(SmtpError),
    /// It did not take the mail.
    Answer(SmtpError),
    /// An address that no server would take.
    Address(&'static str),
}

impl Smtp {
    /// A server; nothing is sent yet.
    ///
    /// # Errors
    /// When the certificates to trust are none.
    pub fn new(settings: Settings) -> Result<Self, SmtpError> {
        let tls = match settings.security {
            Security::None => None,
            Security::Starttls | Security::Tls => {
                let mut parameters = TlsParameters::builder(settings.host.clone());
                if let Some(pem) = &settings.trusted {
                    parameters = parameters.add_root_certificate(Certificate::from_pem(pem)?);
                }
                Some(parameters.build()?)
            }
        };
        let hello = ClientId::Domain(settings.hello.clone());
        Ok(Self { settings, hello, tls, idle: Mutex::default() })
    }

    /// How long one mail may take.
    pub(in super::super) const fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    pub(super) async fn hand_over(&self, parcel: &Parcel) -> Outcome {
        match tokio::time::timeout(self.settings.timeout, self.send(parcel)).await {
            Ok(Ok(())) => Outcome::Accepted,
            Ok(Err(trouble)) => trouble.outcome(&parcel.to),
            Err(_elapsed) => Outcome::Failed(format!(
                "the server did not finish within {} ms",
                self.settings.timeout.as_millis()
            )),
        }
    }

    async fn send(&self, parcel: &Parcel) -> Result<(), Trouble> {
        const NOT_SMTP: Trouble = Trouble::Address("the address is not one for SMTP");
        let (from, to) = (wire::address(&parcel.from), wire::address(&parcel.to));
        let (Ok(from), Ok(to)) = (from, to) else { return Err(NOT_SMTP) };
        let mut connection = match self.begun_again(&from, &to).await {
            Some(connection) => connection,
            None => {
                let mut connection = self.connect().await?;
                begin(&mut connection, &from, &to).await?;
                connection
            }
        };
        connection.command(Rcpt::new(to, Vec::new())).await.map_err(Trouble::Answer)?;
        connection.command(Data).await.map_err(Trouble::Answer)?;
        connection.message(&parcel.raw).await.map_err(Trouble::Answer)?;
        self.park(connection);
        Ok(())
    }

    /// A used connection on which the server takes one more mail. If it does not, a new one will tell why.
    async fn begun_again(&self, from: &Address, to: &Address) -> Option<AsyncSmtpConnection> {
        let Idle { since, mut connection } =
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        if since.elapsed() > IDLE_LASTS {
            return None;
        }
        begin(&mut connection, from, to).await.ok().map(|()| connection)
    }

    fn park(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.since.elapsed() <= IDLE_LASTS);
        if idle.len() < IDLE_MAX {
            idle.push(Idle { since: Instant::now(), connection });
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Trouble> {
        let Settings { host, port, security, timeout, login, .. } = &self.settings;
        let server = (host.as_str(), *port);
        let mut connection = match security {
            Security::Tls => {
                let (hello, tls) = (&self.hello, self.tls.clone());
                AsyncSmtpConnection::connect_tokio1(server, Some(*timeout), hello, tls, None).await
            }
            Security::Starttls | Security::None => {
                let stream = TcpStream::connect(server).await.map_err(Trouble::Unreachable)?;
                // Commands are small and wait for each other: Nagle's algorithm would cost 40 ms a mail.
                stream.set_nodelay(true).map_err(Trouble::Unreachable)?;
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await
            }
        }
        .map_err(Trouble::Greeting)?;
        if let (Security::Starttls, Some(tls)) = (security, &self.tls) {
            connection.starttls(tls.clone(), &self.hello).await.map_err(Trouble::Greeting)?;
        }
        if let Some((user, password)) = login {
            let credentials = Credentials::new(user.clone(), password.clone());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(Trouble::Greeting)?;
        }
        Ok(connection)
    }
}

/// Begins a mail: the server hears who sends.
async fn begin(connection: &mut AsyncSmtpConnection, from: &Address, to: &Address) -> Result<(), Trouble> {
    let mut parameters = Vec::new();
    let is_ascii = [from, to].into_iter().all(|address| AsRef::<str>::as_ref(address).is_ascii());
    if !is_ascii {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(Trouble::Address("the server takes no address beyond ASCII"));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    let mail = Mail::new(Some(from.clone()), parameters);
    connection.command(mail).await.map(drop).map_err(Trouble::Answer)
}

impl Trouble {
    fn outcome(&self, to: &Email) -> Outcome {
        let said = told(&self.said(), to);
        if self.is_for_good() { Outcome::Refused(said) } else { Outcome::Failed(said) }
    }

    fn said(&self) -> String {
        match self {
            Self::Unreachable(error) => format!("the server is not reached: {error}"),
            Self::Greeting(error) | Self::Answer(error) => match error.status() {
                Some(code) => {
                    let text = std::error::Error::source(error).map(ToString::to_string);
                    format!("the server answered {code} {}", text.unwrap_or_default())
                }
                None => error.to_string(),
            },
            Self::Address(why) => (*why).to_owned(),
        }
    }

    /// A 5xx about this mail stays; one about us (signing in, RFC 4954 s. 6) is the operator's to mend.
    fn is_for_good(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Greeting(_) => false,
            Self::Address(_) => true,
            Self::Answer(error) => {
                let code = error.status().map(u16::from);
                error.is_permanent() && !matches!(code, Some(530 | 534 | 535 | 538))
            }
        }
    }
}

/// What a server said, for operators: one line, not too long, and without the person's address.
fn told(said: &str, to: &Email) -> String {
    let masked = said.replace(to.as_str(), "<recipient>").replace(&to.key(), "<recipient>");
    let words = masked.split(|character: char| character.is_whitespace() || character.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    line.chars().take(SAID_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_told_in_one_line_without_the_address() {
        let to = Email::parse("Ada@example.org").unwrap();
        let said =
            format!("550 <Ada@example.org> and <ada@example.org>:\r\nno\u{7} such user {}", "x".repeat(999));
        let told = told(&said, &to);
        assert!(told.starts_with("550 <<recipient>> and <<recipient>>: no such user xxx"), "{told}");
        assert_eq!(told.chars().count(), SAID_MAX);
    }

    #[test]
    fn a_password_never_prints() {
        let settings = Settings {
            host: "smtp.example.org".to_owned(),
            port: 587,
            security: Security::None,
            login: Some(("ada".to_owned(), "hunter2".to_owned())),
            trusted: None,
            timeout: Duration::from_secs(1),
            hello: "example.org".to_owned(),
        };
        assert!(!format!("{:?}", Smtp::new(settings).unwrap()).contains("hunter2"));
    }
}
