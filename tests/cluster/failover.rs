//! The database's primary is lost, and its standby takes its place.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::json;

use super::{Cluster, NAMES, under_load};
use crate::harness::{
    postgres::{Server, run},
    psql, until_in,
};

const SOCKET: &str = ".s.PGSQL.5432";
/// What a standby takes to catch up on a busy machine: far more than it needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A second server that follows the first one's log.
struct Standby<'a> {
    primary: &'a Server,
    place: PathBuf,
}

impl<'a> Standby<'a> {
    fn of(primary: &'a Server) -> Self {
        let admission = primary.directory.join("cluster/pg_hba.conf");
        let admitted = fs::read_to_string(&admission).unwrap();
        fs::write(admission, admitted + "local replication all trust\n").unwrap();
        sql(primary, "select pg_reload_conf()");
        let place = tempfile::Builder::new().prefix("prognet-pg-").tempdir().unwrap().keep();
        if rustix::process::geteuid().is_root() {
            run(std::process::Command::new("chown").arg("postgres").arg(&place));
        }
        let standby = Self { primary, place };
        let mut copy = primary.program("pg_basebackup");
        copy.args(["-U", "postgres", "-X", "stream", "-R", "--checkpoint=fast", "--no-sync", "-h"]);
        run(copy.arg(&primary.directory).arg("-D").arg(standby.data()));
        let socket = format!("-k {}", standby.place.display());
        standby.control(&["start", "--wait", "-t", "300", "-o", &socket, "-l", standby.log().as_str()]);
        standby
    }

    /// Whoever commits waits for it from now on.
    async fn is_waited_for(&self) {
        sql(self.primary, "alter system set synchronous_standby_names = '*'");
        sql(self.primary, "select pg_reload_conf()");
        let state = "select coalesce(max(sync_state), '') from pg_stat_replication";
        until_in(PATIENCE, || sql(self.primary, state) == "sync").await;
    }

    /// It hears nothing more.
    async fn is_cut_off(&self) {
        self.sql("alter system set primary_conninfo = 'host=/nowhere'");
        self.sql("select pg_reload_conf()");
        let count = "select count(*) from pg_stat_replication";
        until_in(PATIENCE, || sql(self.primary, count) == "0").await;
    }

    /// The primary crashes, and this one is found in its place.
    fn takes_over(&self) {
        self.primary.stop();
        self.control(&["promote", "--wait", "-t", "300"]);
        std::os::unix::fs::symlink(self.place.join(SOCKET), self.primary.directory.join(SOCKET)).unwrap();
    }

    fn sql(&self, statement: &str) -> String {
        psql(self.primary, &self.place, "postgres", statement)
    }

    fn data(&self) -> PathBuf {
        self.place.join("cluster")
    }

    fn log(&self) -> String {
        self.place.join("postgres.log").display().to_string()
    }

    fn control(&self, arguments: &[&str]) {
        run(self.primary.program("pg_ctl").args(arguments).arg("--silent").arg("-D").arg(self.data()));
    }
}

impl Drop for Standby<'_> {
    fn drop(&mut self) {
        let mut stop = self.primary.program("pg_ctl");
        drop(stop.args(["stop", "-s", "-m", "immediate", "-D"]).arg(self.data()).status());
        drop(fs::remove_dir_all(&self.place));
    }
}

fn sql(server: &Server, statement: &str) -> String {
    psql(server, &server.directory, "postgres", statement)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synchronous_standby_takes_over_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::on_a_server(&NAMES).await;
    let before = cluster.map();
    let server = std::sync::Arc::clone(cluster.server());
    let standby = Standby::of(&server);
    standby.is_waited_for().await;
    under_load(&mut cluster, "failover", async |_, clients, _| {
        clients.goes_on(60).await;
        tokio::task::block_in_place(|| standby.takes_over());
        clients.goes_on(60).await;
    })
    .await;
    assert_eq!(cluster.map(), before);
}

/// Nobody is told that something was done which is not: whoever has lost acknowledged writes takes nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_lost_acknowledged_writes_is_noticed_and_nothing_is_built_on_it() {
    let cluster = Cluster::on_a_server(&["a", "b"]).await;
    let [a, b] = [0, 1].map(|at| cluster.seats[at].node());
    let mut tenants = Vec::new();
    for number in 0..8 {
        tenants.push(a.tenant(&format!("tenant-{number}")).await);
    }
    let standby = Standby::of(cluster.server());
    let caught_up = "select count(*) from pg_stat_replication where replay_lsn = pg_current_wal_lsn()";
    until_in(PATIENCE, || sql(cluster.server(), caught_up) == "1").await;
    standby.is_cut_off().await;
    for tenant in &tenants {
        let suspended = b.post(&format!("/v1/tenants/{tenant}/suspend"), json!({ "reason": "abuse" })).await;
        assert_eq!(suspended.status, 200, "{suspended:?}");
    }

    tokio::task::block_in_place(|| standby.takes_over());

    let alarms = || cluster.seats.iter().filter(|seat| seat.log().contains("store_rolled_back")).count();
    until_in(PATIENCE, || alarms() == 2).await;
    let records = "select count(*) from record";
    let left = cluster.query(records);
    for tenant in &tenants {
        for node in [a, b] {
            let [suspend, resume] = ["suspend", "resume"].map(|verb| format!("/v1/tenants/{tenant}/{verb}"));
            let suspended = node.post(&suspend, json!({ "reason": "abuse" })).await.status.as_u16();
            let resumed = node.post(&resume, json!({})).await.status.as_u16();
            // A node that knows what was lost has nothing to suspend, one that does not has nothing to resume.
            assert!(matches!((suspended, resumed), (409 | 503, 503) | (503, 409)), "{suspended} {resumed}");
        }
    }
    assert_eq!(cluster.query(records), left);
}
