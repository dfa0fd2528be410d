//! What happened in an organization, for people: the ids of accounts become names, where the visitor may know them.

use std::collections::BTreeMap;

use minijinja::{Value, context};
use prognet_actors::{auth::access::Right, ids::AccountId, users::Account};
use prognet_sdk::EventView;
use prognet_supervisor::Topic;

use super::organizations::Inside;
use crate::{Edge, live::view, problem::Problem};

/// Events a page shows.
const EVENTS: usize = 20;

/// The last events, the newest first.
pub(super) async fn latest(inside: &Inside, topic: Topic, edge: &Edge) -> Result<Vec<Value>, Problem> {
    let mut events = edge.node.latest(topic, EVENTS).await?;
    events.reverse();
    let events: Vec<_> = events.iter().map(|event| view(edge, topic, event)).collect();
    let names = names(inside, &events, edge).await?;
    let told = events.into_iter().map(|EventView { kind, id, at, data, .. }| {
        let facts = data.as_object().into_iter().flatten().map(|(name, fact)| {
            let fact = fact.as_str().map_or_else(|| fact.to_string(), str::to_owned);
            let known = names.get(&fact).filter(|_| is_account(name));
            (name.clone(), known.cloned().unwrap_or(fact))
        });
        context! { who => names.get(&id), facts => facts.collect::<BTreeMap<_, _>>(), kind, at }
    });
    Ok(told.collect())
}

/// The names of the accounts that events are about or speak of.
async fn names(
    inside: &Inside,
    events: &[EventView],
    edge: &Edge,
) -> Result<BTreeMap<String, String>, Problem> {
    let mut names = BTreeMap::new();
    if !inside.may(Right::ReadMembers) {
        return Ok(names);
    }
    let spoken_of = |event: &EventView| -> Vec<String> {
        let facts = event.data.as_object().into_iter().flatten().filter(|(name, _)| is_account(name));
        let ids = facts.filter_map(|(_, fact)| fact.as_str()).chain([event.id.as_str()]);
        ids.map(str::to_owned).collect()
    };
    for id in events.iter().flat_map(spoken_of) {
        let Ok(account) = id.parse::<AccountId>() else { continue };
        if names.contains_key(&id) {
            continue;
        }
        if let Some(account) = edge.node.read(inside.caller.own().asking(), Account::at(account)).await? {
            names.insert(id, account.name.to_string());
        }
    }
    Ok(names)
}

/// Whether a fact of this name is an account that we named: what people write, such as a name, never is.
fn is_account(fact: &str) -> bool {
    ["account", "by", "owner"].contains(&fact)
}
