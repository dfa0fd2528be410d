//! Tokens: what an access token claims (RFC 9068), and refresh tokens, which are derived and never stored.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Header, Validation};
use prognet_actors::ids::{AccountId, SessionId, TenantId};
use prognet_supervisor::{Node, Timestamp, Unavailable};
use serde::{Deserialize, Serialize};

use crate::Edge;

/// The type of an access token (RFC 9068 s. 2.1): no other JWT passes for one.
const TYPE: &str = "at+jwt";
/// The client every session belongs to, as long as there are no others.
const CLIENT: &str = "prognet";
/// Makes a refresh token known to secret scanners.
const PREFIX: &str = "prt_";

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    iss: String,
    aud: String,
    client_id: String,
    jti: String,
    iat: i64,
    exp: i64,
    /// Never said here; whoever says it means it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    /// The account.
    pub(crate) sub: AccountId,
    /// The session.
    pub(crate) sid: SessionId,
    /// The tenant it is for, if it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tid: Option<TenantId>,
    /// The tenant's epoch when it was made: a suspension raises it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tep: Option<u64>,
}

impl Claims {
    /// When the token is over.
    pub(crate) fn until(&self) -> Timestamp {
        Timestamp::from_millis(self.exp.saturating_mul(1000))
    }
}

/// What a token made now for a session says, perhaps for a tenant at its epoch.
pub(crate) fn claims(edge: &Edge, sub: AccountId, sid: SessionId, tenant: Option<(TenantId, u64)>) -> Claims {
    let now = edge.node.clock().now();
    Claims {
        iss: edge.issuer.clone(),
        aud: edge.issuer.clone(),
        client_id: CLIENT.to_owned(),
        jti: format!("{:032x}", edge.node.clock().fresh_id()),
        iat: now.as_millis() / 1000,
        exp: now.after(edge.settings.auth.access_lasts).as_millis() / 1000,
        nbf: None,
        sub,
        sid,
        tid: tenant.map(|(id, _)| id),
        tep: tenant.map(|(_, epoch)| epoch),
    }
}

/// An access token for a session, perhaps for a tenant at its epoch.
pub(crate) fn access(
    edge: &Edge,
    sub: AccountId,
    sid: SessionId,
    tenant: Option<(TenantId, u64)>,
) -> Result<String, Unavailable> {
    let (kid, key) = edge.keys.signing(edge.node.clock().now()).ok_or(Unavailable::NotWritten)?;
    let claims = claims(edge, sub, sid, tenant);
    let header = Header { typ: Some(TYPE.to_owned()), kid: Some(kid), ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, &claims, &key).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "failed to sign a token");
        Unavailable::NotWritten
    })
}

/// What a token claims, if one of our keys signed it as an access token of this platform, and it is not over.
pub(crate) fn verified(edge: &Edge, token: &str) -> Option<Claims> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    if header.typ.as_deref() != Some(TYPE) || header.alg != Algorithm::ES256 {
        return None;
    }
    let now = edge.node.clock().now();
    let key = edge.keys.verifying(header.kid.as_deref()?, now)?;
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_issuer(&[&edge.issuer]);
    rules.set_audience(&[&edge.issuer]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // Judged below, on the clock that everything here runs on.
    rules.validate_exp = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &rules).ok()?.claims;
    let has_begun = claims.nbf.is_none_or(|begin| now.as_millis() >= begin.saturating_mul(1000));
    (has_begun && now < claims.until()).then_some(claims)
}

/// Where a refresh token belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refreshing {
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
    pub(crate) generation: u64,
}

impl Refreshing {
    fn bytes(self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..16].copy_from_slice(&self.account.number().to_be_bytes());
        bytes[16..32].copy_from_slice(&self.session.number().to_be_bytes());
        bytes[32..].copy_from_slice(&self.generation.to_be_bytes());
        bytes
    }

    /// The token: where it belongs, and the proof that this platform made it.
    pub(crate) fn token(self, node: &Node) -> String {
        format!("{PREFIX}{}", sealed(node, "refresh-token", &self.bytes()))
    }

    /// The way back; none if this platform did not make it.
    pub(crate) fn parse(token: &str, node: &Node) -> Option<Self> {
        let bytes = unsealed::<40>(node, "refresh-token", token.strip_prefix(PREFIX)?)?;
        let (account, rest) = bytes.split_first_chunk::<16>()?;
        let (session, rest) = rest.split_first_chunk::<16>()?;
        let (generation, _) = rest.split_first_chunk::<8>()?;
        Some(Self {
            account: AccountId::new(u128::from_be_bytes(*account)),
            session: SessionId::new(u128::from_be_bytes(*session)),
            generation: u64::from_be_bytes(*generation),
        })
    }
}

/// A device that its person signed in on before: whoever shows it is not slowed down by strangers' guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    account: AccountId,
    id: u128,
}

impl Device {
    /// Makes a device known to secret scanners.
    const PREFIX: &'static str = "pdv_";

    /// A device nobody has shown yet.
    pub(crate) fn fresh(account: AccountId, node: &Node) -> Self {
        Self { account, id: node.clock().fresh_id() }
    }

    /// Its id, if it is one of the account's.
    pub(crate) fn of(self, account: AccountId) -> Option<u128> {
        (self.account == account).then_some(self.id)
    }

    /// The token: the account, the device, and the proof that this platform made it.
    pub(crate) fn token(self, node: &Node) -> String {
        let named = [self.account.number().to_be_bytes(), self.id.to_be_bytes()].concat();
        format!("{}{}", Self::PREFIX, sealed(node, "device-token", &named))
    }

    /// The way back; none if this platform did not make it.
    pub(crate) fn parse(token: &str, node: &Node) -> Option<Self> {
        let named = unsealed::<32>(node, "device-token", token.strip_prefix(Self::PREFIX)?)?;
        let (account, id) = named.split_first_chunk::<16>()?;
        let id = u128::from_be_bytes(id.try_into().ok()?);
        Some(Self { account: AccountId::new(u128::from_be_bytes(*account)), id })
    }
}

/// Bytes and the proof that this platform put them together for a purpose, as text.
pub(crate) fn sealed(node: &Node, purpose: &str, bytes: &[u8]) -> String {
    let proof = node.hash(purpose, bytes).to_be_bytes();
    BASE64_URL_SAFE_NO_PAD.encode([bytes, &proof].concat())
}

/// The way back; none if this platform did not make it for this purpose.
pub(crate) fn unsealed<const LENGTH: usize>(node: &Node, purpose: &str, text: &str) -> Option<[u8; LENGTH]> {
    let all = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let (bytes, proof) = all.split_first_chunk::<LENGTH>()?;
    is_same(node, proof, &node.hash(purpose, bytes).to_be_bytes()).then_some(*bytes)
}

/// Both sides go through the keyed hash: comparing them tells nothing about either.
pub(crate) fn is_same(node: &Node, one: &[u8], other: &[u8]) -> bool {
    node.hash("compare", one) == node.hash("compare", other)
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::World;

    use super::*;

    #[tokio::test]
    async fn a_device_is_known_by_its_own_account_alone_and_nobody_makes_one_up() {
        let world = World::new(prognet_actors::services).await;
        let (mine, other) = (AccountId::new(1), AccountId::new(2));
        let device = Device::fresh(mine, &world.node);
        let token = device.token(&world.node);

        assert_eq!(Device::parse(&token, &world.node), Some(device));
        assert_eq!((device.of(mine).is_some(), device.of(other)), (true, None));
        let mut forged = token.clone().into_bytes();
        forged[10] = if forged[10] == b'A' { b'B' } else { b'A' };
        for bad in [String::from_utf8(forged).unwrap(), format!("{token}A"), "pdv_".to_owned(), String::new()]
        {
            assert_eq!(Device::parse(&bad, &world.node), None, "{bad}");
        }
    }
}
