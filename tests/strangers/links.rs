//! Links that prove who is who.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::{Settings, address, here, is_unharmed};
use crate::harness::cluster::{Cluster, Seat};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// The settings that name a node's files.
type Papers = [(&'static str, String); 3];

/// An authority of a cluster's own. All of them have the same name, as those have that are made by the manual.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "prognet-cluster");
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        Self { issuer, files: tempfile::tempdir().unwrap() }
    }

    /// A certificate in a name, which is good until the end of a year.
    fn vouches_until(&self, year: i32, name: &str) -> Papers {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
        parameters.not_after = date_time_ymd(year, 12, 31);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let file = |what: &str, pem: String| {
            let path = self.files.path().join(format!("{name}-{year}.{what}"));
            std::fs::write(&path, pem).unwrap();
            path.to_str().unwrap().to_owned()
        };
        [
            ("PROGNET_CLUSTER_CA_FILE", file("ca", self.issuer.pem())),
            ("PROGNET_CLUSTER_CERTIFICATE_FILE", file("pem", certificate.pem())),
            ("PROGNET_CLUSTER_KEY_FILE", file("key", key.serialize_pem())),
        ]
    }

    fn vouches(&self, name: &str) -> Papers {
        self.vouches_until(2999, name)
    }

    /// A node of this name proves it from the next start on.
    pub(crate) fn vouches_at(&self, seat: &mut Seat, name: &str) {
        for (name, value) in self.vouches(name) {
            seat.set(name, &value);
        }
    }

    /// Nodes that prove their names under it.
    async fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::empty(&NAMES, &[]).await;
        for (seat, name) in cluster.seats.iter_mut().zip(NAMES) {
            self.vouches_at(seat, name);
        }
        cluster.start().await;
        cluster
    }
}

impl Settings {
    fn with_papers(self, papers: &Papers) -> Self {
        papers.iter().fold(self, |settings, (name, value)| settings.with(name, value))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_prove_their_names_under_one_authority_are_one_cluster() {
    let authority = Authority::new();
    let cluster = authority.cluster().await;

    // A home is somebody else's for two of the three.
    let mut tenants = Vec::new();
    for (seat, slug) in cluster.seats.iter().zip(["acme", "beta", "corp"]) {
        tenants.push((seat.node().tenant(slug).await, slug));
    }
    for seat in &cluster.seats {
        for (tenant, slug) in &tenants {
            assert_eq!(seat.node().get(&format!("/v1/tenants/{tenant}")).await.ok()["slug"], *slug);
        }
    }
    is_unharmed(&cluster, &tenants[0].0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_prove_its_name_is_told_which_setting_to_change_and_never_linked() {
    let (own, other) = (Authority::new(), Authority::new());
    let cluster = own.cluster().await;
    let tenant = cluster.seats[0].node().tenant("acme").await;
    let (before, settings) = (here(&cluster), Settings::of(&cluster));
    let seed = address(&cluster, "a");
    let [ca, _, _] = own.vouches("z");
    let [_, certificate, key] = other.vouches("z");
    for (papers, told) in [
        (Some(other.vouches("z")), "`cluster.ca_file` of the two differ"),
        (Some([ca, certificate, key]), "`cluster.ca_file` of the two differ"),
        (Some(own.vouches("y")), "`cluster.certificate_file` must have its `cluster.node` as a DNS name"),
        (Some(own.vouches_until(2001, "z")), "renew what is in `cluster.certificate_file`"),
        (None, "`cluster.ca_file`, `cluster.certificate_file` and `cluster.key_file`"),
    ] {
        let stranger = papers.iter().fold(settings.clone(), Settings::with_papers);
        for stranger in [stranger.clone().with("PROGNET_CLUSTER_SEEDS", &seed), stranger] {
            let said = stranger.refused().await;
            assert!(said.contains(told), "{told} is not in {said}");
            assert_eq!(here(&cluster), before, "{said}");
        }
    }
    is_unharmed(&cluster, &tenant).await;
    for seat in &cluster.seats {
        let log = seat.log();
        assert!(log.contains("linked to ") && !log.contains("linked to z"), "{log}");
    }
}

/// Without certificates, on loopback, whoever listens in reads along: it is what is sought.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nodes_with_certificates_say_to_each_other_passes_as_tls_and_shows_nothing() {
    const MARKER: &str = "seen-by-who-listens-in";
    for authority in [None, Some(Authority::new())] {
        let mut cluster = Cluster::empty(&NAMES, &[]).await;
        for (seat, name) in cluster.seats.iter_mut().zip(NAMES) {
            seat.is_dialled_through_its_door();
            seat.door.keep();
            if let Some(authority) = &authority {
                authority.vouches_at(seat, name);
            }
        }
        cluster.start().await;
        let tenant = cluster.seats[0].node().tenant(MARKER).await;
        for seat in &cluster.seats {
            let shown = seat.node().get(&format!("/v1/tenants/{tenant}")).await.ok();
            assert_eq!(shown["slug"], MARKER);
        }

        let ways: Vec<_> = cluster.seats.iter().flat_map(|seat| seat.door.kept()).collect();

        let begins_as_tls = |way: &&Vec<u8>| way.starts_with(&[0x16, 3]);
        let shows = |way: &Vec<u8>| way.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
        let said = ways.iter().filter(|way| !way.is_empty()).count();
        let is_tls = authority.is_some();
        assert!(said >= 2 * (NAMES.len() - 1), "{said}");
        assert_eq!(ways.iter().filter(begins_as_tls).count(), if is_tls { said } else { 0 });
        assert_eq!(ways.iter().any(shows), !is_tls);
    }
}
