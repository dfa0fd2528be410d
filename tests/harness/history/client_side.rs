//! What clients were told, held against the journal.
//!
//! The journal is a witness of the order: an operation that wrote has the place of its event among its tenant's events,
//! a read has the version it shows. With that, a history is linearizable if and only if no operation lies before one
//! that was answered before it began, so it takes one walk over the steps and no search. What an answer shows must
//! besides be what the events up to there amount to.

use std::collections::HashMap;

use super::{End, Function, Journal, Operation, Row, Rule, Seen, Wrong};

/// What is wrong between the two.
pub(crate) fn faults(operations: &[Operation], journal: &Journal) -> Vec<Wrong> {
    let effects = Effects::of(operations, journal);
    let mut faults = Vec::new();
    for operation in operations {
        effects.of_one(operation, &mut faults);
    }
    let mut tenants: HashMap<u128, Vec<&Operation>> = HashMap::new();
    for operation in operations {
        if let Some(key) = operation.key.or_else(|| effects.created_by(operation)) {
            tenants.entry(key).or_default().push(operation);
        }
    }
    for (key, operations) in &tenants {
        Tenant::of(*key, operations, &effects).faults(operations, &mut faults);
    }
    faults
}

/// What operations led to.
struct Effects<'a> {
    /// Events of tenants and sessions by what they belong to.
    by_trace: HashMap<u128, Vec<&'a Row>>,
    /// Events of a tenant, in its order.
    by_tenant: HashMap<u128, Vec<&'a Row>>,
}

impl<'a> Effects<'a> {
    fn of(operations: &[Operation], journal: &'a Journal) -> Self {
        let kinds: Vec<_> = Function::ALL.iter().filter_map(|function| function.effect()).collect();
        let mut rows: Vec<_> =
            journal.events().filter(|row| kinds.iter().any(|(kind, _)| *kind == row.entity.0)).collect();
        rows.sort_by_key(|row| row.seq);
        let mut by_trace: HashMap<_, Vec<_>> =
            operations.iter().map(|operation| (operation.trace, Vec::new())).collect();
        let mut by_tenant: HashMap<_, Vec<_>> = HashMap::new();
        for row in rows {
            if let Some(rows) = by_trace.get_mut(&row.trace) {
                rows.push(row);
            }
            if row.entity.0 == "tenant" {
                by_tenant.entry(row.entity.1).or_default().push(row);
            }
        }
        Self { by_trace, by_tenant }
    }

    fn rows(&self, operation: &Operation) -> &[&'a Row] {
        self.by_trace.get(&operation.trace).map_or(&[], Vec::as_slice)
    }

    /// The tenant that it founded although nobody was told.
    fn created_by(&self, operation: &Operation) -> Option<u128> {
        let row = self.rows(operation).first()?;
        (operation.function == Function::Create).then_some(row.entity.1)
    }

    /// Once if it was done, never if it was refused, at most once if nobody knows.
    fn of_one(&self, operation: &Operation, faults: &mut Vec<Wrong>) {
        let mut fault = |rule, what: &str| faults.push(Wrong::new(rule, format!("{what}: {operation:?}")));
        let rows = self.rows(operation);
        let is_its = |row: &&Row| {
            operation.function.effect() == Some((row.entity.0.as_str(), row.name.as_str()))
                && (row.entity.0 == "session" || operation.key.is_none_or(|key| key == row.entity.1))
        };
        if let Some(other) = rows.iter().find(|row| !is_its(row)) {
            fault(Rule::NobodyAsked, &format!("it led to {other:?}"));
        }
        match (&operation.end, rows.len()) {
            (End::Ok(_), 0) if operation.function.effect().is_some() => {
                fault(Rule::Lost, "what was acknowledged is not there");
            }
            (End::Fail, 1..) => fault(Rule::RefusedAndDone, "what was refused is there"),
            (End::Ok(_) | End::Unknown, 2..) => fault(Rule::Doubled, "it is there more than once"),
            (End::Ok(_) | End::Fail | End::Unknown, _) => {}
        }
    }
}

/// One tenant's events, and what they amount to.
struct Tenant<'a> {
    key: u128,
    /// By version, from 1 on.
    events: Vec<&'a Row>,
    /// After as many events; at 0 there is none.
    states: Vec<Option<Seen>>,
    /// The latest moment at which one of so many events was asked for.
    asked: Vec<u64>,
    versions: HashMap<u128, u64>,
    strangers: Vec<&'a Row>,
}

impl<'a> Tenant<'a> {
    fn of(key: u128, operations: &[&Operation], effects: &Effects<'a>) -> Self {
        let events = effects.by_tenant.get(&key).cloned().unwrap_or_default();
        let asked_by: HashMap<_, _> = operations.iter().map(|asked| (asked.trace, *asked)).collect();
        let mut tenant = Self {
            key,
            events,
            states: vec![None],
            asked: vec![0],
            versions: HashMap::new(),
            strangers: Vec::new(),
        };
        let (mut state, mut asked) = (None::<Seen>, 0);
        for (row, version) in tenant.events.iter().zip(1..) {
            tenant.versions.entry(row.trace).or_insert(version);
            let operation = asked_by.get(&row.trace);
            if operation.is_none() {
                tenant.strangers.push(row);
            }
            let name = operation.and_then(|operation| operation.name.clone());
            let before = state.take().unwrap_or(Seen { version, name: String::new(), is_open: true });
            state = Some(Seen {
                version,
                name: name.unwrap_or(before.name),
                is_open: match row.name.as_str() {
                    "suspended" => false,
                    "resumed" => true,
                    _ => before.is_open,
                },
            });
            asked = asked.max(operation.map_or(0, |operation| operation.invoked));
            tenant.states.push(state.clone());
            tenant.asked.push(asked);
        }
        tenant
    }

    fn faults(&self, operations: &[&Operation], faults: &mut Vec<Wrong>) {
        for row in &self.strangers {
            faults.push(Wrong::new(Rule::NobodyAsked, format!("nobody asked for {row:?}")));
        }
        for operation in operations {
            self.answer(operation, faults);
        }
        self.order(operations, faults);
    }

    /// Where it lies in the order of the tenant's events: behind so many.
    fn place(&self, operation: &Operation) -> Option<u64> {
        match (operation.function, &operation.end) {
            (Function::Read, End::Ok(seen)) => seen.as_ref().map(|seen| seen.version),
            (Function::Read | Function::SignIn, _) => None,
            (Function::Create | Function::Rename | Function::Suspend | Function::Resume, _) => {
                self.versions.get(&operation.trace).copied()
            }
        }
    }

    /// An answer shows what the events up to its version amount to.
    fn answer(&self, operation: &Operation, faults: &mut Vec<Wrong>) {
        let End::Ok(Some(seen)) = &operation.end else { return };
        let key = self.key;
        let at = usize::try_from(seen.version).ok();
        let Some(state) = at.and_then(|at| self.states.get(at)) else {
            let what = format!("{key:032x} has {} events; shown by {operation:?}", self.events.len());
            faults.push(Wrong::new(Rule::Early, what));
            return;
        };
        // A founder is answered with the tenant as it is once it is there.
        let is_in_place =
            operation.function == Function::Create || self.place(operation) == Some(seen.version);
        if state.as_ref() != Some(seen) || !is_in_place {
            let what = format!("{key:032x} is {state:?} there, its own place is {:?}", self.place(operation));
            faults.push(Wrong::new(Rule::Answer, format!("{what}; shown by {operation:?}")));
        }
    }

    /// Nothing lies before what was answered before it began.
    fn order(&self, operations: &[&Operation], faults: &mut Vec<Wrong>) {
        enum Moment {
            Began,
            Answered,
        }
        let began = operations.iter().map(|asked| (asked.invoked, Moment::Began, *asked));
        let answered =
            operations.iter().filter_map(|asked| Some((asked.answered?, Moment::Answered, *asked)));
        let mut moments: Vec<_> = began.chain(answered).collect();
        moments.sort_by_key(|(time, ..)| *time);
        // The last place that anybody has been told of.
        let mut told = 0;
        for (time, moment, operation) in moments {
            let Some(place) = self.place(operation) else { continue };
            let is_read = operation.function == Function::Read;
            match moment {
                Moment::Began if is_read && place < told => {
                    let what = format!("version {told} had been told before {operation:?}");
                    faults.push(Wrong::new(Rule::Stale, what));
                }
                Moment::Began if !is_read && place <= told => {
                    let what = format!("version {told} had been told before {operation:?}, which is {place}");
                    faults.push(Wrong::new(Rule::Order, what));
                }
                Moment::Began => {}
                Moment::Answered => {
                    let shown = if let End::Ok(Some(seen)) = &operation.end { seen.version } else { place };
                    let place = place.max(shown);
                    let at = usize::try_from(place).ok();
                    if at.and_then(|at| self.asked.get(at)).is_some_and(|asked| *asked > time) {
                        let what = format!("something up to version {place} was asked later: {operation:?}");
                        faults.push(Wrong::new(Rule::Order, what));
                    }
                    told = told.max(place);
                }
            }
        }
    }
}
