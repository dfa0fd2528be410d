//! The keys that sign access tokens: shown to verifiers, renewed in time, private halves in the keyring.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use actix_web::{HttpResponse, http::header, web::Data};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use prognet_actors::auth::{
    KeyRing,
    access::Right,
    key_ring::{self, Key},
};
use prognet_supervisor::{Asking, Node, Refused, Timestamp, Unavailable};
use serde_json::json;

use crate::{
    Edge,
    caller::Caller,
    problem::Problem,
    v1::{Problems, sessions::fresh},
};

/// A new key is shown this long before it signs: many times what verifiers may keep the answer of the route below.
const SHOWN_BEFORE: Duration = Duration::from_secs(15 * 60);
/// A revoked key is believed no longer than this by whoever verifies tokens without asking.
const KEPT_BY_VERIFIERS_S: u64 = 60;
/// How often other nodes' changes are looked for, and whether a key is due: revoked keys act so long at most.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const _: () = assert!(LOOK_EVERY.as_secs() <= 60 && KEPT_BY_VERIFIERS_S <= 60);
/// What a look may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The keys as this node knows them.
#[derive(Default)]
pub(crate) struct Keys(RwLock<Arc<Known>>);

#[derive(Default)]
struct Known {
    ring: Vec<Key>,
    signing: HashMap<String, EncodingKey>,
    verifying: HashMap<String, DecodingKey>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key that signs now, and its name.
    pub(crate) fn signing(&self, now: Timestamp) -> Option<(String, EncodingKey)> {
        let known = self.known();
        let key = key_ring::signing(&known.ring, now)?;
        Some((key.kid.clone(), known.signing.get(&key.kid)?.clone()))
    }

    /// The key of this name, if it still verifies.
    pub(crate) fn verifying(&self, kid: &str, now: Timestamp) -> Option<DecodingKey> {
        let known = self.known();
        key_ring::shown(&known.ring, now).find(|key| key.kid == kid)?;
        known.verifying.get(kid).cloned()
    }

    /// Learns what the key ring holds, after adding a key if one is due; says whether a key was lost.
    pub(crate) async fn look(
        &self,
        node: &Node,
        rotate_every: Duration,
        token_lasts: Duration,
    ) -> Result<bool, Unavailable> {
        let now = node.clock().now();
        let asking = Asking { asker: 0, key: None, trace: 0, deadline: now.after(PATIENCE) };
        let ring = node.read(&asking, KeyRing::at()).await.map_err(unavailable)?;
        let newest = ring.last();
        // Without its private half, as after a restore with an old keyring, nobody can sign in: no time to show it.
        let is_usable = match newest {
            Some(newest) => node.known_secret(&secret_name(&newest.kid)).await?.is_some(),
            None => false,
        };
        let is_due = newest.is_none_or(|newest| now.since(newest.from) >= rotate_every);
        let ring = if is_due || !is_usable {
            let (kid, x, y) = make(node).await?;
            let after = newest.map(|newest| newest.kid.clone());
            let shown_before = if is_usable { SHOWN_BEFORE } else { Duration::ZERO };
            let stage = key_ring::Command::Stage { kid, x, y, after, shown_before, token_lasts };
            match node.ask(&asking, KeyRing::at(), stage).await {
                Ok(staged) => staged.reply,
                Err(Refused::Rejected(key_ring::Rejection::Outdated)) => {
                    node.read(&asking, KeyRing::at()).await.map_err(unavailable)?
                }
                Err(refused) => return Err(unavailable(refused)),
            }
        } else {
            ring
        };
        self.learn(ring, node).await
    }

    /// Forgets all keys and what they signed, for one that signs at once.
    async fn revoke(&self, node: &Node, token_lasts: Duration, asking: &Asking) -> Result<bool, Unavailable> {
        let (kid, x, y) = make(node).await?;
        let revoke = key_ring::Command::Revoke { kid, x, y, token_lasts };
        let ring = node.ask(asking, KeyRing::at(), revoke).await.map_err(unavailable)?.reply;
        self.learn(ring, node).await
    }

    /// Knows a ring from now on; says whether a key that was known is in it no longer.
    async fn learn(&self, ring: Vec<Key>, node: &Node) -> Result<bool, Unavailable> {
        let known = Arc::new(Known::of(ring, node).await?);
        let before = std::mem::replace(
            &mut *self.0.write().unwrap_or_else(PoisonError::into_inner),
            Arc::clone(&known),
        );
        Ok(before.verifying.keys().any(|kid| !known.verifying.contains_key(kid)))
    }
}

impl Known {
    async fn of(ring: Vec<Key>, node: &Node) -> Result<Self, Unavailable> {
        let mut known = Self::default();
        for Key { kid, x, y, .. } in &ring {
            if let Some(private) = node.known_secret(&secret_name(kid)).await? {
                known.signing.insert(kid.clone(), EncodingKey::from_ec_der(&private));
            }
            if let Ok(public) = DecodingKey::from_ec_components(x, y) {
                known.verifying.insert(kid.clone(), public);
            }
        }
        known.ring = ring;
        Ok(known)
    }
}

/// A new key, its private half kept: its name and the coordinates of its public half.
async fn make(node: &Node) -> Result<(String, String, String), Unavailable> {
    let kid = format!("{:032x}", node.clock().fresh_id());
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let pkcs8 = pkcs8.map_err(|_unspecified| Unavailable::NotWritten)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())
        .map_err(|_rejected| Unavailable::NotWritten)?;
    // An uncompressed point: 4, then both coordinates (SEC 1 s. 2.3.3).
    let point = pair.public_key().as_ref();
    let coordinate = |from, to| BASE64_URL_SAFE_NO_PAD.encode(point.get(from..to).unwrap_or_default());
    node.secret(&secret_name(&kid), || pkcs8.as_ref().to_vec()).await?;
    Ok((kid, coordinate(1, 33), coordinate(33, 65)))
}

fn secret_name(kid: &str) -> String {
    format!("jwt/{kid}")
}

fn unavailable<R>(refused: Refused<R>) -> Unavailable {
    match refused {
        Refused::Unavailable(why) => why,
        Refused::Rejected(_) | Refused::KeyReused | Refused::Poison | Refused::Erased | Refused::Fault => {
            Unavailable::NotWritten
        }
    }
}

/// Looks until the node stops; what went wrong once is tried again the next time.
pub(crate) async fn keep(edge: Data<Edge>) {
    let mut closing = edge.closing.subscribe();
    loop {
        tokio::select! {
            () = edge.node.clock().sleep(LOOK_EVERY) => {}
            _ = closing.wait_for(|is_closing| *is_closing) => return,
        }
        let auth = &edge.settings.auth;
        match edge.keys.look(&edge.node, auth.key_rotation, auth.access_lasts).await {
            // Perhaps revoked at another node.
            Ok(true) => edge.gate.forget_signatures(),
            Ok(false) => {}
            Err(why) => tracing::warn!(why = %why, "failed to look after the token keys"),
        }
    }
}

/// Revokes the keys that sign access tokens, as when somebody may have copied them: for platform admins.
///
/// Every access token is refused from then on, and within 60 seconds by whoever checks them with the published keys;
/// sessions go on, and get a token of the new key by refreshing. It takes a sign-in of the last 10 minutes.
#[utoipa::path(post, path = "/v1/system/keys/revoke", tag = "system",
    responses((status = 204, description = "Revoked; another key signs"), Problems))]
pub(crate) async fn revoke(caller: Caller, edge: Data<Edge>) -> Result<HttpResponse, Problem> {
    let scope = caller.may_on_platform(Right::RevokeKeys)?;
    fresh(&caller, &edge).await?;
    let asking = Asking { key: None, ..*scope.asking() };
    edge.keys.revoke(&edge.node, edge.settings.auth.access_lasts, &asking).await?;
    edge.gate.forget_signatures();
    Ok(HttpResponse::NoContent().finish())
}

/// The public keys (RFC 7517), for whoever checks tokens without asking.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "sessions",
    responses((status = 200, description = "A JWK set", content_type = "application/jwk-set+json", body = serde_json::Value, example = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "7d3f...", "x": "WfqG...", "y": "0zE1..." }] }))), security(()))]
pub(crate) async fn jwks(edge: Data<Edge>) -> HttpResponse {
    let known = edge.keys.known();
    let keys: Vec<_> = key_ring::shown(&known.ring, edge.node.clock().now())
        .map(|Key { kid, x, y, .. }| {
            json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": x, "y": y })
        })
        .collect();
    let caching = format!("public, max-age={KEPT_BY_VERIFIERS_S}");
    let answer = HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, caching))
        .content_type("application/jwk-set+json")
        .body(json!({ "keys": keys }).to_string());
    std::future::ready(answer).await
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::World;

    use super::*;

    const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
    const TOKEN: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn a_key_is_renewed_in_time_and_no_token_is_left_without_its_key() {
        let (world, keys) = (World::new(prognet_actors::services).await, Keys::default());
        let look = async || assert!(!keys.look(&world.node, MONTH, TOKEN).await.unwrap(), "no key is lost");
        let signing = || keys.signing(world.clock.now()).unwrap().0;
        let verifies = |kid: &str| keys.verifying(kid, world.clock.now()).is_some();
        look().await;
        let old = signing();

        world.clock.advance(MONTH);
        look().await;
        assert_eq!(signing(), old, "the next one is shown first");
        world.clock.advance(SHOWN_BEFORE);
        let new = signing();
        assert_ne!(new, old);
        assert!(verifies(&old) && verifies(&new), "tokens of the old one still live");
        world.clock.advance(TOKEN);
        assert!(!verifies(&old) && verifies(&new));

        // A node that starts now knows what the others know.
        let other = Keys::default();
        other.look(&world.node, MONTH, TOKEN).await.unwrap();
        assert_eq!(other.signing(world.clock.now()).unwrap().0, new);
    }

    /// Security bar 36.
    #[tokio::test]
    async fn revoked_keys_verify_nothing_here_at_once_and_elsewhere_with_the_next_look() {
        let (world, here, elsewhere) =
            (World::new(prognet_actors::services).await, Keys::default(), Keys::default());
        for keys in [&here, &elsewhere] {
            assert!(!keys.look(&world.node, MONTH, TOKEN).await.unwrap(), "nothing is lost");
        }
        let old = here.signing(world.clock.now()).unwrap().0;

        assert!(here.revoke(&world.node, TOKEN, &world.asking(None)).await.unwrap());

        let new = here.signing(world.clock.now()).unwrap().0;
        assert_ne!(new, old);
        assert!(here.verifying(&old, world.clock.now()).is_none());
        assert!(elsewhere.look(&world.node, MONTH, TOKEN).await.unwrap(), "it has lost one");
        assert!(elsewhere.verifying(&old, world.clock.now()).is_none());
        assert_eq!(elsewhere.signing(world.clock.now()).unwrap().0, new);
    }

    #[tokio::test]
    async fn a_key_whose_private_half_is_lost_has_a_successor_at_once() {
        let (world, keys) = (World::new(prognet_actors::services).await, Keys::default());
        let (kid, x, y) = ("lost".to_owned(), "AA".to_owned(), "AA".to_owned());
        let (shown_before, token_lasts) = (SHOWN_BEFORE, TOKEN);
        let stage = key_ring::Command::Stage { kid, x, y, after: None, shown_before, token_lasts };
        world.ask(KeyRing::at(), stage).await.unwrap();

        for _ in 0..2 {
            keys.look(&world.node, MONTH, TOKEN).await.unwrap();
        }

        assert_ne!(keys.signing(world.clock.now()).unwrap().0, "lost");
        assert_eq!(world.read(KeyRing::at()).await.unwrap().len(), 2, "one successor, not one a look");
    }
}
