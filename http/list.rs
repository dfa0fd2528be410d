//! Lists: pages of a projection's rows, read on by cursor, current up to a write if wanted.

use actix_web::HttpResponseBuilder;
use prognet_supervisor::{Asking, Projection, Written};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::IntoParams;

use crate::{Edge, cursor, input::page_items, problem::Problem};

/// What a list may be asked.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// A page's `next`: reads on behind it.
    pub(crate) after: Option<String>,
    /// Items of the page, 50 unless said otherwise.
    #[param(minimum = 1)]
    pub(crate) limit: Option<usize>,
    /// The `Prognet-Consistency` of a write that the list must show.
    pub(crate) consistency: Option<String>,
}

impl Page {
    /// The first page, of the usual length.
    pub(crate) const FIRST: Self = Self { after: None, limit: None, consistency: None };

    /// The first one, with so many items at most.
    pub(crate) fn of(limit: usize, edge: &Edge) -> Self {
        Self { limit: Some(limit.min(edge.settings.page_items_max)), ..Self::FIRST }
    }

    /// The page after another, of the usual length.
    pub(crate) const fn behind(next: String) -> Self {
        Self { after: Some(next), limit: None, consistency: None }
    }
}

/// A page of the rows whose keys begin with a prefix, and the cursor of the next; cursors are signed for `list`.
pub(crate) async fn page<P: Projection, T: Serialize + DeserializeOwned>(
    list: &str,
    prefix: &[u8],
    wanted: &Page,
    asking: &Asking,
    edge: &Edge,
) -> Result<(Vec<T>, Option<String>), Problem> {
    let limit = page_items(wanted.limit, edge)?;
    if let Some(token) = &wanted.consistency {
        let written = cursor::read(edge, "consistency", "consistency", token)?;
        let written: Written = serde_json::from_slice(&written)
            .map_err(|_why| Problem::field("consistency", "a token of a write"))?;
        edge.node.caught_up::<P>(written, asking.deadline).await?;
    }
    let after = wanted.after.as_deref().map(|after| cursor::read(edge, list, "after", after));
    let rows = edge.node.rows::<P, T>(prefix, after.transpose()?.as_deref(), limit + 1).await?;
    let next = rows.get(limit).and(rows.get(limit - 1)).map(|(key, _)| cursor::write(edge, list, key));
    Ok((rows.into_iter().take(limit).map(|(_, row)| row).collect(), next))
}

/// Waits until a list shows a write. The write stands anyway: if that takes too long, the list shows it later.
pub(crate) async fn seen<P: Projection>(written: Option<Written>, asking: &Asking, edge: &Edge) {
    if let Some(written) = written
        && let Err(why) = edge.node.caught_up::<P>(written, asking.deadline).await
    {
        tracing::debug!(%why, "a list is behind");
    }
}

/// Says with an answer which write a list must show to show it too.
pub(crate) fn consistency(written: Option<Written>, edge: &Edge, response: &mut HttpResponseBuilder) {
    if let Some(written) = written.and_then(|written| serde_json::to_vec(&written).ok()) {
        response.insert_header(("Prognet-Consistency", cursor::write(edge, "consistency", &written)));
    }
}
