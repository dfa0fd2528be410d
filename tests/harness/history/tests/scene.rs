//! Histories that are right by construction: tenants in memory that do one thing after the other, whose clients ask at
//! once, are told late or never, and whose shards change hands.

use std::collections::{BTreeMap, HashMap};

use super::super::{
    Fact, Function, Journal, Operation, Reading, Row, Seen, Stage, Step, Value, clients::Dice,
    journal::Owned, operations, readers,
};

/// What was asked, told, shown and kept.
pub(super) struct Scene {
    pub(super) history: Vec<Step>,
    pub(super) readings: Vec<Reading>,
    pub(super) journal: Journal,
}

/// Something under way.
#[derive(Clone)]
struct Asked {
    process: usize,
    function: Function,
    key: Option<u128>,
    trace: u128,
    name: Option<String>,
    /// Its end, once it took effect.
    end: Option<(Stage, Option<u128>, Value)>,
}

struct World {
    dice: Dice,
    time: u64,
    processes: usize,
    history: Vec<Step>,
    journal: Journal,
    tenants: BTreeMap<u128, Seen>,
    /// Tenants whose founders were told.
    known: Vec<u128>,
    seqs: HashMap<(String, u128), u64>,
}

impl Scene {
    /// So many clients, and so many moments at which one of them does something.
    pub(super) fn of(seed: u64, clients: usize, moments: usize) -> Self {
        let mut world = World {
            dice: Dice(seed),
            time: 0,
            processes: clients,
            history: Vec::new(),
            journal: Journal::default(),
            tenants: BTreeMap::new(),
            known: Vec::new(),
            seqs: HashMap::new(),
        };
        let mut clients: Vec<(usize, Option<Asked>)> = (0..clients).map(|process| (process, None)).collect();
        // What nobody waits for any more, and may still happen.
        let mut late = Vec::new();
        for _ in 0..moments {
            let at = world.dice.below(clients.len());
            world.moment(&mut clients[at], &mut late);
            if world.dice.below(40) == 0 && !late.is_empty() {
                let mut asked: Asked = late.swap_remove(world.dice.below(late.len()));
                world.take_effect(&mut asked);
            }
            if world.dice.below(20) == 0
                && let Some(owned) = world.journal.shards.values_mut().next()
            {
                owned.epoch += 1;
            }
        }
        let readings = world.readings();
        Self { history: world.history, readings, journal: world.journal }
    }

    pub(super) fn operations(&self) -> Vec<Operation> {
        operations(&self.history).unwrap()
    }

    /// Where the event of some operation lies.
    pub(super) fn row_of(&self, is_it: impl Fn(&Operation) -> bool) -> Option<usize> {
        let traces: Vec<_> =
            self.operations().into_iter().filter(|operation| is_it(operation)).map(|of| of.trace).collect();
        let is_event = |row: &Row| row.kind == 1 && traces.contains(&row.trace);
        let middle = self.journal.rows.len() / 2;
        let behind = self.journal.rows.iter().skip(middle).position(is_event).map(|at| at + middle);
        behind.or_else(|| self.journal.rows.iter().position(is_event))
    }

    /// What an operation was answered.
    pub(super) fn answer(&mut self, trace: u128) -> &mut Value {
        let is_it = |step: &&mut Step| step.trace == trace && step.stage == Stage::Ok;
        &mut self.history.iter_mut().find(is_it).unwrap().value
    }

    /// Makes a journal sound again whose rows were added to or taken from.
    pub(super) fn renumber(&mut self) {
        let (mut tails, mut seqs) = (HashMap::new(), HashMap::new());
        for (row, lsn) in self.journal.rows.iter_mut().zip(1..) {
            let tail = tails.entry(row.shard.clone()).or_insert(0);
            let seq = seqs.entry((row.home, row.entity.clone())).or_insert(0);
            (*tail, *seq) = (*tail + 1, *seq + 1);
            (row.offset, row.seq, row.lsn) = (*tail, *seq, Some(lsn));
            // The last owner of the shard wrote what was added.
            row.epoch = row.epoch.max(1);
        }
        for (shard, owned) in &mut self.journal.shards {
            owned.tail = tails.get(shard).copied().unwrap_or(0);
            let mut epoch = 1;
            for row in self.journal.rows.iter_mut().filter(|row| row.shard == *shard) {
                epoch = epoch.max(row.epoch);
                row.epoch = epoch;
            }
        }
        self.journal.last_lsn = self.journal.rows.len() as u64;
    }
}

impl World {
    fn moment(&mut self, client: &mut (usize, Option<Asked>), late: &mut Vec<Asked>) {
        let Some(asked) = &mut client.1 else {
            client.1 = Some(self.ask(client.0));
            return;
        };
        if self.dice.below(12) == 0 {
            self.step(asked, Stage::Info, None, Value::Nothing);
            late.extend(client.1.take().filter(|asked| asked.end.is_none()));
            client.0 = self.processes;
            self.processes += 1;
            return;
        }
        match asked.end.take() {
            None => self.take_effect(asked),
            Some((stage, key, value)) => {
                self.step(asked, stage, key, value);
                client.1 = None;
            }
        }
    }

    fn step(&mut self, asked: &Asked, stage: Stage, key: Option<u128>, value: Value) {
        self.time += 1 + self.dice.below(5) as u64;
        let Asked { process, function, trace, .. } = *asked;
        let (key, time) = (asked.key.or(key), self.time);
        if function == Function::Create && stage == Stage::Ok {
            self.known.extend(key);
        }
        self.history.push(Step { process, stage, function, key, trace, value, time });
    }

    fn ask(&mut self, process: usize) -> Asked {
        let function = match self.dice.below(20) {
            _ if self.known.len() < 2 => Function::Create,
            0 => Function::Create,
            1 => Function::SignIn,
            2..=4 => Function::Suspend,
            5..=7 => Function::Resume,
            8..=13 => Function::Rename,
            _ => Function::Read,
        };
        let trace = self.dice.id();
        let is_named = matches!(function, Function::Create | Function::Rename);
        let has_key = !matches!(function, Function::Create | Function::SignIn);
        let key = has_key.then(|| self.known[self.dice.below(self.known.len().min(3))]);
        let name = is_named.then(|| format!("name {trace:x}"));
        let asked = Asked { process, function, key, trace, name: name.clone(), end: None };
        self.step(&asked, Stage::Invoke, key, name.map_or(Value::Nothing, Value::Name));
        asked
    }

    /// The one moment at which it happens.
    fn take_effect(&mut self, asked: &mut Asked) {
        let key = asked.key.unwrap_or_else(|| self.dice.id());
        let before = self.tenants.get(&key).cloned();
        let name = asked.name.clone();
        let after = match (asked.function, before) {
            (Function::SignIn, _) => {
                self.append(("auth", "session"), key, "opened", asked.trace);
                asked.end = Some((Stage::Ok, None, Value::Nothing));
                return;
            }
            (Function::Read, Some(seen)) => {
                asked.end = Some((Stage::Ok, Some(key), Value::Seen(seen)));
                return;
            }
            (Function::Create, None) => Some(Seen { version: 0, name: name.unwrap(), is_open: true }),
            (Function::Rename, Some(seen)) => Some(Seen { name: name.unwrap(), ..seen }),
            (Function::Suspend, Some(seen)) if seen.is_open => Some(Seen { is_open: false, ..seen }),
            (Function::Resume, Some(seen)) if !seen.is_open => Some(Seen { is_open: true, ..seen }),
            _ => None,
        };
        let Some(mut seen) = after else {
            asked.end = Some((Stage::Fail, None, Value::Nothing));
            return;
        };
        seen.version += 1;
        self.append(("tenancy", "tenant"), key, asked.function.effect().unwrap().1, asked.trace);
        self.tenants.insert(key, seen.clone());
        asked.end = Some((Stage::Ok, Some(key), Value::Seen(seen)));
    }

    /// An event and the reply that is kept for retries, in one batch.
    fn append(&mut self, (service, kind): (&str, &str), id: u128, name: &str, trace: u128) {
        let shard = (service.to_owned(), u32::try_from(id % 2).unwrap());
        let batch = self.dice.id() >> 64;
        for (record, name) in [(1, name), (6, "")] {
            let owned = self.journal.shards.entry(shard.clone()).or_insert(Owned { epoch: 1, tail: 0 });
            let seq = self.seqs.entry((kind.to_owned(), id)).or_insert(0);
            (owned.tail, *seq, self.journal.last_lsn) = (owned.tail + 1, *seq + 1, self.journal.last_lsn + 1);
            self.journal.rows.push(Row {
                shard: shard.clone(),
                offset: owned.tail,
                epoch: owned.epoch,
                lsn: Some(self.journal.last_lsn),
                seq: *seq,
                kind: record,
                home: (if service == "auth" { 2 } else { 1 }, id),
                entity: (kind.to_owned(), id),
                name: name.to_owned(),
                trace,
                batch,
            });
        }
    }

    /// All of each tenant, and a piece from somewhere.
    fn readings(&mut self) -> Vec<Reading> {
        let mut readings = Vec::new();
        for tenant in self.tenants.keys().copied().collect::<Vec<_>>() {
            let events = self.journal.events().filter_map(readers::public);
            let facts: Vec<Fact> = events.filter(|(of, _)| *of == tenant).map(|(_, fact)| fact).collect();
            let from = self.dice.below(facts.len());
            let to = from + self.dice.below(facts.len() - from + 1);
            let reading = |facts: &[Fact], is_whole| Reading {
                reader: "reader".to_owned(),
                tenant,
                facts: facts.to_vec(),
                is_whole,
            };
            readings.extend([reading(&facts[from..to], false), reading(&facts, true)]);
        }
        readings
    }
}
