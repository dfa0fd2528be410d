//! The seeds: knocked at before this node is anybody, so that an operator hears early who it does not belong to. Who is
//! here, the database tells; seeds that do not answer stop nobody, the first of several has none to reach.

use futures_util::future::join_all;
use prognet_cluster::link::{Knock, RactorLink};
use prognet_config::Settings;

/// Knocks at all of them.
///
/// # Errors
/// When one of them will not have this node, or none of them is another node.
pub(super) async fn look(settings: &Settings, link: &RactorLink, own: &str) -> anyhow::Result<()> {
    let Some(list) = &settings.cluster.seeds else { return Ok(()) };
    let seeds: Vec<_> = list.split(',').map(str::trim).filter(|seed| !seed.is_empty()).collect();
    if seeds.iter().any(|seed| seed.parse::<std::net::SocketAddr>().is_err() && !seed.contains(':')) {
        let valid = "addresses with ports, such as 10.0.0.2:7101, 10.0.0.3:7101";
        return Err(settings.refuse("cluster.seeds", valid).into());
    }
    let others: Vec<_> = seeds.into_iter().filter(|seed| *seed != own).collect();
    let knocks = join_all(others.iter().map(|seed| link.knock(seed))).await;
    if knocks.iter().all(|knock| *knock == Knock::Namesake) {
        let valid =
            "addresses of other nodes: who answers there is this node itself, or has its `cluster.node` too";
        return Err(settings.refuse("cluster.seeds", valid).into());
    }
    let (mut nobody, mut has_friend) = (Vec::new(), false);
    for (seed, knock) in others.into_iter().zip(knocks) {
        match knock {
            Knock::Friend => has_friend = true,
            Knock::Namesake => {}
            Knock::Stranger(why) => {
                anyhow::bail!("the node at {seed}, one of `cluster.seeds`, and this one do not link: {why}")
            }
            Knock::Nobody(why) => nobody.push(format!("{seed}: {why}")),
        }
    }
    if !has_friend {
        let why = nobody.join(", ");
        tracing::info!(
            why,
            "none of `cluster.seeds` answers yet: this node goes on, the database names the others"
        );
    }
    Ok(())
}
