//! The setup link: how whoever started an empty node becomes its first admin. No default password exists.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prognet_actors::users::{SetUp, set_up};
use prognet_supervisor::{Node, Timestamp, Unavailable};

use crate::gate;

/// How long a link is good.
const LASTS: Duration = Duration::from_secs(15 * 60);

/// The link that is good now, if one is; only its keyed hash is kept.
#[derive(Debug, Default)]
pub(crate) struct SetupLink(Mutex<Option<Held>>);

#[derive(Debug)]
struct Held {
    print: u128,
    until: Timestamp,
}

impl SetupLink {
    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new token; the one before is worth nothing from now on.
    fn renew(&self, node: &Node) -> String {
        let secret = [node.clock().fresh_secret(), node.clock().fresh_secret()].concat();
        let token: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        *self.lock() = Some(Held { print: print(node, &token), until: node.clock().now().after(LASTS) });
        token
    }

    /// Whether it is the token, and its time is not over.
    pub(crate) fn is_good(&self, node: &Node, token: &str) -> bool {
        let print = print(node, token);
        self.lock().as_ref().is_some_and(|held| held.print == print && node.clock().now() < held.until)
    }

    /// It was used.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }
}

/// Compared instead of tokens, so that the time it takes tells nothing about them.
fn print(node: &Node, token: &str) -> u128 {
    node.hash("setup-token", token.as_bytes())
}

/// A token for the setup link, while there is no admin.
pub(crate) async fn token(edge: &crate::Edge) -> Result<Option<String>, Unavailable> {
    let how = edge.node.read(&gate::asking(edge), SetUp::at()).await;
    match how {
        Ok(set_up::View::Open) => Ok(Some(edge.setup.renew(&edge.node))),
        Ok(set_up::View::Running | set_up::View::Done(_)) => Ok(None),
        Err(prognet_supervisor::Refused::Unavailable(why)) => Err(why),
        Err(_) => Err(Unavailable::NotWritten),
    }
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::World;

    use super::*;

    /// Security bar 6: the setup link is good once, for 15 minutes.
    #[tokio::test]
    async fn a_link_ends_with_its_time_with_its_use_and_with_the_next_one() {
        let (world, link) = (World::new(prognet_actors::services).await, SetupLink::default());
        let is_good = |token: &str| link.is_good(&world.node, token);
        let token = link.renew(&world.node);
        assert!(is_good(&token) && !is_good("another"));

        world.clock.advance(LASTS);
        assert!(!is_good(&token), "its time is over");
        let (older, newer) = (link.renew(&world.node), link.renew(&world.node));
        assert!(!is_good(&older) && is_good(&newer));
        link.end();
        assert!(!is_good(&newer), "it was used");
    }
}
