//! The judge is judged: it finds nothing wrong with histories that are right, and each kind of damage done to them.

mod scene;

use proptest::prelude::*;

use super::{
    End, Function, Journal, Rule, Stage, Step, Value, Wrong, black_box, edn, judge, operations, readers,
};
use scene::Scene;

/// Scenes that each damage is done to.
const SEEDS: u64 = 60;

fn verdict(scene: &Scene) -> Vec<Wrong> {
    judge(&scene.history, &scene.readings, &scene.journal)
}

/// Does damage to many scenes, wherever there is something to damage, and expects each to be found.
#[track_caller]
fn finds(rule: Rule, damage: impl Fn(&mut Scene) -> Option<()>) {
    let mut done = 0;
    for seed in 0..SEEDS {
        let mut scene = Scene::of(seed, 5, 400);
        assert_eq!(verdict(&scene), Vec::new(), "seed {seed}");
        if damage(&mut scene).is_some() {
            done += 1;
            let found = verdict(&scene);
            assert!(found.iter().any(|wrong| wrong.rule == rule), "seed {seed}: {found:?}");
        }
    }
    assert!(done > SEEDS / 4, "there was hardly anything to damage: {done}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nothing_is_wrong_with_what_is_right(seed: u64, clients in 1usize..9, moments in 0usize..600) {
        prop_assert_eq!(verdict(&Scene::of(seed, clients, moments)), Vec::new());
    }

    #[test]
    fn a_history_is_read_as_it_was_written(seed: u64) {
        let history = Scene::of(seed, 4, 200).history;
        prop_assert_eq!(edn::read(&edn::write(&history)), Some(history));
    }
}

#[test]
fn a_history_is_written_as_jepsen_writes_its_own() {
    let step = Step {
        process: 3,
        stage: Stage::Invoke,
        function: Function::Rename,
        key: Some(10),
        trace: 11,
        value: Value::Name("a \"b\" \\ c".to_owned()),
        time: 12,
    };

    let text = edn::write(std::slice::from_ref(&step));

    assert_eq!(
        text,
        "{:process 3, :type :invoke, :f :rename, :key \"0000000000000000000000000000000a\", \
         :value \"a \\\"b\\\" \\\\ c\", :time 12, :trace \"0000000000000000000000000000000b\"}\n"
    );
    let closed = text.trim_end().trim_end_matches('}');
    for none in [closed, &text.replace(":invoke", ":invited"), &text.replace("12", "twelve"), "3", "{:a}"] {
        assert_eq!(edn::read(none), None, "{none}");
    }
}

#[test]
fn a_recorder_at_fault_is_told_apart() {
    let history = Scene::of(1, 2, 50).history;
    let is_malformed = |history: &[Step]| operations(history).unwrap_err().rule == Rule::Malformed;

    assert!(is_malformed(&[&history[..1], &history[..1]].concat()), "twice at the same time");
    let end = history.iter().position(|step| step.stage != Stage::Invoke).unwrap();
    assert!(is_malformed(&history[end..]), "an end without a beginning");
    let (mut again, later) = (history[0].clone(), history.last().unwrap().time + 1);
    again.time = later;
    assert!(is_malformed(&[history[0].clone(), again]), "two things at once");
}

#[test]
fn an_acknowledged_command_that_is_not_in_the_journal_is_missed() {
    finds(Rule::Lost, |scene| {
        let row = scene.row_of(|operation| matches!(operation.end, End::Ok(_)))?;
        scene.journal.rows.remove(row);
        scene.renumber();
        Some(())
    });
}

#[test]
fn a_command_that_took_effect_twice_is_found() {
    finds(Rule::Doubled, |scene| {
        let row = scene.row_of(|_| true)?;
        let mut again = scene.journal.rows[row].clone();
        again.batch += 1 << 64;
        scene.journal.rows.push(again);
        scene.renumber();
        Some(())
    });
}

#[test]
fn a_refused_command_that_took_effect_is_found() {
    finds(Rule::RefusedAndDone, |scene| {
        let refused = scene.operations().into_iter().find(|operation| operation.end == End::Fail)?;
        let kept = scene.journal.rows.iter().find(|row| row.entity.1 == refused.key.unwrap())?.clone();
        scene.journal.rows.push(super::Row { trace: refused.trace, batch: 1 << 64, ..kept });
        scene.renumber();
        Some(())
    });
}

#[test]
fn what_nobody_asked_for_is_found() {
    finds(Rule::NobodyAsked, |scene| {
        let row = scene.row_of(|operation| operation.function == Function::Rename)?;
        scene.journal.rows[row].trace = 1 << 100;
        Some(())
    });
}

#[test]
fn a_read_of_what_had_been_overwritten_is_found_by_both_judges() {
    let damage = |scene: &mut Scene| {
        // What a read showed, shown again by one that began later, behind another renaming that was answered.
        let all = scene.operations();
        let renamings = all.iter().filter(|operation| operation.function == Function::Rename);
        let (old, read) = renamings.clone().find_map(|renaming| {
            let End::Ok(Some(old)) = &renaming.end else { return None };
            let newer = renamings.clone().find(|newer| {
                let is_newer = matches!(&newer.end, End::Ok(Some(seen)) if seen.version > old.version);
                // The checker of others knows no versions: only one that was asked later is newer to it.
                newer.key == renaming.key && is_newer && Some(newer.invoked) > renaming.answered
            })?;
            let read = all.iter().find(|read| {
                let is_read = read.function == Function::Read && matches!(read.end, End::Ok(_));
                // Early enough for the sample that the checker of others gets.
                let is_lost = |before: &&super::Operation| {
                    before.key == read.key && before.answered.is_none() && before.invoked < read.invoked
                };
                let is_looked_at = all.iter().filter(is_lost).count() < 3;
                is_read && read.key == newer.key && Some(read.invoked) > newer.answered && is_looked_at
            })?;
            Some((old.clone(), read.trace))
        })?;
        *scene.answer(read) = Value::Seen(old);
        Some(())
    };
    finds(Rule::Stale, damage);
    finds(Rule::NotLinearizable, damage);
}

#[test]
fn an_answer_of_another_tenant_is_found() {
    finds(Rule::Answer, |scene| {
        let reads: Vec<_> = scene.operations();
        let shown = |operation: &super::Operation| match &operation.end {
            End::Ok(Some(seen)) if operation.function == Function::Read => Some(seen.clone()),
            _ => None,
        };
        let (one, mine) = reads.iter().find_map(|read| Some((read, shown(read)?)))?;
        let foreign = reads.iter().filter(|read| read.key != one.key).find_map(shown)?;
        *scene.answer(one.trace) = Value::Seen(super::Seen { version: mine.version, ..foreign });
        Some(())
    });
}

#[test]
fn an_answer_that_came_before_the_event_was_durable_and_was_lost_with_it_is_found() {
    finds(Rule::Early, |scene| {
        let read =
            scene.operations().into_iter().rev().find(|operation| {
                operation.function == Function::Read && matches!(operation.end, End::Ok(_))
            })?;
        let Value::Seen(seen) = scene.answer(read.trace) else { return None };
        seen.version += 1_000;
        Some(())
    });
}

#[test]
fn a_command_that_was_answered_before_its_turn_is_found() {
    finds(Rule::Order, |scene| {
        // Answered, and asked, before another was asked whose event lies before its own.
        let all = scene.operations();
        let writes: Vec<_> = all.iter().filter(|write| write.function == Function::Rename).collect();
        let version = |write: &super::Operation| match &write.end {
            End::Ok(Some(seen)) => Some(seen.version),
            _ => None,
        };
        let early = writes.iter().find(|later| {
            let is_before = |first: &&&super::Operation| {
                first.key == later.key && first.trace != later.trace && version(first) < version(later)
            };
            version(later).is_some() && writes.iter().filter(is_before).any(|first| version(first).is_some())
        })?;
        // Moved to the beginning of all, by a process of its own.
        let mut moved: Vec<_> = scene.history.extract_if(.., |step| step.trace == early.trace).collect();
        moved.iter_mut().for_each(|step| step.process = 10_000);
        scene.history.splice(0..0, moved);
        for (time, step) in (1..).zip(&mut scene.history) {
            step.time = time;
        }
        Some(())
    });
}

#[test]
fn a_gap_in_a_shard_is_found() {
    finds(Rule::Gap, |scene| {
        let row = scene.row_of(|_| true)?;
        scene.journal.rows.remove(row);
        Some(())
    });
}

#[test]
fn a_record_of_an_old_epoch_behind_a_newer_one_is_found() {
    finds(Rule::Epoch, |scene| {
        let rows = &scene.journal.rows;
        let (one, other) = (0..rows.len()).find_map(|one| {
            let newer =
                |other: &usize| rows[*other].shard == rows[one].shard && rows[*other].epoch > rows[one].epoch;
            Some((one, (0..rows.len()).find(newer)?))
        })?;
        let epoch = rows[one].epoch;
        scene.journal.rows[one].epoch = rows[other].epoch;
        scene.journal.rows[other].epoch = epoch;
        Some(())
    });
    finds(Rule::Epoch, |scene| {
        let last = scene.journal.rows.last_mut()?;
        last.epoch += 100;
        Some(())
    });
}

#[test]
fn a_stream_in_another_order_or_with_a_gap_is_found() {
    finds(Rule::Stream, |scene| {
        let rows = &mut scene.journal.rows;
        let shard = rows.first()?.shard.clone();
        let other = rows.iter().rposition(|row| row.shard == shard).filter(|other| *other > 0)?;
        let lsn = rows[0].lsn;
        rows[0].lsn = rows[other].lsn;
        rows[other].lsn = lsn;
        Some(())
    });
    finds(Rule::Stream, |scene| {
        scene.journal.last_lsn += 1;
        Some(())
    });
    finds(Rule::Stream, |scene| {
        scene.journal.rows.last_mut()?.lsn = None;
        Some(())
    });
}

#[test]
fn a_row_of_a_shard_that_says_another_end_is_found() {
    finds(Rule::Tail, |scene| {
        scene.journal.shards.values_mut().next()?.tail += 1;
        Some(())
    });
}

#[test]
fn seqs_that_are_not_one_after_the_other_are_found() {
    finds(Rule::Seq, |scene| {
        scene.journal.rows.last_mut()?.seq += 1;
        Some(())
    });
}

#[test]
fn a_batch_that_lies_apart_is_found() {
    finds(Rule::Batch, |scene| {
        let rows = &scene.journal.rows;
        let of = |row: &super::Row| (row.shard.clone(), row.batch);
        let last = rows.last()?.clone();
        let first = rows.iter().position(|row| row.shard == last.shard && of(row) != of(&last))?;
        scene.journal.rows[first].batch = last.batch;
        Some(())
    });
}

#[test]
fn an_event_of_another_tenant_is_found_at_a_reader() {
    finds(Rule::Foreign, |scene| {
        let other = scene.readings.iter().find(|reading| !reading.facts.is_empty())?.clone();
        let reading = scene.readings.iter_mut().find(|reading| reading.tenant != other.tenant)?;
        reading.facts.push(other.facts[0].clone());
        Some(())
    });
}

#[test]
fn events_in_another_order_or_twice_are_found_at_a_reader() {
    finds(Rule::Disordered, |scene| {
        let reading = scene.readings.iter_mut().find(|reading| reading.facts.len() > 2)?;
        reading.facts.swap(0, 1);
        Some(())
    });
    finds(Rule::Disordered, |scene| {
        let reading = scene.readings.iter_mut().find(|reading| reading.facts.len() > 2)?;
        reading.facts.insert(1, reading.facts[1].clone());
        Some(())
    });
}

#[test]
fn an_event_that_is_missing_at_a_reader_is_found() {
    finds(Rule::Missed, |scene| {
        let reading = scene.readings.iter_mut().find(|reading| reading.facts.len() > 2)?;
        reading.facts.remove(1);
        Some(())
    });
    finds(Rule::Missed, |scene| {
        scene.readings.iter_mut().find(|reading| reading.is_whole && !reading.facts.is_empty())?.facts.pop();
        Some(())
    });
    finds(Rule::Missed, |scene| {
        scene
            .readings
            .iter_mut()
            .find(|reading| reading.is_whole && !reading.facts.is_empty())?
            .facts
            .clear();
        Some(())
    });
}

/// What a process did not live to hear was done or was not: both explain what others saw.
#[test]
fn an_outcome_that_nobody_knows_may_be_either_for_the_checker_of_others() {
    let step = |process, stage, function, trace, value, time| Step {
        process,
        stage,
        function,
        key: Some(1),
        trace,
        value,
        time,
    };
    let seen = |name: &str, is_open| Value::Seen(super::Seen { version: 1, name: name.to_owned(), is_open });
    let begins = |function, read: Value| {
        let name = if function == Function::Rename { Value::Name("b".to_owned()) } else { Value::Nothing };
        operations(&[
            step(0, Stage::Invoke, Function::Create, 1, Value::Name("a".to_owned()), 1),
            step(0, Stage::Ok, Function::Create, 1, seen("a", true), 2),
            step(0, Stage::Invoke, function, 2, name, 3),
            step(0, Stage::Info, function, 2, Value::Nothing, 4),
            step(1, Stage::Invoke, Function::Read, 3, Value::Nothing, 5),
            step(1, Stage::Ok, Function::Read, 3, read, 6),
            step(1, Stage::Invoke, Function::Read, 4, Value::Nothing, 7),
        ])
        .unwrap()
    };
    let rules = |function, read| black_box::faults(&begins(function, read)).len();

    assert_eq!(rules(Function::Suspend, seen("a", false)), 0);
    assert_eq!(rules(Function::Suspend, seen("a", true)), 0);
    assert_eq!(rules(Function::Rename, seen("b", true)), 0);
    assert_eq!(rules(Function::Rename, seen("a", true)), 0);
    assert_eq!(rules(Function::Resume, seen("a", false)), 1);
    assert_eq!(rules(Function::Rename, seen("b", false)), 1);
}

#[test]
fn a_journal_is_read_as_sql_shows_it() {
    let id = "0000000000000000000000000000000f";
    let journal = Journal::read(|sql| {
        if sql.contains("from record") {
            format!(
                "tenancy|7|1|3|9|1|1|1|{id}|tenant|{id}|created|0|{id}\ntenancy|7|2|3||2|6|1|{id}|tenant|{id}||0|{id}"
            )
        } else if sql.contains("from shard") {
            "tenancy|7|3|2".to_owned()
        } else {
            "9".to_owned()
        }
    });

    assert_eq!(journal.rows.iter().map(|row| row.lsn).collect::<Vec<_>>(), [Some(9), None]);
    assert_eq!(journal.shards[&("tenancy".to_owned(), 7)].tail, 2);
    assert_eq!(journal.events().filter_map(readers::public).count(), 1);
}
