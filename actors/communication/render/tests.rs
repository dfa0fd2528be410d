//! What mails promise to those who read them, whatever names they carry.

use prognet_supervisor::Timestamp;

use super::*;
use crate::{
    ids::{AccountId, TenantId},
    values::{Email, PersonName, TenantName},
};

const LANGUAGES: [Language; 2] = [Language::En, Language::De];

fn mails(name: &str) -> Vec<Mail> {
    let person = || PersonName::parse(name).unwrap();
    let account = AccountId::new(1);
    let mails = vec![
        Mail::VerifyAddress { name: person(), account, id: 2 },
        Mail::AlreadyRegistered { name: person() },
        Mail::ResetPassword { name: person(), account, id: 2 },
        Mail::PasswordChanged { name: person() },
        Mail::EmailChangeConfirm { name: person(), account, id: 2 },
        Mail::EmailChangeNotice { name: person(), account, id: 2, new: "b***@example.org".to_owned() },
        Mail::Invitation {
            tenant: TenantId::new(3),
            id: 4,
            tenant_name: TenantName::parse(name).unwrap(),
            colour: None,
            inviter_name: person(),
            role: name.to_owned(),
        },
        Mail::AccountDeletion { name: person(), until: Timestamp::from_millis(1_700_000_000_000) },
        Mail::RoleChanged {
            name: person(),
            tenant_name: TenantName::parse(name).unwrap(),
            colour: None,
            role: "owner".to_owned(),
        },
        Mail::MembershipEnded { name: person(), tenant_name: TenantName::parse(name).unwrap(), colour: None },
        Mail::EmailChangeUndone { name: person() },
    ];
    assert_eq!(mails.len(), ENGLISH.as_ref().unwrap().mails.len());
    mails
}

fn rendered(mail: Mail, language: Language) -> Rendered {
    let to = Email::parse("ada@example.org").unwrap();
    let key = LinkKey::new(b"secret");
    let sender = Sender { name: "ProgNetwork", site: "https://api.example.org", key: &key };
    render(&Letter { mail, to, language }, sender).unwrap()
}

fn link(mail: &Mail) -> Option<String> {
    let (purpose, home, id) = mail.link()?;
    let token = LinkKey::new(b"secret").token(purpose, home, id);
    Some(format!("https://api.example.org/{}?token={token}", page(purpose)))
}

/// `UPDATE=1 cargo test -p prognet-actors` writes them anew: read them then.
#[test]
fn every_mail_reads_in_every_language_as_it_was_last_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/communication/render/seen");
    let mut pages = Vec::new();
    for language in LANGUAGES {
        for mail in mails("Ada Lovelace") {
            let name = format!("{}.{}", mail.name(), language.tag());
            let Rendered { subject, text, .. } = rendered(mail, language);
            pages.push((format!("{folder}/{name}.txt"), format!("Subject: {subject}\n\n{text}")));
        }
    }
    pages.push((format!("{folder}/invitation.en.html"), rendered(mails("Ada").remove(6), Language::En).html));
    for (path, page) in pages {
        #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not a setting")]
        if std::env::var("UPDATE").is_ok() {
            std::fs::write(&path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), page, "{path}");
    }
}

#[test]
fn every_mail_has_its_link_in_both_parts_and_no_other() {
    for language in LANGUAGES {
        for mail in mails("Ada") {
            let link = link(&mail);
            // A page of ours that takes a password, and no token.
            let page = matches!(mail, Mail::AccountDeletion { .. }).then_some("https://api.example.org/stay");
            let Rendered { text, html, .. } = rendered(mail, language);
            let links: Vec<_> = text.split_whitespace().filter(|word| word.contains("://")).collect();
            assert_eq!(links, link.iter().map(String::as_str).chain(page).collect::<Vec<_>>());
            let targets: Vec<_> =
                html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
            // A slash is escaped, which browsers and mail programs undo.
            let targets: Vec<_> = targets.iter().map(|target| target.replace("&#x2f;", "/")).collect();
            assert_eq!(targets, link.into_iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_hostile_name_is_only_a_name() {
    let names = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "{{ link }}{% for x in y %}",
        "see https://evil.example/now or www.evil.example",
    ];
    for name in names {
        for mail in mails(name) {
            let Rendered { subject, text, html } = rendered(mail, Language::De);
            assert!(!html.contains("<script>") && !html.contains("<img"), "{html}");
            assert!(!html.contains("evil.example") && !text.contains("evil.example"), "{text}");
            assert_eq!(subject.lines().count(), 1);
        }
    }
    // These are no names at all.
    for name in [
        "Ada\r\nBcc: eve@example.org",
        "Ada\u{202e}gro.elpmaxe",
        "line\u{2028}separator",
        &"x".repeat(10_000),
    ] {
        assert!(PersonName::parse(name).is_err() && TenantName::parse(name).is_err());
    }
}

/// What was stored under an older rule may hold them.
#[test]
fn what_turns_a_text_or_shows_as_nothing_is_left_out() {
    assert_eq!(shown("Ada\u{202e}gro\u{2066}\u{200b}\u{2028}!"), "Adagro!");
}

#[test]
fn a_tenants_mail_carries_its_name() {
    let mail = mails("Acme & Co").remove(6);
    let Rendered { text, html, .. } = rendered(mail, Language::En);
    assert!(text.starts_with("Acme & Co\n"), "{text}");
    assert!(html.contains("font-weight:600;color:#565b69;\">Acme &amp; Co</p>"), "{html}");
}

#[test]
fn a_tenants_mail_has_its_colour_with_readable_text_on_it_in_dark_too() {
    let painted = |text: &str| {
        let mut mail = mails("Acme").remove(6);
        if let Mail::Invitation { colour, .. } = &mut mail {
            *colour = Some(Colour::parse(text).unwrap());
        }
        rendered(mail, Language::En).html
    };
    for (colour, on_colour) in [("#ffd400", "#000000"), ("#5a0a5a", "#ffffff")] {
        let html = painted(colour);
        assert!(html.contains(&format!("border-top:6px solid {colour};")), "{html}");
        assert!(html.contains(&format!("background-color:{colour};\">")), "{html}");
        assert!(html.contains(&format!("color:{on_colour};text-decoration:none;")), "{html}");
        assert!(!html.contains("class=\"button\""), "what is for the dark would paint over it");
    }
    let plain = rendered(mails("Acme").remove(6), Language::En).html;
    assert!(plain.contains("class=\"button\"") && !plain.contains("border-top"), "{plain}");
}

#[test]
fn both_languages_say_the_same_things() {
    let (english, german) = (ENGLISH.as_ref().unwrap(), GERMAN.as_ref().unwrap());
    let named = |words: &String| {
        let mut names: Vec<_> =
            words.split("{{ ").skip(1).filter_map(|rest| rest.split(" }}").next()).collect();
        names.sort_unstable();
        names.join(",")
    };
    for (name, wording) in &english.mails {
        let other = &german.mails[name];
        assert_eq!(wording.button.is_empty(), other.button.is_empty(), "{name}");
        assert_eq!(named(&wording.subject), named(&other.subject), "{name}");
        let all = |wording: &Wording| {
            let lines = wording.lines.iter().chain(&wording.after);
            lines.map(named).collect::<Vec<_>>()
        };
        assert_eq!(all(wording), all(other), "{name}");
    }
}
