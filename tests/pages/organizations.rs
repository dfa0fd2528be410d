//! Organizations by page: founding, picking, members and who may change them.

use serde_json::Value;

use super::Browser;
use crate::harness::{Node, Person};

/// A tenant's members by name, as the API has them.
async fn members(owner: &Person<'_>, tenant: &str) -> Vec<(String, String, String)> {
    let page = owner.get(&format!("/v1/tenants/{tenant}/members")).await.ok();
    let text = |member: &Value, field: &str| member[field].as_str().unwrap().to_owned();
    let members = page["data"].as_array().unwrap().iter();
    let mut members: Vec<_> =
        members.map(|member| (text(member, "name"), text(member, "role"), text(member, "status"))).collect();
    members.sort();
    members
}

fn member(name: &str, role: &str, status: &str) -> (String, String, String) {
    (name.to_owned(), role.to_owned(), status.to_owned())
}

#[tokio::test]
async fn a_person_founds_organizations_and_begins_where_it_makes_sense() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let mut browser = Browser::of(&node, &node.person("grace").await).await;
    assert_eq!(browser.get("/").await.leads_to(), "/organizations");
    let all = "/organizations";
    browser.get(all).await.shows(200, "You belong to none yet");

    let bad = browser.sends(all, all, &[("name", "Acme & Sons"), ("slug", "No Good")]).await;
    bad.shows(400, r#"<p class="wrong">3 to 40 characters of a-z"#);
    assert!(bad.text.contains(r#"value="Acme &amp; Sons""#), "nobody types a name twice: {}", bad.text);
    let founded = browser.sends(all, all, &[("name", "Acme"), ("slug", "acme")]).await;
    let acme = founded.leads_to().to_owned();
    let taken = browser.sends(all, all, &[("name", "Other"), ("slug", "acme")]).await;
    taken.shows(409, r#"<p class="wrong">taken"#);
    assert!(taken.text.contains(r#"aria-invalid="true""#) && taken.text.contains(r#"value="Other""#));

    assert_eq!(browser.get("/").await.leads_to(), acme, "there is one");
    browser.get(&acme).await.shows(200, "Tenant created");
    browser.sends(all, all, &[("name", "Globex"), ("slug", "globex")]).await.leads_to();
    assert_eq!(browser.get("/").await.leads_to(), all, "there are two");
    let picker = browser.get(all).await;
    picker.shows(200, "<bdi>Acme</bdi>");
    picker.shows(200, "<bdi>Globex</bdi>");
    picker.shows(200, "Owner");
    let first = browser.get("/organizations?limit=1").await;
    first.shows(200, "<bdi>Acme</bdi>");
    assert!(!first.text.contains("<bdi>Globex</bdi>"), "{}", first.text);
    let (_, rest) = first.text.split_once("/organizations?after=").expect("a way to the others");
    let next = format!("/organizations?after={}", rest.split_once('"').unwrap().0);
    browser.get(&next).await.shows(200, "<bdi>Globex</bdi>");
    // The bar of one leads to the other.
    let inside = browser.get(&acme).await;
    assert!(inside.text.contains(r#"<details class="switch">"#) && inside.text.contains("<bdi>Globex</bdi>"));
}

#[tokio::test]
async fn an_owner_changes_members_and_sees_it_at_once() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (grace, bob) = (node.person("grace").await, node.person("bob").await);
    let tenant = grace.founds("acme").await;
    let owner = grace.in_tenant(&tenant).await;
    owner.lets_in(&tenant, &bob, "member").await;
    let mut browser = Browser::of(&node, &grace).await;
    let page = format!("/organizations/{tenant}/members");
    let form = format!("{page}/{}", bob.account);
    let mut members_then = Vec::new();

    for change in [
        &[("change", "role"), ("role", "admin")][..],
        &[("change", "suspend"), ("role", "admin")],
        &[("change", "resume"), ("role", "admin")],
        &[("change", "remove"), ("role", "admin")],
    ] {
        assert_eq!(browser.sends(&page, &form, change).await.leads_to(), page);
        members_then.push(members(&owner, &tenant).await);
        let shown = browser.get(&page).await;
        assert_eq!(shown.text.contains("Suspended"), change[0].1 == "suspend", "{change:?}: {}", shown.text);
        assert_eq!(shown.text.contains("<bdi>bob</bdi>"), change[0].1 != "remove", "{change:?}");
    }

    let grace = member("grace", "owner", "active");
    let [admin, suspended] = ["active", "suspended"].map(|status| member("bob", "admin", status));
    let with = |bob: &(String, String, String)| vec![bob.clone(), grace.clone()];
    assert_eq!(members_then, [with(&admin), with(&suspended), with(&admin), vec![grace.clone()]]);
    let senseless = browser.sends(&page, &form, &[("change", "promote")]).await;
    assert_eq!(senseless.status, 400);
    browser.sends(&page, &form, &[("change", "role"), ("role", "king")]).await.shows(400, "Role");
    browser.sends(&page, &form, &[("change", "suspend")]).await.shows(404, "no such member");
}

/// What the API refuses, the pages refuse, and they offer none of it.
#[tokio::test]
async fn without_a_right_there_is_no_form_and_no_way_around_that() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (grace, bob, eve) = (node.person("grace").await, node.person("bob").await, node.person("eve").await);
    let tenant = grace.founds("acme").await;
    let owner = grace.in_tenant(&tenant).await;
    owner.lets_in(&tenant, &bob, "member").await;
    let before = members(&owner, &tenant).await;
    let home = format!("/organizations/{tenant}");
    let posts = [
        (format!("{home}/members/{}", grace.account), vec![("change", "suspend")]),
        (format!("{home}/members/{}", grace.account), vec![("change", "remove")]),
        (format!("{home}/members/{}", bob.account), vec![("change", "role"), ("role", "admin")]),
        (format!("{home}/invitations"), vec![("email", "x@example.org"), ("role", "member")]),
        (format!("{home}/invitations/revoke"), vec![("invitation", "inv_00000000000000000000000000")]),
    ];

    let mut member = Browser::of(&node, &bob).await;
    let shown = member.get(&format!("{home}/members")).await;
    shown.shows(200, "<bdi>grace</bdi>");
    for missing in ["Change role", "Suspend", "Remove", "/invitations"] {
        assert!(!shown.text.contains(missing), "{missing} in {}", shown.text);
    }
    member.get(&format!("{home}/invitations")).await.shows(403, "You may not do this");
    for (path, fields) in &posts {
        let refused = member.sends(&format!("{home}/members"), path, fields).await;
        refused.shows(403, "You may not do this");
    }
    let mut stranger = Browser::of(&node, &eve).await;
    for path in [&home, &format!("{home}/members"), &format!("{home}/invitations"), &format!("{home}/live")] {
        stranger.get(path).await.shows(404, "There is no such tenant");
    }
    for (path, fields) in &posts {
        stranger.sends("/account", path, fields).await.shows(404, "There is no such tenant");
    }
    stranger.sends("/account", &format!("{home}/leave"), &[]).await.shows(404, "There is no such tenant");
    assert_eq!(members(&owner, &tenant).await, before);
    let open = owner.get(&format!("/v1/tenants/{tenant}/invitations")).await.ok();
    assert_eq!(open["data"].as_array().unwrap().len(), 0);

    owner.post(&format!("/v1/tenants/{tenant}/members/{}/suspend", bob.account), Value::Null).await.ok();
    member.get(&home).await.shows(403, "Your membership is suspended");
    // The list follows.
    for _ in 0..600 {
        let page = member.get("/organizations").await;
        if page.text.contains("You are suspended") {
            return;
        }
        node.a_moment_later().await;
    }
    panic!("nobody says so");
}

#[tokio::test]
async fn the_last_owner_is_told_why_they_stay_and_what_to_do() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (grace, bob) = (node.person("grace").await, node.person("bob").await);
    let tenant = grace.founds("acme").await;
    grace.in_tenant(&tenant).await.lets_in(&tenant, &bob, "member").await;
    let mut browser = Browser::of(&node, &grace).await;
    let (home, page) = (format!("/organizations/{tenant}"), format!("/organizations/{tenant}/members"));
    let leave = format!("{home}/leave");
    browser.get(&page).await.shows(200, "Make another member an owner first");

    let refused = browser.sends(&page, &leave, &[]).await;
    refused.shows(409, "A tenant keeps at least one owner.");
    refused.shows(409, "/problems/tenant/last-owner");
    let own = format!("{page}/{}", grace.account);
    browser
        .sends(&page, &own, &[("change", "role"), ("role", "member")])
        .await
        .shows(409, "at least one owner");
    let heir = format!("{page}/{}", bob.account);
    browser.sends(&page, &heir, &[("change", "role"), ("role", "owner")]).await.leads_to();
    assert_eq!(browser.sends(&page, &leave, &[]).await.leads_to(), "/organizations");

    browser.get(&home).await.shows(404, "There is no such tenant");
    browser.get("/organizations").await.shows(200, "You belong to none yet");
    Browser::of(&node, &bob).await.get(&page).await.shows(200, "Make another member an owner first");
}

/// Line 23 of the security bar, for every form of these pages.
#[tokio::test]
async fn a_forged_form_founds_changes_and_invites_nobody() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (grace, bob) = (node.person("grace").await, node.person("bob").await);
    let tenant = grace.founds("acme").await;
    let owner = grace.in_tenant(&tenant).await;
    owner.lets_in(&tenant, &bob, "member").await;
    let before = members(&owner, &tenant).await;
    let home = format!("/organizations/{tenant}");
    let mut browser = Browser::of(&node, &grace).await;
    let stolen = Browser::of(&node, &bob).await.get("/account").await.proof();
    let forms = [
        ("/organizations".to_owned(), vec![("name", "Other"), ("slug", "other")]),
        (format!("{home}/members/{}", bob.account), vec![("change", "remove")]),
        (format!("{home}/leave"), vec![]),
        (format!("{home}/invitations"), vec![("email", "x@example.org"), ("role", "member")]),
        (format!("{home}/invitations/revoke"), vec![("invitation", "inv_00000000000000000000000000")]),
        ("/invitation".to_owned(), vec![("token", "x")]),
        ("/invitation/decline".to_owned(), vec![("token", "x")]),
        ("/account/name".to_owned(), vec![("name", "Somebody else")]),
    ];
    for (path, fields) in forms {
        for proof in ["", "0", stolen.as_str()] {
            let mut fields = fields.clone();
            fields.push(("csrf", proof));
            browser.post(&path, &fields).await.shows(403, "This form is not good");
        }
    }
    assert_eq!(members(&owner, &tenant).await, before);
    grace.until_listed("/v1/me/tenants", 1).await;
    browser.get("/account").await.shows(200, "<bdi>grace</bdi>");
}

#[tokio::test]
async fn hostile_names_are_shown_as_names() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let grace = node.person("grace").await;
    let mut browser = Browser::of(&node, &grace).await;
    let (script, turned) = ("<script>alert(1)</script>\" onclick=\"x", "Acme \u{5d0}\u{5d1}");
    let long = "x".repeat(10_000);
    for bad in ["Acme\r\nSet-Cookie: x=y", "Acme \u{202e}moc.live", long.as_str(), "", " "] {
        let refused =
            browser.sends("/organizations", "/organizations", &[("name", bad), ("slug", "acme")]).await;
        refused.shows(400, "1 to 100 characters");
        assert!(refused.headers.get("set-cookie").is_none());
        browser.sends("/account", "/account/name", &[("name", bad)]).await.shows(400, "1 to 100 characters");
    }
    browser.sends("/account", "/account/name", &[("name", script)]).await.shows(200, "Your name is changed");
    let all = "/organizations";
    let home = browser.sends(all, all, &[("name", turned), ("slug", "turned")]).await.leads_to().to_owned();
    let other = browser.sends(all, all, &[("name", script), ("slug", "script")]).await.leads_to().to_owned();
    let invite = [("email", "x@example.org"), ("role", "member")];
    let invitations = format!("{other}/invitations");
    browser.sends(&invitations, &invitations, &invite).await.shows(201, "on its way to x@example.org");

    for path in [all, "/account", &home, &other, &format!("{home}/members"), &format!("{other}/members")] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 200);
        assert!(!page.text.contains("<script>alert") && !page.text.contains("\" onclick"), "{}", page.text);
        assert!(page.text.contains("&lt;script&gt;alert"), "{path}: {}", page.text);
        // The title of a window holds no markup.
        let (_, body) = page.text.split_once("</head>").unwrap();
        for (at, _) in body.match_indices('\u{5d0}') {
            let before = body.get(..at).unwrap();
            assert!(before.rfind("<bdi>") > before.rfind("</bdi>"), "{path}: words around it are turned");
        }
    }
}

/// What happens is told by name to those who may see the members, and to others without.
#[tokio::test]
async fn what_happens_names_people_to_those_who_may_know_them() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    let (grace, bob, eve) = (node.person("grace").await, node.person("bob").await, node.person("eve").await);
    let tenant = grace.founds("acme").await;
    let owner = grace.in_tenant(&tenant).await;
    let allowed = serde_json::json!({ "permissions": ["tenant:read", "events:read"] });
    owner.put(&format!("/v1/tenants/{tenant}/roles/custom"), allowed).await.ok();
    owner.lets_in(&tenant, &bob, "member").await;
    owner.lets_in(&tenant, &eve, "custom").await;
    let home = format!("/organizations/{tenant}");

    let member = Browser::of(&node, &bob).await.get(&home).await;
    let without_right = Browser::of(&node, &eve).await.get(&home).await;

    member.shows(200, r#"<p class="small"><bdi>bob</bdi></p>"#);
    member.shows(200, "By: <bdi>grace</bdi>");
    without_right.shows(200, &bob.account);
    assert!(!without_right.text.contains("<bdi>bob</bdi>"), "{}", without_right.text);
    // An organization that is called like somebody's account tells nobody who that is.
    let stranger = node.person("mallory").await;
    let named = serde_json::json!({ "name": stranger.account });
    owner.patch(&format!("/v1/tenants/{tenant}"), named).await.ok();
    let page = Browser::of(&node, &bob).await.get(&home).await;
    page.shows(200, &format!("Name: <bdi>{}</bdi>", stranger.account));
    assert!(!page.text.contains("mallory"), "{}", page.text);
    let no_right = serde_json::json!({ "permissions": ["tenant:read"] });
    owner.put(&format!("/v1/tenants/{tenant}/roles/custom"), no_right).await.ok();
    let mut browser = Browser::of(&node, &eve).await;
    browser.get(&home).await.shows(200, "Your role does not let you follow it");
    browser.get(&format!("{home}/live")).await.shows(403, "You may not do this");
    browser.get(&format!("{home}/members")).await.shows(403, "You may not do this");
}
