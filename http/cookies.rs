//! Cookies of the pages: which session a browser holds, and which browser a form was given to.
//!
//! A session's cookie is derived like a refresh token and never stored. It stays the same as long as the session
//! lives, so that tabs beside each other do not log each other out; whether it lives, its entity knows.

use actix_web::{
    HttpRequest,
    http::header::{self, HeaderValue, InvalidHeaderValue},
};
use prognet_actors::ids::{AccountId, SessionId};
use prognet_supervisor::Node;

use crate::{
    Edge,
    tokens::{sealed, unsealed},
};

/// The session of whoever is signed in.
pub(crate) const SESSION: &str = "prognet-session";
/// Ties forms to the browser they were given to, for whoever is not signed in.
pub(crate) const FLOW: &str = "prognet-flow";
/// Where whoever signs up was on their way to.
pub(crate) const WAY: &str = "prognet-way";
/// What tells a browser somebody signed in with before from those of strangers who guess.
pub(crate) const DEVICE: &str = "prognet-device";

/// A session in a browser's cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
}

impl Held {
    pub(crate) fn bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.account.number().to_be_bytes());
        bytes[16..].copy_from_slice(&self.session.number().to_be_bytes());
        bytes
    }

    /// The cookie's value.
    pub(crate) fn text(self, node: &Node) -> String {
        sealed(node, "session-cookie", &self.bytes())
    }

    /// The way back; none if this platform did not make it.
    pub(crate) fn parse(text: &str, node: &Node) -> Option<Self> {
        let bytes = unsealed::<32>(node, "session-cookie", text)?;
        let (account, session) = bytes.split_first_chunk::<16>()?;
        let session = session.first_chunk::<16>()?;
        Some(Self {
            account: AccountId::new(u128::from_be_bytes(*account)),
            session: SessionId::new(u128::from_be_bytes(*session)),
        })
    }
}

/// A cookie's whole name: over HTTPS with the prefix that keeps other hosts from setting it (RFC 6265bis s. 4.1.3).
fn name(cookie: &str, edge: &Edge) -> String {
    let prefix = if edge.is_https() { "__Host-" } else { "" };
    format!("{prefix}{cookie}")
}

/// The header that sets a cookie, for so many seconds or until the browser is closed.
pub(crate) fn set(
    cookie: &str,
    value: &str,
    seconds: Option<u64>,
    edge: &Edge,
) -> Result<HeaderValue, InvalidHeaderValue> {
    let name = name(cookie, edge);
    let secure = if edge.is_https() { "; Secure" } else { "" };
    let lasts = seconds.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    HeaderValue::from_str(&format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{lasts}"))
}

/// What a request says a cookie is.
pub(crate) fn read(cookie: &str, request: &HttpRequest, edge: &Edge) -> Option<String> {
    let name = name(cookie, edge);
    let sent = request.headers().get_all(header::COOKIE).filter_map(|sent| sent.to_str().ok());
    let mut pairs = sent.flat_map(|sent| sent.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::World;

    use super::*;
    use crate::tokens::Refreshing;

    #[tokio::test]
    async fn a_cookie_is_small_and_only_what_was_made_here_passes() {
        let world = World::new(prognet_actors::services).await;
        let held = Held { account: AccountId::new(7), session: SessionId::new(9) };
        let text = held.text(&world.node);

        assert_eq!(Held::parse(&text, &world.node), Some(held));
        assert!(text.len() < 100, "{text}");
        let other = Held { session: SessionId::new(8), ..held }.text(&world.node);
        let mixed: String = other.chars().take(43).chain(text.chars().skip(43)).collect();
        let refresh = Refreshing { account: held.account, session: held.session, generation: 0 };
        let refresh = refresh.token(&world.node);
        let (cut, bare) = (text.trim_start_matches('A'), refresh.trim_start_matches("prt_"));
        for forged in ["", "x", &mixed, cut, &format!("{text}A"), &refresh, bare] {
            assert_eq!(Held::parse(forged, &world.node), None, "{forged}");
        }
    }
}
