//! Shelves: one order over all nodes, nothing lost, nothing twice, and no more than was asked for.

use std::time::Duration;

use crate::{Home, HomeKind, Shelf, Thing, testing::World};

const LABEL: u128 = 1;

fn home(id: u128) -> Home {
    Home { kind: HomeKind::Account, id }
}

fn thing(mark: u128) -> Thing<String> {
    Thing { home: home(mark), mark, label: mark % 2, value: mark.to_string() }
}

/// As a node has it: others have one of the same name.
fn shelf(kept_max: usize) -> Shelf {
    Shelf::new("shelf", kept_max)
}

fn numbers(found: &[(u64, String)]) -> Vec<u64> {
    found.iter().map(|(number, _)| *number).collect()
}

#[test]
fn of_two_nodes_that_put_things_there_at_once_none_loses_one_and_no_number_is_twice() {
    const EACH: u64 = 200;
    let here = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let world = here.block_on(World::new(Vec::new));
    let put = |marks: std::ops::Range<u128>| {
        let (shelf, aside) =
            (shelf(1_000), tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
        let node = &world.node;
        move || {
            aside.block_on(async {
                for mark in marks {
                    shelf.put(node, thing(mark)).await.unwrap();
                }
            });
        }
    };

    std::thread::scope(|scope| {
        scope.spawn(put(0..EACH.into()));
        scope.spawn(put(EACH.into()..2 * u128::from(EACH)));
    });

    let found: Vec<(u64, String)> = here.block_on(shelf(1_000).after(&world.node, 0, None)).unwrap();
    assert_eq!(numbers(&found), (1..=2 * EACH).collect::<Vec<_>>());
    let mut values: Vec<u128> = found.iter().map(|(_, value)| value.parse().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, (0..2 * u128::from(EACH)).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_oldest_go_first_and_what_goes_is_gone() {
    let (mut world, shelf) = (World::new(Vec::new).await, shelf(3));
    for mark in 0..5 {
        shelf.put(&world.node, thing(mark)).await.unwrap();
    }

    let found: Vec<(u64, String)> = shelf.after(&world.node, 0, None).await.unwrap();

    assert_eq!(found, [(3, "2".to_owned()), (4, "3".to_owned()), (5, "4".to_owned())]);
    let odd: Vec<(u64, String)> = shelf.after(&world.node, 3, Some(LABEL)).await.unwrap();
    assert_eq!(numbers(&odd), [4]);
    assert_eq!(shelf.one::<String>(&world.node, 2).await.unwrap(), None);
    assert_eq!(world.memory.rows("shelf").len(), 1 + 3, "the index, and what is there");
    world.crash().await;
    shelf.put(&world.node, thing(5)).await.unwrap();
    let found: Vec<(u64, String)> = shelf.after(&world.node, 0, None).await.unwrap();
    assert_eq!(numbers(&found), [4, 5, 6], "it goes on behind a restart");
}

/// As whoever did not hear that it was kept.
#[tokio::test]
async fn what_comes_again_under_its_mark_is_kept_once() {
    let (world, shelf) = (World::new(Vec::new).await, shelf(3));
    for mark in [0, 1, 0, 0] {
        shelf.put(&world.node, thing(mark)).await.unwrap();
    }
    // A store that stumbles is asked again.
    world.memory.fail_commits(2);
    shelf.put(&world.node, thing(2)).await.unwrap();

    let found: Vec<(u64, String)> = shelf.after(&world.node, 0, None).await.unwrap();

    assert_eq!(found, [(1, "0".to_owned()), (2, "1".to_owned()), (3, "2".to_owned())]);
}

#[tokio::test]
async fn what_is_about_somebody_who_was_erased_is_gone() {
    let (world, shelf) = (World::new(Vec::new).await, shelf(3));
    for mark in [0, 1] {
        shelf.put(&world.node, thing(mark)).await.unwrap();
    }

    world.node.erase(home(0)).await.unwrap();

    let found: Vec<(u64, String)> = shelf.after(&world.node, 0, None).await.unwrap();
    assert_eq!(numbers(&found), [2]);
    assert_eq!(shelf.one::<String>(&world.node, 1).await.unwrap(), None);
}

#[tokio::test]
async fn whoever_waits_sees_what_another_node_put_there() {
    let (world, here, there) = (World::new(Vec::new).await, shelf(3), shelf(3));

    let waiting = here.wait::<String>(&world.node, 0, Some(LABEL), Duration::from_secs(60));
    let putting = async {
        there.put(&world.node, thing(2)).await.unwrap();
        there.put(&world.node, thing(3)).await.unwrap();
    };
    let (found, ()) = tokio::join!(waiting, putting);

    assert_eq!(found.unwrap(), [(2, "3".to_owned())]);
    let nothing = here.wait::<String>(&world.node, 2, None, Duration::from_millis(1)).await.unwrap();
    assert_eq!(nothing, []);
}
