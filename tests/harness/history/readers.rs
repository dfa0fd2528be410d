//! What readers were shown, held against the journal.
//!
//! Whoever follows a tenant sees its public events in the order of its shard, each once: a contiguous slice of them; all
//! of them, if the reader began at the beginning and read to the end.

use std::collections::HashMap;

use super::{Journal, Row, Rule, Wrong};

/// An event as a reader sees it: `kind.name`, and its trace.
pub(crate) type Fact = (String, u128);

/// What one reader was shown, in its order.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) reader: String,
    /// The tenant that it followed.
    pub(crate) tenant: u128,
    pub(crate) facts: Vec<Fact>,
    /// From the first event to the last.
    pub(crate) is_whole: bool,
}

/// Entities of a tenant whose events the public sees, and which of them it does not (`Aggregate::publish`).
const PUBLIC: [(&str, &[&str]); 3] = [
    ("tenant", &["owner_excused", "owner_taken_back"]),
    ("membership", &["ownership_sought", "ownership_yielded", "ownership_kept"]),
    ("invitation", &["taken", "not_admitted"]),
];
/// Homes of this kind are tenants (`HomeKind`).
const TENANT: u8 = 1;

/// A public event of a tenant.
pub(crate) fn public(row: &Row) -> Option<(u128, Fact)> {
    let hidden = PUBLIC.iter().find(|(kind, _)| *kind == row.entity.0)?.1;
    let is_public = row.home.0 == TENANT && !hidden.contains(&row.name.as_str());
    is_public.then(|| (row.home.1, (format!("{}.{}", row.entity.0, row.name), row.trace)))
}

/// What there is to be shown of each tenant, in its order.
pub(crate) fn shown_of(journal: &Journal) -> HashMap<u128, Vec<Fact>> {
    let mut rows: Vec<_> = journal.events().collect();
    rows.sort_by_key(|row| (&row.shard, row.offset));
    let mut tenants: HashMap<u128, Vec<Fact>> = HashMap::new();
    for (tenant, fact) in rows.into_iter().filter_map(public) {
        tenants.entry(tenant).or_default().push(fact);
    }
    tenants
}

/// What is wrong with the readings.
pub(crate) fn faults(readings: &[Reading], journal: &Journal) -> Vec<Wrong> {
    let tenants = shown_of(journal);
    readings.iter().filter_map(|reading| fault(reading, &tenants)).collect()
}

fn fault(reading: &Reading, tenants: &HashMap<u128, Vec<Fact>>) -> Option<Wrong> {
    let Reading { reader, tenant, facts, is_whole } = reading;
    let wrong = |rule, what: String| Some(Wrong::new(rule, format!("{reader}, of {tenant:032x}: {what}")));
    let all = tenants.get(tenant).map_or(&[][..], Vec::as_slice);
    if let Some(other) = facts.iter().find(|fact| !all.contains(fact)) {
        return wrong(Rule::Foreign, format!("{other:?} is not its tenant's"));
    }
    let Some(first) = facts.first() else {
        let is_empty = all.is_empty() || !is_whole;
        return if is_empty { None } else { wrong(Rule::Missed, "it was shown nothing".to_owned()) };
    };
    let starts = (0..all.len()).filter(|at| all.get(*at) == Some(first));
    let mut slices = starts.filter_map(|at| all.get(at..));
    if slices.clone().any(|slice| slice.starts_with(facts)) {
        let is_short = *is_whole && facts.len() != all.len();
        return if is_short { wrong(Rule::Missed, "the beginning or the end".to_owned()) } else { None };
    }
    // In order, with something left out, or not in order.
    let is_in_order = slices.any(|slice| {
        let mut rest = slice.iter();
        facts.iter().all(|fact| rest.any(|next| next == fact))
    });
    let rule = if is_in_order { Rule::Missed } else { Rule::Disordered };
    wrong(rule, format!("{facts:?} is no slice of {all:?}"))
}
