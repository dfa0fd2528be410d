//! Who may join, and what proves that somebody is gone.

use std::net::SocketAddr;

use prognet_supervisor::Name;

use super::*;
use crate::tables::{Build, Meta, Profile, Snapshot, Wire};

const USERS: Name = Name::new("users");
const BILLING: Name = Name::new("billing");
const ME: NodeId = NodeId(Name::new("me"));
const OTHER: NodeId = NodeId(Name::new("other"));

fn profile(roles: &[Name], directory: u128) -> Profile {
    let roles = roles.iter().copied().collect();
    let (build, wire) = (Build { major: 1, minor: 0, patch: 0 }, Wire { min: 2, max: 3 });
    Profile { address: "10.0.0.1:7000".to_owned(), directory, roles, weight: 1, build, wire }
}

fn candidate() -> Candidate {
    Candidate {
        node: ME,
        profile: Arc::new(profile(&[USERS, BILLING], 1)),
        generation: 7,
        shards: 256,
        services: [USERS, BILLING].into(),
        allow_partial: false,
        holds_lock: false,
        trust_refused: false,
    }
}

fn row(node: NodeId, status: Status, lease_until: u64) -> NodeRow {
    let incarnation = Incarnation { node, number: 4 };
    let lease_until = StoreTime::from_millis(lease_until);
    NodeRow { incarnation, status, lease_until, profile: Arc::new(profile(&[USERS], 1)) }
}

/// What a node reads at 100 s of the store's time.
fn view(nodes: Vec<NodeRow>) -> View {
    let now = StoreTime::from_millis(100_000);
    let meta = Meta { generation: 7, shards: 256, view: 9, view_at: now, map: 3, finalized: 2, restored: 0 };
    let mut view = View::default();
    view.merge(Snapshot { meta, now, nodes, shards: Vec::new() });
    view
}

fn refusal(candidate: &Candidate, nodes: Vec<NodeRow>) -> Refusal {
    candidate.admit(&view(nodes)).unwrap_err()
}

#[test]
fn a_build_that_cannot_read_what_may_be_written_is_refused() {
    for (min, max, advice) in [(1, 2, "newer build"), (5, 6, "builds between"), (4, 4, "builds between")] {
        let ours = Wire { min, max };
        let mut candidate = candidate();
        candidate.profile = Arc::new(Profile { wire: ours, ..(*candidate.profile).clone() });
        let mut view = View::default();
        let now = StoreTime::from_millis(100_000);
        let meta =
            Meta { generation: 7, shards: 256, view: 9, view_at: now, map: 3, finalized: 3, restored: 0 };
        view.merge(Snapshot { meta, now, nodes: Vec::new(), shards: Vec::new() });

        let refusal = candidate.admit(&view).unwrap_err();

        assert_eq!(refusal, Refusal::Finalized { finalized: 3, ours });
        assert!(refusal.to_string().contains("version 3") && refusal.to_string().contains(advice));
    }
}

#[test]
fn another_clusters_store_is_refused() {
    let candidate = Candidate { generation: 8, ..candidate() };

    let refusal = refusal(&candidate, Vec::new());

    assert_eq!(refusal, Refusal::Generation { theirs: 7, ours: 8 });
    assert!(refusal.to_string().contains("`storage.url`"));
}

#[test]
fn another_count_of_shards_is_refused() {
    let candidate = Candidate { shards: 64, ..candidate() };

    assert_eq!(refusal(&candidate, Vec::new()), Refusal::Shards { theirs: 256, ours: 64 });
}

#[test]
fn a_build_that_shares_no_wire_version_with_a_live_node_is_refused() {
    let mut old = profile(&[USERS], 2);
    old.wire = Wire { min: 1, max: 1 };
    let mut other = row(OTHER, Status::Up, 101_000);
    other.profile = Arc::new(old);

    let (theirs, ours) = (Wire { min: 1, max: 1 }, Wire { min: 2, max: 3 });
    assert_eq!(refusal(&candidate(), vec![other.clone()]), Refusal::Wire { node: OTHER, theirs, ours });

    other.lease_until = StoreTime::from_millis(99_000);
    assert_eq!(candidate().admit(&view(vec![other])), Ok(Some(Admission::Join)));
}

#[test]
fn a_first_node_without_every_role_is_refused_unless_it_may_be_partial() {
    let partial = Candidate { profile: Arc::new(profile(&[USERS], 1)), ..candidate() };
    assert_eq!(refusal(&partial, Vec::new()), Refusal::RolesMissing { services: vec![BILLING] });

    let allowed = Candidate { allow_partial: true, ..partial.clone() };
    assert_eq!(allowed.admit(&view(Vec::new())), Ok(Some(Admission::Join)));
    let other = row(OTHER, Status::Up, 101_000);
    assert_eq!(partial.admit(&view(vec![other])), Ok(Some(Admission::Join)));
}

#[test]
fn a_refused_connection_proves_a_death_on_loopback_or_where_that_is_trusted() {
    let other = row(OTHER, Status::Up, 101_000);
    let refused = |address: [u8; 4]| Proof::Refused(SocketAddr::from((address, 7_000)));
    let trusting = Candidate { trust_refused: true, ..candidate() };

    assert!(candidate().trusts(refused([127, 0, 0, 1]), &other));
    assert!(!candidate().trusts(refused([10, 0, 0, 1]), &other));
    assert!(trusting.trusts(refused([10, 0, 0, 1]), &other));
}

#[test]
fn a_lock_proves_a_death_only_of_a_process_on_the_same_directory() {
    let locking = Candidate { holds_lock: true, ..candidate() };
    let before = row(ME, Status::Up, 101_000);
    let mut elsewhere = before.clone();
    elsewhere.profile = Arc::new(profile(&[USERS], 2));

    assert!(locking.trusts(Proof::Lock, &before));
    assert!(!locking.trusts(Proof::Lock, &elsewhere));
    assert!(!candidate().trusts(Proof::Lock, &before));
}

/// What a candidate without a lock does about a row of its own name, read at these seconds with these leases.
fn meets(readings: &[(u64, u64)]) -> Vec<Output> {
    let (mut membership, mut out) = (Membership::new(candidate()), Vec::new());
    for (second, lease_until) in readings {
        let now = BootTime::from_millis(second * 1_000);
        let view = view(vec![row(ME, Status::Up, *lease_until)]);
        membership.viewed(now, &view, &Limits::default(), &mut out);
    }
    out
}

#[test]
fn a_name_whose_lease_is_renewed_is_taken() {
    let address = "10.0.0.1:7000".to_owned();
    let taken = Output::Refused(Refusal::NameTaken { node: ME, address });

    assert_eq!(meets(&[(1, 103_000), (2, 103_000)]), []);
    assert_eq!(meets(&[(1, 103_000), (2, 104_000)]), [taken]);
}

#[test]
fn a_name_whose_lease_ended_is_free_after_a_lease_without_a_renewal() {
    let of = Incarnation { node: ME, number: 4 };
    let declaration = Output::Run(Statement::DeclareDown { of, is_proven: false });

    assert_eq!(meets(&[(1, 99_000), (6, 99_000)]), []);
    assert_eq!(meets(&[(1, 99_000), (7, 99_000)]), [declaration]);
}

#[test]
fn a_row_is_forgotten_an_hour_after_its_lease() {
    let old = row(OTHER, Status::Down, 0);
    let mut late = view(vec![old.clone(), row(ME, Status::Up, 0)]);
    assert_eq!(forgettable(&late, &Limits::default()), []);

    let meta = *late.meta().unwrap();
    let (now, nodes) = (StoreTime::from_millis(3_700_000), late.nodes().to_vec());
    late.merge(Snapshot { meta, now, nodes, shards: Vec::new() });
    assert_eq!(forgettable(&late, &Limits::default()), [old.incarnation]);
}
