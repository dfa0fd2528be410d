//! The dev inbox by page: where it is on, to the machine itself, and nothing in a mail runs.

use reqwest::Method;

use super::Browser;
use crate::harness::{Node, PASSWORD};

async fn sign_up(browser: &mut Browser, email: &str, name: &str) -> super::Page {
    let fields = [("email", email), ("name", name), ("password", PASSWORD)];
    browser.sends("/signup", "/signup", &fields).await
}

/// The list, once it has so many mails.
async fn list(node: &Node, browser: &mut Browser, mails: usize) -> super::Page {
    for _ in 0..600 {
        let page = browser.get("/dev/inbox").await;
        if page.text.matches("<li><a ").count() == mails {
            return page;
        }
        node.a_moment_later().await;
    }
    panic!("never so many")
}

#[tokio::test]
async fn caught_mails_are_read_and_nothing_in_them_runs() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mut browser = Browser::new(&node);
    browser.get("/dev/inbox").await.shows(200, "Nothing yet");
    sign_up(&mut browser, "grace@example.org", "<script>alert(1)</script>")
        .await
        .shows(202, "/dev/inbox?to=");
    list(&node, &mut browser, 1).await;
    sign_up(&mut browser, "bob@example.org", "Bob").await.shows(202, "/dev/inbox?to=");

    let all = list(&node, &mut browser, 2).await;

    let (newest, oldest) = (all.text.find("bob@example.org"), all.text.find("grace@example.org"));
    assert!(newest < oldest, "the newest first");
    let one = browser.get("/dev/inbox?to=GRACE@example.org").await;
    assert!(one.text.contains("/dev/inbox/1") && !one.text.contains("/dev/inbox/2"), "{}", one.text);
    let mail = browser.get("/dev/inbox/1").await;
    mail.shows(200, "Confirm your e-mail address");
    mail.shows(200, "/verify?token=");
    mail.shows(200, r#"sandbox="allow-top-navigation-by-user-activation""#);
    assert!(!mail.text.contains("<script") && mail.text.contains("&lt;script&gt;"), "{}", mail.text);
    let policy = mail.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    let html = browser.get("/dev/inbox/1/html").await;
    assert!(html.text.contains("&lt;script&gt;") && !html.text.contains("<script"), "{}", html.text);
    let policy = html.header("content-security-policy");
    // A sandbox without scripts, forms or an origin, whoever opens it; nothing is loaded.
    assert!(policy.contains("; sandbox allow-top-navigation-by-user-activation"), "{policy}");
    assert!(policy.starts_with("default-src 'none'; style-src 'unsafe-inline';"), "{policy}");
    assert!(!policy.contains("script-src") && policy.contains("frame-ancestors 'self'"), "{policy}");
    for nothing in ["/dev/inbox/0", "/dev/inbox/3", "/dev/inbox/3/html", "/dev/inbox/x"] {
        assert_eq!(browser.get(nothing).await.status, 404, "{nothing}");
    }
}

#[tokio::test]
async fn the_dev_inbox_opens_to_the_machine_alone_and_only_where_it_is_on() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mut browser = Browser::new(&node);
    sign_up(&mut browser, "grace@example.org", "Grace").await;
    list(&node, &mut browser, 1).await;
    for (name, value) in [("Host", "evil.example"), ("X-Forwarded-For", "192.0.2.1")] {
        for path in ["/dev/inbox", "/dev/inbox/1", "/dev/inbox/1/html"] {
            let foreign = browser.request(Method::GET, path).header(name, value);
            assert_eq!(browser.send(foreign).await.status, 404, "{name}: {value}, {path}");
        }
        let page = browser.request(Method::GET, "/signup").header(name, value);
        assert!(!browser.send(page).await.text.contains("/dev/inbox"));
    }

    let data = tempfile::tempdir().unwrap();
    let server = [("PROGNET_MAIL_SMTP_HOST", "127.0.0.1"), ("PROGNET_MAIL_FROM", "no-reply@example.org")];
    let node = Node::with(data.path(), &server);
    let mut browser = Browser::new(&node);
    let told = sign_up(&mut browser, "grace@example.org", "Grace").await;
    assert!(told.status == 202 && !told.text.contains("inbox"), "{}", told.text);
    for path in ["/dev/inbox", "/dev/inbox/1", "/dev/inbox/1/html"] {
        assert_eq!(browser.get(path).await.status, 404, "{path}");
    }
    browser.sign_in().await;
    assert!(!browser.get("/account").await.text.contains("inbox"));
}
