//! Mails as people read them: words of one catalogue a language, in one layout for text and one for HTML.
//!
//! What people chose (names) is shown as what it is: escaped in HTML, on one line, in the direction of the text
//! around it, and never turned into a link by a mail program.

use std::{collections::BTreeMap, sync::LazyLock};

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, context};
use prognet_supervisor::Timestamp;
use serde::Deserialize;

use super::{
    mail::{Language, Mail},
    message::Letter,
};
use crate::{
    auth::link::{LinkKey, Purpose},
    values::{Colour, is_unseen},
};

/// A mail in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// For those who read text.
    pub text: String,
    /// The same for those who read HTML.
    pub html: String,
}

/// Who sends, as mails say it.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where its pages are, e.g. `https://api.example.org`: what links begin with.
    pub site: &'a str,
    /// What links are made with.
    pub key: &'a LinkKey,
}

/// The words of a language.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    greeting: String,
    /// What to do when the button does not work.
    hint: String,
    footer: String,
    mails: BTreeMap<String, Wording>,
}

/// The words of a mail.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wording {
    subject: String,
    lines: Vec<String>,
    #[serde(default)]
    button: String,
    /// What follows the button.
    after: Vec<String>,
}

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_auto_escape_callback(|name| {
        if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None }
    });
    for (name, text) in
        [("mail.html", include_str!("templates/mail.html")), ("mail.txt", include_str!("templates/mail.txt"))]
    {
        if let Err(error) = templates.add_template(name, text) {
            tracing::error!(error = &error as &dyn std::error::Error, "template `{name}` does not parse");
        }
    }
    templates
});

static ENGLISH: LazyLock<Option<Words>> =
    LazyLock::new(|| words("en", include_str!("templates/words.en.json")));
static GERMAN: LazyLock<Option<Words>> =
    LazyLock::new(|| words("de", include_str!("templates/words.de.json")));

fn words(language: &str, text: &str) -> Option<Words> {
    let words = serde_json::from_str(text);
    words.inspect_err(|error| tracing::error!(language, %error, "the words of a language do not parse")).ok()
}

impl Language {
    /// Its tag (RFC 5646).
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::De => "de",
        }
    }

    fn words(self) -> Option<&'static Words> {
        match self {
            Self::En => ENGLISH.as_ref(),
            Self::De => GERMAN.as_ref(),
        }
    }
}

/// A letter in its words.
///
/// # Errors
/// When a template and what it is given do not fit: a bug, which the tests look for.
pub fn render(letter: &Letter, sender: Sender<'_>) -> Result<Rendered, Error> {
    let missing = || Error::new(ErrorKind::TemplateNotFound, "no words for this mail");
    let words = letter.language.words().ok_or_else(missing)?;
    let wording = words.mails.get(letter.mail.name()).ok_or_else(missing)?;
    let said = said(&letter.mail, sender);
    let subject = filled("subject.txt", &wording.subject, &said)?;
    let is_one_line = !subject.chars().any(char::is_control);
    if !is_one_line {
        return Err(Error::new(ErrorKind::BadEscape, "a subject is one line"));
    }
    let link = letter.mail.link().map(|(purpose, home, id)| {
        format!("{}/{}?token={}", sender.site, page(purpose), sender.key.token(purpose, home, id))
    });
    let part = |ending: &str| -> Result<String, Error> {
        let name = format!("words.{ending}");
        let fill = |words: &String| -> Result<Value, Error> {
            // Its parts are escaped already.
            filled(&name, words, &said).map(Value::from_safe_string)
        };
        let fill_all = |lines: &[String]| lines.iter().map(fill).collect::<Result<Vec<_>, _>>();
        TEMPLATES.get_template(&format!("mail.{ending}"))?.render(context! {
            language => letter.language.tag(),
            subject => fill(&wording.subject)?,
            brand => brand(&letter.mail, sender.name),
            colour => letter.mail.colour().map(Colour::as_str).unwrap_or_default(),
            on_colour => letter.mail.colour().map(Colour::text).unwrap_or_default(),
            greeting => fill(&words.greeting)?,
            lines => fill_all(&wording.lines)?,
            link => link.as_deref().unwrap_or_default(),
            button => fill(&wording.button)?,
            hint => fill(&words.hint)?,
            after => fill_all(&wording.after)?,
            footer => fill(&words.footer)?,
        })
    };
    Ok(Rendered { text: part("txt")?, html: part("html")?, subject })
}

/// Words with what they name filled in, escaped as the name's ending says.
fn filled(name: &str, words: &str, said: &Value) -> Result<String, Error> {
    TEMPLATES.render_named_str(name, words, said)
}

/// What the words of a mail may name.
fn said(mail: &Mail, Sender { name: sender, site, .. }: Sender<'_>) -> Value {
    let sender = shown(sender);
    let of_person = |name: &str| context! { sender, name => shown(name) };
    match mail {
        Mail::VerifyAddress { name, .. }
        | Mail::AlreadyRegistered { name }
        | Mail::ResetPassword { name, .. }
        | Mail::PasswordChanged { name }
        | Mail::EmailChangeUndone { name }
        | Mail::EmailChangeConfirm { name, .. } => of_person(name.as_str()),
        Mail::EmailChangeNotice { name, new, .. } => {
            context! { new => shown(new), ..of_person(name.as_str()) }
        }
        Mail::Invitation { tenant_name, inviter_name, role, .. } => context! {
            tenant => shown(tenant_name.as_str()),
            inviter => shown(inviter_name.as_str()),
            role => shown(role),
            ..of_person("")
        },
        Mail::AccountDeletion { name, until } => {
            context! { until => minute(*until), stay => format!("{site}/stay"), ..of_person(name.as_str()) }
        }
        Mail::RoleChanged { name, tenant_name, role, .. } => context! {
            tenant => shown(tenant_name.as_str()),
            role => shown(role),
            ..of_person(name.as_str())
        },
        Mail::MembershipEnded { name, tenant_name, .. } => {
            context! { tenant => shown(tenant_name.as_str()), ..of_person(name.as_str()) }
        }
    }
}

/// Whose mail it is, for the top of the page.
fn brand(mail: &Mail, sender: &str) -> String {
    match mail {
        Mail::Invitation { tenant_name, .. }
        | Mail::RoleChanged { tenant_name, .. }
        | Mail::MembershipEnded { tenant_name, .. } => shown(tenant_name.as_str()),
        Mail::VerifyAddress { .. }
        | Mail::AlreadyRegistered { .. }
        | Mail::ResetPassword { .. }
        | Mail::PasswordChanged { .. }
        | Mail::EmailChangeConfirm { .. }
        | Mail::EmailChangeNotice { .. }
        | Mail::EmailChangeUndone { .. }
        | Mail::AccountDeletion { .. } => shown(sender),
    }
}

/// The page behind a link.
const fn page(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::VerifyAddress => "verify",
        Purpose::ResetPassword => "reset",
        Purpose::ConfirmEmailChange => "change-email",
        Purpose::UndoEmailChange => "undo-email",
        Purpose::AcceptInvitation => "invitation",
    }
}

/// Characters of a name that are shown; no type lets a longer one through.
const SHOWN_MAX: usize = 254;
/// Keeps mail programs from making a link of what stands around it (Unicode's WORD JOINER); shows as nothing.
const JOINER: char = '\u{2060}';

/// A text that somebody chose, as it may stand in a sentence.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars().filter(|character| !is_unseen(*character)).take(SHOWN_MAX) {
        shown.push(character);
        if matches!(character, '.' | ':' | '/') {
            shown.push(JOINER);
        }
    }
    shown
}

/// A moment to the minute, the same in every language.
fn minute(moment: Timestamp) -> String {
    let text = moment.to_string();
    let (day, time) = text.split_once('T').unwrap_or((&text, ""));
    let minute: String = time.chars().take(5).collect();
    format!("{day} {minute} UTC")
}

#[cfg(test)]
mod tests;
