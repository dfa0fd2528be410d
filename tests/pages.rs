//! The pages: what a browser's cookies and forms can do, and what nobody else can do with them.

mod inbox;
mod invited;
mod organizations;

use std::collections::BTreeMap;

use reqwest::{Method, header::HeaderMap, redirect::Policy};
use serde_json::json;

use crate::harness::{ADMIN, Node, PASSWORD, Person, reply};

/// A browser, as far as cookies and forms go.
pub(crate) struct Browser {
    url: String,
    client: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

/// What it shows.
pub(crate) struct Page {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Page {
    /// What its form carries.
    pub(crate) fn proof(&self) -> String {
        let (_, rest) = self.text.split_once(r#"name="csrf" value=""#).expect("a form");
        rest.split_once('"').unwrap().0.to_owned()
    }

    /// What a hidden field of its form carries.
    fn hidden(&self, name: &str) -> String {
        let (_, rest) = self.text.split_once(&format!(r#"name="{name}" value=""#)).expect("a hidden field");
        rest.split_once('"').unwrap().0.replace("&amp;", "&")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// It is a page, with this status, and shows these words.
    #[track_caller]
    pub(crate) fn shows(&self, status: u16, words: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "text/html; charset=utf-8");
        assert!(self.text.contains(words), "no {words:?} in {}", self.text);
    }

    /// Where it leads to.
    #[track_caller]
    pub(crate) fn leads_to(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.text);
        self.header("location")
    }
}

impl Browser {
    fn new(node: &Node) -> Self {
        Self::at(node.url().to_owned())
    }

    pub(crate) fn at(url: String) -> Self {
        let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        Self { url, client, cookies: BTreeMap::new() }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.client.request(method, format!("{}{path}", self.url));
        request.header("Cookie", cookies.join("; "))
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Page {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        for cookie in headers.get_all("set-cookie") {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
            self.cookies.retain(|_, value| !value.is_empty());
        }
        // Templates write a slash so.
        Page { status, headers, text: response.text().await.unwrap().replace("&#x2f;", "/") }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Page {
        let request = self.request(Method::GET, path);
        self.send(request).await
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let request = self.request(Method::POST, path).form(fields);
        self.send(request).await
    }

    /// Signs the admin in, by the form.
    pub(crate) async fn sign_in(&mut self) -> Page {
        let form = self.get("/signin?return_to=/account").await;
        self.signs_in_on(&form).await
    }

    /// The same, on the form that is shown.
    pub(crate) async fn signs_in_on(&mut self, form: &Page) -> Page {
        self.post("/signin", &credentials(&form.proof(), &form.hidden("return_to"))).await
    }

    /// That of somebody who is signed in.
    async fn of(node: &Node, person: &Person<'_>) -> Self {
        let mut browser = Self::new(node);
        browser.enters(&person.email).await;
        browser
    }

    /// Signs somebody in, by the form, from wherever they are.
    async fn enters(&mut self, email: &str) -> Page {
        let form = self.get("/signin").await;
        let fields = [("csrf", form.proof()), ("return_to", form.hidden("return_to"))];
        let mut fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        fields.extend([("email", email), ("password", PASSWORD)]);
        self.post("/signin", &fields).await
    }

    /// Sends a form of a page, with the page's proof.
    pub(crate) async fn sends(&mut self, page: &str, path: &str, fields: &[(&str, &str)]) -> Page {
        let proof = self.get(page).await.proof();
        let mut fields = fields.to_vec();
        fields.push(("csrf", &proof));
        self.post(path, &fields).await
    }
}

fn credentials<'a>(proof: &'a str, return_to: &'a str) -> [(&'a str, &'a str); 4] {
    [("csrf", proof), ("email", ADMIN.0), ("password", ADMIN.1), ("return_to", return_to)]
}

#[tokio::test]
async fn a_person_signs_in_looks_around_and_signs_out() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mut browser = Browser::new(&node);
    assert_eq!(browser.get("/account").await.leads_to(), "/signin?return_to=%2Faccount");

    assert_eq!(browser.sign_in().await.leads_to(), "/account");

    let account = browser.get("/account").await;
    assert!(account.status == 200 && account.text.contains(ADMIN.0), "{}", account.text);
    let export = browser.get("/account/export").await;
    assert_eq!(export.header("content-disposition"), "attachment; filename=\"account.json\"");
    let export: serde_json::Value = serde_json::from_str(&export.text).unwrap();
    assert_eq!(export["account"]["email"], ADMIN.0);
    // All of one's sessions are shown, however many there were.
    for _ in 0..55 {
        let body = json!({ "email": ADMIN.0, "password": ADMIN.1 });
        reply(node.stranger(Method::POST, "/v1/sessions").json(&body)).await.unwrap().ok();
    }
    let mut shown = 0;
    for _ in 0..600 {
        shown = browser.get("/account").await.text.matches("last used").count();
        if shown == 57 {
            break;
        }
        node.a_moment_later().await;
    }
    assert_eq!(shown, 57, "those, the one here, and the one the node's admin was given");
    let tenant = node.tenant("acme").await;
    let page = browser.get(&format!("/organizations/{tenant}")).await;
    assert!(page.text.contains("Tenant created"), "{}", page.text);
    let held = browser.cookies.clone();
    let proof = account.proof();
    assert_eq!(browser.post("/signout", &[("csrf", &proof)]).await.leads_to(), "/signin");
    // The cookie from before opens nothing: the session is over, not only forgotten.
    browser.cookies = held;
    assert_eq!(browser.get("/account").await.leads_to(), "/signin?return_to=%2Faccount");
}

/// Security bar 19: a new session at sign-in, and the one before is dead.
#[tokio::test]
async fn signing_in_again_is_a_new_session_and_ends_the_one_before() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mut browser = Browser::new(&node);
    browser.sign_in().await;
    let before = browser.cookies.clone();
    let proof = browser.get("/account").await.proof();

    let again = browser.post("/signin", &credentials(&proof, "/account")).await;

    assert_eq!(again.leads_to(), "/account");
    assert_ne!(browser.cookies["prognet-session"], before["prognet-session"]);
    assert_eq!(browser.get("/account").await.status, 200);
    browser.cookies = before;
    assert_eq!(browser.get("/account").await.status, 303);
}

/// Security bar 22: cookies are out of reach of scripts, other hosts and plain connections.
#[tokio::test]
async fn cookies_are_locked_up_over_https() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(
        data.path(),
        &[("PROGNET_HTTP_PUBLIC_URL", "https://app.example.org"), ("PROGNET_MAIL_DEV_INBOX", "on")],
    );
    let mut browser = Browser::new(&node);
    let form = browser.get("/signin").await;
    let flow = form.header("set-cookie").to_owned();

    let entered = browser.post("/signin", &credentials(&form.proof(), "/account")).await;

    let session = entered.header("set-cookie");
    for (cookie, name) in [(flow.as_str(), "__Host-prognet-flow="), (session, "__Host-prognet-session=")] {
        assert!(cookie.starts_with(name) && cookie.len() < 4096, "{cookie}");
        for part in ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
            assert!(cookie.split("; ").any(|known| known == part), "{cookie} is not {part}");
        }
    }
    // Line 24: and the browser never comes by HTTP again.
    assert_eq!(entered.header("strict-transport-security"), "max-age=63072000");
}

/// Security bar 23: no other site changes anything in a browser's name, nor signs it in as somebody else.
#[tokio::test]
async fn a_forged_form_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (mut browser, mut thief) = (Browser::new(&node), Browser::new(&node));
    thief.sign_in().await;
    let stolen = thief.get("/account").await.proof();
    let before = thief.get("/signout").await;
    assert_eq!(before.status, 405, "a link signs nobody out");

    for proof in ["", "0", stolen.as_str()] {
        let forged = browser.post("/signin", &credentials(proof, "/account")).await;
        assert_eq!(forged.status, 403, "signing in is a form like all others");
    }
    browser.sign_in().await;
    let proof = browser.get("/account").await.proof();
    for bad in ["", "0", stolen.as_str()] {
        assert_eq!(browser.post("/signout", &[("csrf", bad)]).await.status, 403);
    }
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", "http://127.0.0.1:1"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let foreign = browser.request(Method::POST, "/signout").header(name, value).form(&[("csrf", &proof)]);
        let foreign = browser.send(foreign).await;
        assert_eq!(foreign.status, 403, "{name}: {value}");
        assert!(foreign.header("content-type").starts_with("text/html"), "people are told on a page");
    }
    assert_eq!(browser.get("/account").await.status, 200, "still signed in");

    // What browsers say of our own forms.
    let own = browser.request(Method::POST, "/signout").form(&[("csrf", &proof)]);
    let own = own.header("Origin", node.url()).header("Sec-Fetch-Site", "same-origin");
    assert_eq!(browser.send(own).await.leads_to(), "/signin");
    browser.sign_in().await;
    let proof = browser.get("/account").await.proof();
    let own = browser.request(Method::POST, "/signout").header("Origin", "null").form(&[("csrf", &proof)]);
    assert_eq!(browser.send(own).await.leads_to(), "/signin");
}

/// Security bar 26: a link to the page of signing in leads nobody to another site.
#[tokio::test]
async fn signing_in_leads_back_to_own_pages_alone() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    for foreign in ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"] {
        let mut browser = Browser::new(&node);
        let query: String = format!("/signin?return_to={}", foreign.replace('\\', "%5C"));
        let form = browser.get(&query).await;
        assert!(!form.text.contains("evil") && !form.text.contains("alert"), "{}", form.text);

        let entered = browser.post("/signin", &credentials(&form.proof(), foreign)).await;

        assert_eq!(entered.leads_to(), "/");
        assert_eq!(browser.get(&query).await.leads_to(), "/");
    }
}

/// Security bar 24: every page is one that nobody frames, sniffs, keeps or puts script into.
#[tokio::test]
async fn every_page_is_hardened() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mut browser = Browser::new(&node);
    let mut pages = vec![browser.get("/signin").await, browser.get("/setup").await];
    pages.push(browser.post("/signin", &[]).await);
    browser.sign_in().await;
    pages.push(browser.get("/account").await);
    pages.push(browser.get("/organizations").await);
    pages.push(browser.get("/dev/inbox").await);
    pages.push(browser.get("/invitation?token=none").await);
    pages.push(browser.get(&format!("/organizations/ten_{}", "0".repeat(26))).await);
    pages.push(browser.get("/problems/tenant/unknown").await);
    for page in pages {
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self'"));
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8", "{}", page.text);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(page.header(name), value);
        }
        assert!(page.text.contains(r#"<html lang="en">"#));
        assert!(!page.text.contains("style=") && !page.text.contains("onclick"), "nothing is inline");
    }
}

/// A cookie alone opens pages, and no route of the API: what lives there needs no defence against forged forms.
#[tokio::test]
async fn a_cookie_is_no_token() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mut browser = Browser::new(&node);
    browser.sign_in().await;
    assert_eq!(browser.get("/v1/me").await.status, 401);
    let found = browser.request(Method::POST, "/v1/tenants").json(&json!({ "name": "Acme", "slug": "acme" }));
    assert_eq!(browser.send(found).await.status, 401);
    let cookie = browser.cookies["prognet-session"].clone();
    let bearer = browser.request(Method::GET, "/v1/me").bearer_auth(&cookie);
    assert_eq!(browser.send(bearer).await.status, 401);
}

/// Security bar 20: a session nobody uses ends on the server, whatever the cookie says; one that is looked at goes on.
#[tokio::test]
async fn an_idle_session_ends_and_a_used_one_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::with(data.path(), &[("PROGNET_AUTH_REFRESH_IDLE", "3s")]);
    let (mut idle, mut used) = (Browser::new(&node), Browser::new(&node));
    idle.sign_in().await;
    used.sign_in().await;
    // A later session that nobody uses either says when the idle one's time is over, without looking at it.
    let body = json!({ "email": ADMIN.0, "password": ADMIN.1 });
    let later = reply(node.stranger(Method::POST, "/v1/sessions").json(&body)).await.unwrap().ok();
    let later = later["access_token"].as_str().unwrap().to_owned();
    while reply(node.stranger(Method::GET, "/v1/me").bearer_auth(&later)).await.unwrap().status != 401 {
        assert_eq!(used.get("/account").await.status, 200);
        node.a_moment_later().await;
    }

    assert_eq!(used.get("/account").await.status, 200);
    assert_eq!(idle.get("/account").await.status, 303);
}
