//! Histories: what clients asked and were told, step by step, and whether the journal agrees.
//!
//! A history is a list of steps in the shape of Jepsen: each operation begins with `:invoke` and ends with `:ok` (it
//! was done), `:fail` (it certainly was not) or `:info` (nobody knows; its process does nothing more). Each carries a
//! trace of its own, which the journal keeps beside every record: so what an operation led to is found in the journal
//! without a word of the node that answered. `judge` compares the two and knows nothing of nodes, of faults or of time
//! but its order.

mod black_box;
mod client_side;
pub(crate) mod clients;
mod edn;
mod journal;
mod judge;
mod readers;
mod recorder;
mod tests;
mod tries;
mod wrong;

pub(crate) use clients::Clients;
pub(crate) use journal::{Journal, Row};
pub(crate) use judge::judge;
pub(crate) use readers::{Fact, Reading};
pub(crate) use wrong::{Rule, Wrong};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Function {
    /// Founds a tenant.
    Create,
    /// Gives it a name that no other operation gives any tenant.
    Rename,
    Suspend,
    Resume,
    Read,
    /// Opens a session.
    SignIn,
}

impl Function {
    pub(crate) const ALL: [Self; 6] =
        [Self::Create, Self::Rename, Self::Suspend, Self::Resume, Self::Read, Self::SignIn];

    /// Its name in a history.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Rename => "rename",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Read => "read",
            Self::SignIn => "sign-in",
        }
    }

    /// The one event that it leads to: of which kind of entity, and its name.
    pub(crate) const fn effect(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Create => Some(("tenant", "created")),
            Self::Rename => Some(("tenant", "renamed")),
            Self::Suspend => Some(("tenant", "suspended")),
            Self::Resume => Some(("tenant", "resumed")),
            Self::Read => None,
            Self::SignIn => Some(("session", "opened")),
        }
    }
}

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// It begins.
    Invoke,
    /// It was done.
    Ok,
    /// It certainly was not.
    Fail,
    /// Nobody knows.
    Info,
}

impl Stage {
    pub(crate) const ALL: [Self; 4] = [Self::Invoke, Self::Ok, Self::Fail, Self::Info];

    /// Its name in a history.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }
}

/// A tenant as an answer shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    /// How many events made it so.
    pub(crate) version: u64,
    pub(crate) name: String,
    /// Not suspended.
    pub(crate) is_open: bool,
}

/// What a step carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Nothing,
    /// The name that is asked for.
    Name(String),
    /// What was answered.
    Seen(Seen),
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Who: one operation at a time, and none after one whose end nobody knows.
    pub(crate) process: usize,
    pub(crate) stage: Stage,
    pub(crate) function: Function,
    /// The tenant, once it is known.
    pub(crate) key: Option<u128>,
    /// The operation's trace, the same for all its attempts.
    pub(crate) trace: u128,
    pub(crate) value: Value,
    /// Nanoseconds since the history began; no two steps have the same.
    pub(crate) time: u64,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Ok(Option<Seen>),
    Fail,
    Unknown,
}

/// An operation from its first step to its last.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) function: Function,
    pub(crate) key: Option<u128>,
    pub(crate) trace: u128,
    /// The name it asks for.
    pub(crate) name: Option<String>,
    pub(crate) invoked: u64,
    /// When it was answered; an end that nobody knows has no time.
    pub(crate) answered: Option<u64>,
    pub(crate) end: End,
}

/// The operations of a history, in the order they began; what has no end is one that nobody knows.
pub(crate) fn operations(steps: &[Step]) -> Result<Vec<Operation>, Wrong> {
    let mut operations: Vec<Operation> = Vec::new();
    let mut open = std::collections::HashMap::new();
    let mut last = None;
    for step in steps {
        let malformed = |what: &str| Wrong::new(Rule::Malformed, format!("{what}: {step:?}"));
        if last.replace(step.time) >= Some(step.time) {
            return Err(malformed("a step is not later than the one before"));
        }
        if step.stage == Stage::Invoke {
            let name = match &step.value {
                Value::Name(name) => Some(name.clone()),
                Value::Nothing => None,
                Value::Seen(_) => return Err(malformed("an answer where something is asked")),
            };
            if open.insert(step.process, Some(operations.len())).is_some() {
                return Err(malformed("a process begins something before it has ended something"));
            }
            operations.push(Operation {
                function: step.function,
                key: step.key,
                trace: step.trace,
                name,
                invoked: step.time,
                answered: None,
                end: End::Unknown,
            });
            continue;
        }
        let begun = open.remove(&step.process).flatten();
        let operation = begun.and_then(|at| operations.get_mut(at));
        let operation = operation.filter(|begun| begun.trace == step.trace);
        let operation = operation.ok_or_else(|| malformed("nothing was begun that ends here"))?;
        operation.key = operation.key.or(step.key);
        let seen = if let Value::Seen(seen) = &step.value { Some(seen.clone()) } else { None };
        (operation.answered, operation.end) = match step.stage {
            Stage::Ok => (Some(step.time), End::Ok(seen)),
            Stage::Fail => (Some(step.time), End::Fail),
            Stage::Info | Stage::Invoke => {
                open.insert(step.process, None);
                (None, End::Unknown)
            }
        };
    }
    Ok(operations)
}
