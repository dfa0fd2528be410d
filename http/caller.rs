//! Who asks. A request without a proven caller reaches no handler, and without a scope no entity.
//!
//! The only caller so far is the operator, who proves it with the token of the data directory.

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};
use prognet_actors::ids::AccountId;
use prognet_supervisor::{Asking, Node, Unavailable};

use crate::{Edge, problem::Problem};

/// The operator's token: 64 hex digits, made once and kept in the keyring.
///
/// # Errors
/// When the keyring does not answer.
pub fn operator_token(node: &Node) -> Result<String, Unavailable> {
    let random = || [node.clock().fresh_secret(), node.clock().fresh_secret()].concat();
    let secret = node.secret("operator-token", random)?;
    Ok(secret.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A proven caller.
#[derive(Debug)]
pub(crate) struct Caller {
    account: AccountId,
    asking: Asking,
}

impl Caller {
    /// The account it acts for.
    pub(crate) const fn account(&self) -> AccountId {
        self.account
    }

    /// What goes with its commands.
    pub(crate) const fn asking(&self) -> &Asking {
        &self.asking
    }

    /// Ids of what a keyed request creates come from its key, so that a retry meets the same entity.
    pub(crate) fn created_id(&self, edge: &Edge) -> u128 {
        self.asking.key.unwrap_or_else(|| edge.node.clock().fresh_id())
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(prove(request))
    }
}

fn prove(request: &HttpRequest) -> Result<Caller, Problem> {
    let edge = request.app_data::<web::Data<Edge>>().ok_or_else(Problem::unauthorized)?;
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(Problem::unauthorized)?;
    let expected = operator_token(&edge.node)?;
    // Compared as keyed hashes, so that the time it takes tells nothing about the token.
    if edge.node.hash("bearer", given.as_bytes()) != edge.node.hash("bearer", expected.as_bytes()) {
        return Err(Problem::unauthorized());
    }
    let account = AccountId::new(edge.node.hash("account", b"operator"));
    let now = edge.node.clock().now();
    let asking = Asking {
        asker: account.number(),
        key: key(request, edge)?,
        trace: edge.node.clock().fresh_id(),
        deadline: now.after(edge.settings.deadline),
    };
    Ok(Caller { account, asking })
}

/// The idempotency key, hashed with the method and the path.
fn key(request: &HttpRequest, edge: &Edge) -> Result<Option<u128>, Problem> {
    let Some(key) = request.headers().get("Idempotency-Key") else {
        return Ok(None);
    };
    let is_valid = (1..=200).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    if !is_valid {
        return Err(Problem::field("Idempotency-Key", "1 to 200 visible ASCII characters"));
    }
    let mut bytes = request.method().as_str().as_bytes().to_vec();
    bytes.extend_from_slice(request.path().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(key.as_bytes());
    Ok(Some(edge.node.hash("idempotency-key", &bytes)))
}
