//! The setup link: how whoever started an empty node becomes its first admin. No default password exists.
//!
//! Its token says until when it is good, and proves that a node of this installation said so: it is kept nowhere, and
//! good at every node. What makes it good once is that there is an admin then.

use std::time::Duration;

use prognet_actors::users::{SetUp, set_up};
use prognet_supervisor::{Node, Refused, Timestamp, Unavailable};

use crate::gate;

/// How long a link is good.
const LASTS: Duration = Duration::from_secs(15 * 60);
/// Hexadecimal digits of the time, of what nobody guesses, and of the proof.
const DIGITS: [usize; 3] = [16, 64, 32];

/// A new token.
fn fresh(node: &Node) -> String {
    let drawn = [node.clock().fresh_secret(), node.clock().fresh_secret()].concat();
    let drawn: String = drawn.iter().map(|byte| format!("{byte:02x}")).collect();
    let said = format!("{:016x}{drawn}", node.clock().now().after(LASTS).as_millis());
    let proof = proof(node, &said);
    format!("{said}{proof:032x}")
}

/// Whether it is a token of this installation, and its time is not over.
pub(crate) fn is_good(node: &Node, token: &str) -> bool {
    let [time, drawn, proven] = DIGITS;
    let Some((said, given)) = token.split_at_checked(time + drawn) else { return false };
    let is_hex = token.len() == time + drawn + proven && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    let until = said.get(..time).and_then(|until| i64::from_str_radix(until, 16).ok());
    let is_proven = u128::from_str_radix(given, 16).is_ok_and(|given| given == proof(node, said));
    is_hex && is_proven && until.is_some_and(|until| node.clock().now() < Timestamp::from_millis(until))
}

fn proof(node: &Node, said: &str) -> u128 {
    node.hash("setup-token", said.as_bytes())
}

/// The same, and there is no admin.
pub(crate) async fn may_be_used(edge: &crate::Edge, token: &str) -> bool {
    is_good(&edge.node, token) && !matches!(stands(edge).await, Ok(set_up::View::Done(_)))
}

/// A token for the setup link, while there is no admin.
pub(crate) async fn token(edge: &crate::Edge) -> Result<Option<String>, Unavailable> {
    Ok(match stands(edge).await? {
        set_up::View::Open => Some(fresh(&edge.node)),
        set_up::View::Running | set_up::View::Done(_) => None,
    })
}

async fn stands(edge: &crate::Edge) -> Result<set_up::View, Unavailable> {
    edge.node.read(&gate::asking(edge), SetUp::at()).await.map_err(|refused| match refused {
        Refused::Unavailable(why) => why,
        _ => Unavailable::NotWritten,
    })
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::World;

    use super::*;

    /// Security bar 6: the setup link is good once, for 15 minutes.
    #[tokio::test]
    async fn a_link_ends_with_its_time_and_nobody_makes_one_up() {
        let world = World::new(prognet_actors::services).await;
        let is_good = |token: &str| is_good(&world.node, token);
        let (token, other) = (fresh(&world.node), fresh(&world.node));
        assert!(is_good(&token) && is_good(&other) && token != other);

        // Later than it says, of another one's proof, and whatever else somebody may try.
        let (said, proof) = token.split_at(80);
        let (_, but_one) = token.split_at(1);
        let later = format!("f{but_one}");
        let mixed = format!("{said}{}", other.split_at(80).1);
        let signed = format!("{said}+{}", proof.split_at(1).1);
        for made_up in
            ["", "another", &later, &mixed, &signed, but_one, &format!("{token}0"), &"é".repeat(56)]
        {
            assert!(!is_good(made_up), "{made_up}");
        }

        world.clock.advance(LASTS);
        assert!(!is_good(&token), "its time is over");
    }
}
