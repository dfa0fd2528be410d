//! An invitation's link in a browser: with an account or without, signed in as whomever.

use super::{Browser, Page};
use crate::harness::{Node, PASSWORD, Person, reply};

/// Invites an address by page, and waits for its mail; the path of the link in it.
async fn invites(node: &Node, browser: &mut Browser, tenant: &str, email: &str) -> String {
    let page = format!("/organizations/{tenant}/invitations");
    let sent = browser.sends(&page, &page, &[("email", email), ("role", "admin")]).await;
    sent.shows(201, &format!("An invitation is on its way to {email}"));
    sent.shows(201, "/dev/inbox?to=");
    link(node, email, "/invitation?").await
}

/// The path of a link that was mailed to an address.
async fn link(node: &Node, email: &str, kind: &str) -> String {
    for _ in 0..600 {
        let path = format!("/v1/dev/messages?to={email}&wait=10s");
        let mails = reply(node.stranger(reqwest::Method::GET, &path)).await.unwrap().ok();
        let links =
            mails["data"].as_array().unwrap().iter().flat_map(|mail| mail["links"].as_array().unwrap());
        let mut paths = links.map(|link| link.as_str().unwrap().trim_start_matches(node.url()).to_owned());
        if let Some(path) = paths.rfind(|path| path.starts_with(kind)) {
            return path;
        }
        node.a_moment_later().await;
    }
    panic!("no such mail")
}

async fn is_member(person: &Person<'_>, tenant: &str) -> bool {
    person.try_in_tenant(tenant).await.status.is_success()
}

fn token(path: &str) -> &str {
    path.split_once("token=").unwrap().1
}

/// Where a link on a page leads.
fn way(page: &Page, to: &str) -> String {
    let start = format!("href=\"{to}");
    let at = page.text.find(&start).unwrap_or_else(|| panic!("no way to {to} in {}", page.text));
    let rest = page.text.get(at + "href=\"".len()..).unwrap();
    rest.split_once('"').unwrap().0.replace("&amp;", "&")
}

#[tokio::test]
async fn whoever_is_signed_in_with_the_address_accepts_and_looking_accepts_nothing() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (grace, bob) = (node.person("grace").await, node.person("bob").await);
    let tenant = grace.founds("acme").await;
    let mut owner = Browser::of(&node, &grace).await;
    let invitation = invites(&node, &mut owner, &tenant, "BOB@example.org").await;
    let mut guest = Browser::of(&node, &bob).await;

    for _ in 0..2 {
        let shown = guest.get(&invitation).await;
        shown.shows(200, "Join <bdi>acme</bdi>");
        shown.shows(200, "<bdi>grace</bdi> invites you as <strong>admin</strong>");
        assert!(!is_member(&bob, &tenant).await, "looking is not accepting");
    }
    let fields = [("token", token(&invitation))];
    let accepted = guest.sends(&invitation, "/invitation", &fields).await;

    assert_eq!(accepted.leads_to(), format!("/organizations/{tenant}"));
    guest.get(&format!("/organizations/{tenant}")).await.shows(200, "Membership admitted");
    guest.get("/organizations").await.shows(200, "<bdi>acme</bdi>");
    guest.get(&invitation).await.shows(409, "The invitation is over: accepted.");
    let members = owner.get(&format!("/organizations/{tenant}/members")).await;
    members.shows(200, "<bdi>bob@example.org</bdi>");
    owner.get(&format!("/organizations/{tenant}/invitations")).await.shows(200, "Nobody.");
}

#[tokio::test]
async fn another_account_is_told_whose_it_is_and_cannot_accept() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (grace, bob, eve) = (node.person("grace").await, node.person("bob").await, node.person("eve").await);
    let tenant = grace.founds("acme").await;
    let mut owner = Browser::of(&node, &grace).await;
    let invitation = invites(&node, &mut owner, &tenant, &bob.email).await;
    let mut wrong = Browser::of(&node, &eve).await;

    let shown = wrong.get(&invitation).await;
    shown.shows(200, "You are signed in as <strong><bdi>eve@example.org</bdi>");
    assert!(!shown.text.contains(">Accept<"), "{}", shown.text);
    let fields = [("token", token(&invitation))];
    wrong.sends(&invitation, "/invitation", &fields).await.shows(403, "for another address");

    let back = shown.hidden("return_to");
    assert_eq!(back, invitation);
    let out = wrong.sends(&invitation, "/signout", &[("return_to", &back)]).await;
    assert_eq!(out.leads_to(), invitation);
    // And in again, as whom it is for.
    let shown = wrong.get(&invitation).await;
    let form = wrong.get(&way(&shown, "/signin")).await;
    let fields =
        [("email", bob.email.as_str()), ("password", PASSWORD), ("return_to", &form.hidden("return_to"))];
    let entered = wrong.sends("/signin", "/signin", &fields).await;
    assert_eq!(entered.leads_to(), invitation);
    let fields = [("token", token(&invitation))];
    wrong.sends(&invitation, "/invitation", &fields).await.leads_to();
    assert!(is_member(&bob, &tenant).await && !is_member(&eve, &tenant).await);
}

#[tokio::test]
async fn whoever_has_no_account_yet_signs_up_and_comes_back_to_the_invitation() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let grace = node.person("grace").await;
    let tenant = grace.founds("acme").await;
    let mut owner = Browser::of(&node, &grace).await;
    let email = "bob@example.org";
    let invitation = invites(&node, &mut owner, &tenant, email).await;
    let mut guest = Browser::new(&node);
    let shown = guest.get(&invitation).await;
    let accept = guest.sends(&invitation, "/invitation", &[("token", token(&invitation))]).await;
    assert!(
        accept.leads_to().starts_with("/signin?return_to=%2Finvitation%3Ftoken%3D"),
        "signing in comes first"
    );

    let form = guest.get(&way(&shown, "/signup")).await;
    form.shows(200, r#"value="bob@example.org""#);
    let fields =
        [("email", email), ("name", "Bob"), ("password", PASSWORD), ("return_to", &form.hidden("return_to"))];
    guest.sends("/signup", "/signup", &fields).await.shows(202, "A mail is on its way to bob@example.org");
    let verify = link(&node, email, "/verify?").await;
    for _ in 0..2 {
        guest.get(&verify).await.shows(200, "Confirm your address");
    }
    let confirm = [("token", token(&verify)), ("password", PASSWORD)];
    guest.sends(&verify, "/verify", &confirm).await.shows(200, "Your account is open");

    assert_eq!(guest.enters(email).await.leads_to(), invitation);
    assert!(!guest.cookies.contains_key("prognet-way"), "the way is gone once it was taken");
    let joined = guest.sends(&invitation, "/invitation", &[("token", token(&invitation))]).await;
    assert_eq!(joined.leads_to(), format!("/organizations/{tenant}"));
    assert_eq!(guest.get("/").await.leads_to(), format!("/organizations/{tenant}"), "there is one");
}

#[tokio::test]
async fn whoever_signs_up_is_written_to_in_the_language_of_their_browser() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for (languages, email, subject) in [
        ("de-AT,de;q=0.9,en;q=0.8", "grace@example.org", "E-Mail-Adresse"),
        ("fr-FR, en;q=0.5, de;q=0.1", "bob@example.org", "Confirm your e-mail address"),
        ("*", "eve@example.org", "Confirm your e-mail address"),
    ] {
        let mut guest = Browser::new(&node);
        let proof = guest.get("/signup").await.proof();
        let fields = [("csrf", proof.as_str()), ("email", email), ("name", "X"), ("password", PASSWORD)];
        let request = guest.request(reqwest::Method::POST, "/signup").header("Accept-Language", languages);
        guest.send(request.form(&fields)).await.shows(202, "A mail is on its way");
        link(&node, email, "/verify?").await;
        let mails = format!("/v1/dev/messages?to={email}");
        let mails = reply(node.stranger(reqwest::Method::GET, &mails)).await.unwrap().ok();
        let found = mails["data"][0]["subject"].as_str().unwrap();
        assert!(found.contains(subject), "{languages}: {found}");
    }
}

/// Line 26 of the security bar, for what a browser is given to keep.
#[tokio::test]
async fn signing_up_leads_to_own_pages_alone() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for foreign in ["//evil.example", "https://evil.example/", "/\\evil.example"] {
        let mut browser = Browser::new(&node);
        let query = format!("/signup?return_to={}", foreign.replace('\\', "%5C"));
        let form = browser.get(&query).await;
        assert!(!form.text.contains("evil"), "{}", form.text);
        let fields =
            [("email", "x@example.org"), ("name", "X"), ("password", PASSWORD), ("return_to", foreign)];
        browser.sends(&query, "/signup", &fields).await.shows(202, "on its way");
        assert!(!browser.cookies.contains_key("prognet-way"));
        browser.cookies.insert("prognet-way".to_owned(), foreign.replace('/', "%2F").replace('\\', "%5C"));
        let form = browser.get("/signin").await;
        assert_eq!(form.hidden("return_to"), "/");
    }
}

#[tokio::test]
async fn an_invitation_is_declined_by_a_button_and_revoked_by_another() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (grace, bob) = (node.person("grace").await, node.person("bob").await);
    let tenant = grace.founds("acme").await;
    let mut owner = Browser::of(&node, &grace).await;
    let invitation = invites(&node, &mut owner, &tenant, &bob.email).await;
    let page = format!("/organizations/{tenant}/invitations");
    let again = owner.sends(&page, &page, &[("email", &bob.email), ("role", "member")]).await;
    again.shows(409, r#"<p class="wrong">invited already"#);
    again.shows(409, r#"value="bob@example.org""#);
    owner.sends(&page, &page, &[("email", "x@example.org"), ("role", "owner")]).await.shows(400, "Role");
    let mut guest = Browser::new(&node);

    let fields = [("token", token(&invitation))];
    guest.sends(&invitation, "/invitation/decline", &fields).await.shows(200, "You declined");

    guest.get(&invitation).await.shows(409, "The invitation is over: declined.");
    let other = invites(&node, &mut owner, &tenant, "x@example.org").await;
    let open = owner.get(&page).await;
    let id = open.hidden("invitation");
    owner.sends(&page, &format!("{page}/revoke"), &[("invitation", &id)]).await.leads_to();
    owner.get(&page).await.shows(200, "Nobody.");
    guest.get(&other).await.shows(409, "The invitation is over: revoked.");
    for path in ["/invitation", "/invitation?token=none", &format!("{other}A")] {
        guest.get(path).await.shows(404, "There is no such invitation");
    }
}
