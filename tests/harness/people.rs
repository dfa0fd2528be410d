//! People: whoever signs up, opens the mailed link, signs in, and asks for something.

use prognet_actors::{
    auth::link::{LinkKey, Purpose},
    ids::{AccountId, InvitationId, TenantId},
};
use prognet_storage::keyring::{Keyring, MasterKey};
use prognet_supervisor::Home;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Node, Reply, reply};

/// Everybody's password.
pub(crate) const PASSWORD: &str = "seven unlikely giraffes";

/// Somebody who is signed in, for the platform or for a tenant.
pub(crate) struct Person<'a> {
    node: &'a Node,
    pub(crate) email: String,
    pub(crate) account: String,
    token: String,
}

impl Node {
    /// Somebody who signs up, shows the address to be theirs, and signs in.
    pub(crate) async fn person(&self, name: &str) -> Person<'_> {
        let email = format!("{name}@example.org");
        let body = json!({ "email": email, "password": PASSWORD, "name": name });
        let sign_up = self.stranger(Method::POST, "/v1/accounts").header("Idempotency-Key", name).json(&body);
        assert_eq!(reply(sign_up).await.unwrap().status, 202);
        let token = self.sign_up_link(name).await;
        // The mail is sent when the address is claimed, which takes a moment.
        for _ in 0..600 {
            let verify = self
                .stranger(Method::POST, "/v1/accounts/verify")
                .json(&json!({ "token": token, "password": PASSWORD }));
            if reply(verify).await.unwrap().status == 204 {
                return self.sign_in(&email, None).await;
            }
            self.a_moment_later().await;
        }
        panic!("the address was never claimed")
    }

    /// Somebody who has an account, signed in.
    pub(crate) async fn known(&self, email: &str) -> Person<'_> {
        self.sign_in(email, None).await
    }

    async fn sign_in(&self, email: &str, tenant: Option<&str>) -> Person<'_> {
        let tokens = self.try_sign_in(email, tenant).await.ok();
        let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
        let (account, token) = (text("account"), text("access_token"));
        Person { node: self, email: email.to_owned(), account, token }
    }

    async fn try_sign_in(&self, email: &str, tenant: Option<&str>) -> Reply {
        let body = json!({ "email": email, "password": PASSWORD, "tenant": tenant });
        reply(self.stranger(Method::POST, "/v1/sessions").json(&body)).await.unwrap()
    }

    /// The token in the mail to whoever signed up under a key.
    async fn sign_up_link(&self, key: &str) -> String {
        let keyring = self.keyring();
        let key = [&[0; 16][..], b"POST/v1/accounts ", key.as_bytes()].concat();
        let account = keyring.hash("idempotency-key", &key);
        let link = keyring.hash("sign-up-link", &account.to_be_bytes());
        self.link(Purpose::VerifyAddress, AccountId::new(account).home(), link).await
    }

    /// The token in the mail of an invitation.
    pub(crate) async fn invitation_link(&self, tenant: &str, invitation: &Value) -> String {
        let (tenant, id): (TenantId, InvitationId) =
            (tenant.parse().unwrap(), invitation["id"].as_str().unwrap().parse().unwrap());
        self.link(Purpose::AcceptInvitation, tenant.home(), id.number()).await
    }

    /// A token as mails have it, made with the node's own key.
    async fn link(&self, purpose: Purpose, home: Home, id: u128) -> String {
        // The key is made when the first token is read or written.
        let wrong = json!({ "token": "none", "password": PASSWORD });
        let asked = self.stranger(Method::POST, "/v1/accounts/verify").json(&wrong);
        assert_eq!(reply(asked).await.unwrap().status, 403);
        let secret =
            self.keyring().known_secret("mail-links").await.unwrap().expect("no token was ever read");
        LinkKey::new(&secret).token(purpose, home, id)
    }

    /// A copy of the node's keyring, as it is now.
    fn keyring(&self) -> Keyring {
        let (from, copy) = (self.data.join("keyring"), tempfile::tempdir().unwrap());
        for file in ["master.key", "keys.log"] {
            std::fs::copy(from.join(file), copy.path().join(file)).unwrap();
        }
        Keyring::open(copy.path(), &MasterKey::in_directory(copy.path()).unwrap()).unwrap()
    }
}

impl<'n> Person<'n> {
    /// The same person, with a token for a tenant.
    pub(crate) async fn in_tenant(&self, tenant: &str) -> Person<'n> {
        self.node.sign_in(&self.email, Some(tenant)).await
    }

    /// What comes of signing in for a tenant.
    pub(crate) async fn try_in_tenant(&self, tenant: &str) -> Reply {
        self.node.try_sign_in(&self.email, Some(tenant)).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.node.stranger(method, path).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        reply(self.request(Method::GET, path)).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        reply(self.request(Method::POST, path).json(&body)).await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Reply {
        reply(self.request(Method::PUT, path).json(&body)).await.unwrap()
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Reply {
        reply(self.request(Method::PATCH, path).json(&body)).await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        reply(self.request(Method::DELETE, path)).await.unwrap()
    }

    /// Asks for the end of the account.
    pub(crate) async fn leaves(&self) -> Reply {
        let delete = self.request(Method::DELETE, "/v1/me").json(&json!({ "password": PASSWORD }));
        reply(delete).await.unwrap()
    }

    /// Founds a tenant; its id.
    pub(crate) async fn founds(&self, slug: &str) -> String {
        let founded = self.post("/v1/tenants", json!({ "name": slug, "slug": slug })).await.ok();
        founded["id"].as_str().unwrap().to_owned()
    }

    /// Invites somebody, who accepts; what they are asked with, for that tenant.
    pub(crate) async fn lets_in<'a>(&self, tenant: &str, who: &Person<'a>, role: &str) -> Person<'a> {
        let path = format!("/v1/tenants/{tenant}/invitations");
        let invited = self.post(&path, json!({ "email": who.email, "role": role })).await.ok();
        let token = self.node.invitation_link(tenant, &invited).await;
        who.post("/v1/invitations/accept", json!({ "token": token })).await.ok();
        who.in_tenant(tenant).await
    }

    /// Asks again until a list has so many items.
    pub(crate) async fn until_listed(&self, path: &str, items: usize) -> Value {
        for _ in 0..600 {
            let page = self.get(path).await.ok();
            if page["data"].as_array().is_some_and(|data| data.len() == items) {
                return page;
            }
            self.node.a_moment_later().await;
        }
        panic!("never so many")
    }

    /// Asks again until the answer is this problem.
    pub(crate) async fn until_refused(&self, path: &str, status: u16, code: &str) {
        for _ in 0..600 {
            let answer = self.get(path).await;
            if !answer.status.is_success() {
                answer.problem(status, code);
                return;
            }
            self.node.a_moment_later().await;
        }
        panic!("never refused")
    }
}
