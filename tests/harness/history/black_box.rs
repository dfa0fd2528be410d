//! A second opinion that never looks at the journal or at versions: is there any order of a tenant's operations, each at
//! some moment between its question and its answer, that explains all answers? Found or not by a checker of others.
//!
//! Its search grows quickly with what happens at once, so it gets samples: the beginning of each tenant's history. It
//! panics on operations without an answer, so these get one at the end, where they can be taken as never done:
//!
//! - a name is given once, so a renaming that nobody saw can be left out, and one that somebody saw was done;
//! - suspending and resuming are taken both ways: done wherever that explains something, or last and without effect.

use std::collections::{HashMap, HashSet};

use todc_utils::{
    linearizability::{
        WGLChecker,
        history::{
            Action::{Call, Response},
            History,
        },
    },
    specifications::Specification,
};

use super::{End, Function, Operation, Rule, Seen, Wrong};

/// Operations of one tenant.
const OPERATIONS_MAX: usize = 2_000;
/// Operations at once, among them those whose end nobody knows.
const AT_ONCE_MAX: usize = 8;

/// The tenants whose answers nothing explains.
pub(crate) fn faults(operations: &[Operation]) -> Vec<Wrong> {
    let mut tenants: HashMap<u128, Vec<&Operation>> = HashMap::new();
    for operation in operations {
        if let Some(key) = operation.key {
            tenants.entry(key).or_default().push(operation);
        }
    }
    let is_wrong = |operations: &[&Operation]| {
        let actions = Sample::of(operations).actions();
        !actions.is_empty() && !WGLChecker::<Tenant>::is_linearizable(History::from_actions(actions))
    };
    let wrong = tenants.iter().filter(|(_, operations)| is_wrong(operations));
    wrong.map(|(key, _)| Wrong::new(Rule::NotLinearizable, format!("no order explains {key:032x}"))).collect()
}

/// The state a tenant is in for the checker: its name by a number, and whether it is open; none before it is founded.
type State = Option<(usize, bool)>;

#[derive(Debug, Clone)]
enum Act {
    Create(usize),
    Rename(usize),
    Suspend,
    Resume,
    Read,
    /// Refused because it was suspended, or was not.
    Refused {
        is_open: bool,
    },
    /// Nobody knows whether it was done.
    Maybe(bool),
}

/// An operation, and the state that its answer shows.
#[derive(Debug, Clone)]
struct Asked {
    act: Act,
    shown: Option<State>,
}

/// What operations do to a tenant.
struct Tenant;

impl Specification for Tenant {
    type State = State;
    type Operation = Asked;

    fn init() -> State {
        None
    }

    fn apply(asked: &Asked, state: &State) -> (bool, State) {
        let next = match (&asked.act, *state) {
            (Act::Create(name), None) => Some(Some((*name, true))),
            (Act::Rename(name), Some((_, is_open))) => Some(Some((*name, is_open))),
            (Act::Suspend, Some((name, true))) => Some(Some((name, false))),
            (Act::Resume, Some((name, false))) => Some(Some((name, true))),
            (Act::Refused { is_open }, Some((_, found))) if found == *is_open => Some(*state),
            (Act::Maybe(is_open), Some((name, _))) => Some(Some((name, *is_open))),
            (Act::Read | Act::Maybe(_), state) => Some(state),
            (
                Act::Create(_) | Act::Rename(_) | Act::Suspend | Act::Resume | Act::Refused { .. },
                Some(_) | None,
            ) => None,
        };
        match next {
            Some(next) if asked.shown.is_none_or(|shown| shown == next) => (true, next),
            Some(_) | None => (false, *state),
        }
    }
}

/// The operations of one tenant that are looked at, as they stand when the sample ends.
struct Sample<'a> {
    operations: Vec<(&'a Operation, Option<u64>, End)>,
    names: HashMap<&'a str, usize>,
    seen: HashSet<&'a str>,
}

impl<'a> Sample<'a> {
    fn of(operations: &[&'a Operation]) -> Self {
        let mut sample: Vec<&Operation> = Vec::new();
        let mut cut = u64::MAX;
        for operation in operations {
            let is_open = |begun: &&&Operation| begun.answered.is_none_or(|at| at > operation.invoked);
            if sample.len() == OPERATIONS_MAX || sample.iter().filter(is_open).count() == AT_ONCE_MAX {
                cut = operation.invoked;
                break;
            }
            sample.push(operation);
        }
        let as_it_stands = |operation: &'a Operation| match operation.answered.filter(|at| *at < cut) {
            Some(at) => (operation, Some(at), operation.end.clone()),
            None => (operation, None, End::Unknown),
        };
        let (mut names, mut seen) = (HashMap::new(), HashSet::new());
        for operation in operations {
            let shown = if let End::Ok(Some(shown)) = &operation.end { Some(&*shown.name) } else { None };
            for name in operation.name.as_deref().into_iter().chain(shown) {
                let number = names.len();
                names.entry(name).or_insert(number);
            }
            if operation.answered.is_some_and(|at| at < cut) {
                seen.extend(shown);
            }
        }
        Self { operations: sample.into_iter().map(as_it_stands).collect(), names, seen }
    }

    fn number(&self, name: &str) -> usize {
        self.names.get(name).copied().unwrap_or(usize::MAX)
    }

    /// What the checker takes it for; none if it says nothing.
    fn asked(&self, operation: &Operation, end: &End) -> Option<Asked> {
        let name = operation.name.as_deref().unwrap_or_default();
        let is_done = matches!(end, End::Ok(_)) || (*end == End::Unknown && self.seen.contains(name));
        let act = match (operation.function, end) {
            (Function::Create, _) if is_done => Act::Create(self.number(name)),
            (Function::Rename, _) if is_done => Act::Rename(self.number(name)),
            (Function::Suspend, End::Ok(_)) => Act::Suspend,
            (Function::Resume, End::Ok(_)) => Act::Resume,
            (Function::Read, End::Ok(_)) => Act::Read,
            (Function::Suspend, End::Fail) => Act::Refused { is_open: false },
            (Function::Resume, End::Fail) => Act::Refused { is_open: true },
            (Function::Suspend, End::Unknown) => Act::Maybe(false),
            (Function::Resume, End::Unknown) => Act::Maybe(true),
            (Function::Create | Function::Rename | Function::Read | Function::SignIn, _) => return None,
        };
        let shown = match (operation.function, end) {
            // What a founder is shown was read a moment later.
            (Function::Create, _) | (_, End::Ok(None) | End::Fail | End::Unknown) => None,
            (_, End::Ok(Some(Seen { version: 0, .. }))) => Some(None),
            (_, End::Ok(Some(seen))) => Some(Some((self.number(&seen.name), seen.is_open))),
        };
        Some(Asked { act, shown })
    }

    /// Questions and answers in their order, for which processes count by numbers of their own.
    fn actions(&self) -> Vec<(usize, todc_utils::linearizability::history::Action<Asked>)> {
        let mut actions = Vec::new();
        for (number, (operation, answered, end)) in self.operations.iter().enumerate() {
            if let Some(asked) = self.asked(operation, end) {
                actions.push((operation.invoked, number, Call(asked.clone())));
                actions.push((answered.unwrap_or(u64::MAX), number, Response(asked)));
            }
        }
        actions.sort_by_key(|(time, ..)| *time);
        actions.into_iter().map(|(_, number, action)| (number, action)).collect()
    }
}
