//! Mail as the settings want it: handed to a server, or caught in the dev inbox.

use std::fs;

use anyhow::Context;
use prognet_actors::{
    communication::{
        Delivery, DevInbox,
        channel::{
            Channel, Smtp,
            dkim::Signer,
            smtp::{self, Security},
        },
        delivery::Sender,
    },
    values::{Email, PersonName},
};
use prognet_config::{DevInbox as MayCatch, Error, Hidden, Settings, SmtpSecurity};

/// Whom mails are from until somebody says otherwise.
const NOBODY: &str = "no-reply@prognet.localhost";

/// How mails leave.
pub(crate) struct Mail {
    pub(crate) delivery: Delivery,
    /// Where they are caught, if they are.
    pub(crate) inbox: Option<DevInbox>,
}

/// Whether the settings fit together.
///
/// # Errors
/// What does not.
pub(crate) fn check(settings: &Settings) -> Result<(), Error> {
    sender(settings)?;
    security(settings)?;
    login(settings)?;
    Ok(())
}

/// The door out; nothing leaves yet.
pub(crate) fn open(settings: &Settings) -> anyhow::Result<Mail> {
    let mail = &settings.mail;
    let sender = sender(settings)?;
    let domain =
        sender.from.as_str().rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default();
    let signer = match &mail.dkim_key_file {
        None => None,
        Some(file) => {
            let path = file.display();
            let pem = fs::read_to_string(file).with_context(|| format!("failed to read `{path}`"))?;
            let domain = mail.dkim_domain.as_ref().unwrap_or(&domain);
            let signer = Signer::new(domain, &mail.dkim_selector, &pem);
            Some(signer.with_context(|| format!("failed to use `{path}` (mail.dkim_key_file)"))?)
        }
    };
    let Some(host) = &mail.smtp_host else {
        check(settings)?;
        tracing::warn!(
            "no mail leaves this node: it is caught in the dev inbox, /dev/inbox (as JSON: /v1/dev/messages); set \
             mail.smtp_host to send it"
        );
        let inbox = DevInbox::default();
        let delivery = Delivery::new(sender, signer, Channel::DevInbox(inbox.clone()));
        return Ok(Mail { delivery, inbox: Some(inbox) });
    };
    let (security, port) = security(settings)?;
    let trusted = mail.smtp_ca_file.as_ref().map(|file| {
        fs::read(file).with_context(|| format!("failed to read `{}` (mail.smtp_ca_file)", file.display()))
    });
    let smtp = Smtp::new(smtp::Settings {
        host: host.clone(),
        port,
        security,
        login: login(settings)?,
        trusted: trusted.transpose()?,
        timeout: mail.smtp_timeout,
        hello: domain,
    });
    let smtp = smtp.context("failed to prepare for TLS (mail.smtp_ca_file)")?;
    Ok(Mail { delivery: Delivery::new(sender, signer, Channel::Smtp(Box::new(smtp))), inbox: None })
}

fn sender(settings: &Settings) -> Result<Sender, Error> {
    let mail = &settings.mail;
    let may_catch = match mail.dev_inbox {
        MayCatch::On => true,
        MayCatch::Off => false,
        MayCatch::Auto => is_for_this_machine_alone(settings),
    };
    if mail.smtp_host.is_none() && !may_catch {
        return Err(settings.refuse(
            "mail.smtp_host",
            "the name of an SMTP server: mails are caught in the dev inbox only while http.listen and http.public_url \
             are addresses of this machine alone, or with mail.dev_inbox = on",
        ));
    }
    let from = match (&mail.from, &mail.smtp_host) {
        (Some(from), _) => Email::parse(from),
        (None, None) => Email::parse(NOBODY),
        (None, Some(_)) => Email::parse(""),
    };
    let from = from.map_err(|_invalid| {
        settings.refuse("mail.from", "the address that mails come from, such as no-reply@example.org")
    })?;
    let name = PersonName::parse(&mail.from_name)
        .map_err(|_invalid| settings.refuse("mail.from_name", "1 to 100 characters on one line"))?;
    Ok(Sender { from, name })
}

/// Whether nobody comes from elsewhere, be it through a proxy on this machine.
fn is_for_this_machine_alone(settings: &Settings) -> bool {
    let http = &settings.http;
    let is_public = http.public_url.as_ref().is_some_and(|url| !url.is_loopback());
    http.listen.ip().is_loopback() && !is_public
}

fn security(settings: &Settings) -> Result<(Security, u16), Error> {
    let mail = &settings.mail;
    let (security, usual) = match mail.smtp_security {
        SmtpSecurity::Starttls => (Security::Starttls, 587),
        SmtpSecurity::Tls => (Security::Tls, 465),
        SmtpSecurity::None => (Security::None, 25),
    };
    let host = mail.smtp_host.as_deref().unwrap_or_default();
    let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if security == Security::None && mail.smtp_password.is_some() && !is_here {
        return Err(settings.refuse("mail.smtp_security", "starttls or tls, since a password is sent"));
    }
    Ok((security, mail.smtp_port.unwrap_or(usual)))
}

fn login(settings: &Settings) -> Result<Option<(String, String)>, Error> {
    let mail = &settings.mail;
    match (&mail.smtp_user, mail.smtp_password.as_ref().map(Hidden::expose)) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) => Ok(Some((user.clone(), password.to_owned()))),
        (Some(_), None) => Err(settings.refuse("mail.smtp_password", "set together with mail.smtp_user")),
        (None, Some(_)) => Err(settings.refuse("mail.smtp_user", "set together with mail.smtp_password")),
    }
}
