//! A node's cluster, as the node holds it: started before the node, which asks it where shards are, and run once
//! there is a node to do what it says.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use prognet_supervisor::{
    Epoch, Name, NodeView, Place, Placement, ShardId, ShardView, Unavailable, Uncarried, leases::Leases,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use crate::{
    Input, Limits, Member,
    carrier::Carrier,
    clocks::boot_time,
    driver::{self, Driver, Ended},
    host::Host,
    link::{Link, LinkEvent},
    map::Maps,
    membership::Candidate,
    numbers::{Numbers, Standing},
    tables::{Incarnation, NodeRow, ShardState, Snapshot, Status, word_of},
};

/// How long a router waits before it tries a place again that has just refused.
const AGAIN: Duration = Duration::from_millis(50);
/// Commands that wait in this node for one shard that moves.
const WAITING_MAX: usize = 1_000;

/// See the module.
pub struct Cluster {
    leases: Arc<dyn Leases>,
    link: Arc<dyn Link>,
    carrier: Arc<Carrier>,
    maps: Arc<Maps>,
    numbers: Arc<Numbers>,
    inputs: mpsc::Sender<Input>,
    me: watch::Sender<Option<Incarnation>>,
    ended: watch::Sender<Option<Ended>>,
    /// Whether there is nothing to wait for but the doors.
    drained: watch::Sender<bool>,
    /// Who waits for a shard.
    waiting: Mutex<HashMap<ShardId, usize>>,
    parts: Mutex<Option<Parts>>,
}

/// What a driver takes with it.
struct Parts {
    member: Member,
    inputs: mpsc::Receiver<Input>,
    events: mpsc::Receiver<LinkEvent>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cluster").field("me", &*self.me.borrow()).finish_non_exhaustive()
    }
}

impl Cluster {
    /// A cluster that has not begun.
    #[must_use]
    pub fn new(
        candidate: Candidate,
        limits: Limits,
        leases: Arc<dyn Leases>,
        link: Arc<dyn Link>,
        events: mpsc::Receiver<LinkEvent>,
    ) -> Arc<Self> {
        let (sender, inputs) = driver::inputs();
        let member = Member::new(candidate, limits);
        let numbers = Arc::<Numbers>::default();
        Arc::new(Self {
            leases,
            carrier: Arc::new(Carrier::new(Arc::clone(&link), Arc::clone(&numbers))),
            link,
            maps: Arc::default(),
            numbers,
            inputs: sender,
            me: watch::Sender::new(None),
            ended: watch::Sender::new(None),
            drained: watch::Sender::new(false),
            waiting: Mutex::default(),
            parts: Mutex::new(Some(Parts { member, inputs, events })),
        })
    }

    /// Begins: joins, and does its part until it is over. A second call does nothing.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn run(&self, host: Arc<dyn Host>) -> std::io::Result<()> {
        let Some(parts) = self.parts.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        let driver = Driver::new(
            Arc::clone(&self.leases),
            Arc::clone(&self.link),
            Arc::clone(&self.carrier),
            host,
            Arc::clone(&self.maps),
            Arc::clone(&self.numbers),
            Handle::current(),
            self.ended.clone(),
            self.drained.clone(),
            self.me.clone(),
            self.inputs.clone(),
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let drive = move || runtime.block_on(driver.run(parts.member, parts.inputs, parts.events));
        std::thread::Builder::new().name("cluster".to_owned()).spawn(drive)?;
        Ok(())
    }

    /// Returns once this node is up and every shard that has a host is served by somebody, or why that will never be.
    ///
    /// # Errors
    /// How the membership ended before that.
    pub async fn settled(&self) -> Result<(), Ended> {
        let (mut changes, mut ended) = (self.maps.changes(), self.ended.subscribe());
        loop {
            if let Some(ended) = ended.borrow().clone() {
                return Err(ended);
            }
            if self.maps.is_settled(boot_time()) {
                return Ok(());
            }
            tokio::select! {
                _ = changes.changed() => {}
                _ = ended.changed() => {}
            }
        }
    }

    /// Returns once this node is no member any more.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or(Ended::Left),
            // The sender is this cluster's own.
            Err(_) => Ended::Left,
        }
    }

    /// Returns once this node has given its shards away, whoever asked for that, and waits for its doors: as long as
    /// they are open it leads requests to the others. Or, with how, once it is no member any more.
    pub async fn drained(&self) -> Option<Ended> {
        let mut drained = self.drained.subscribe();
        tokio::select! {
            biased;
            ended = self.ended() => Some(ended),
            // The sender is this cluster's own.
            _ = drained.wait_for(|is_drained| *is_drained) => None,
        }
    }

    /// Gives all shards away.
    pub async fn drain(&self) {
        drop(self.inputs.send(Input::LeaveAsked).await);
        self.drained().await;
    }

    /// The same, and leaves: nobody asks by way of this node any more.
    pub async fn leave(&self) {
        drop(self.inputs.send(Input::LeaveAsked).await);
        drop(self.inputs.send(Input::DoorsClosed).await);
        self.ended().await;
    }

    /// Whether other nodes are here, which could take this one's shards over.
    #[must_use]
    pub fn has_others(&self) -> bool {
        self.maps.has_others()
    }

    /// Whether the lease holds.
    #[must_use]
    pub fn holds_lease(&self) -> bool {
        self.maps.holds(boot_time())
    }

    /// The tables, for people.
    async fn look(&self) -> Result<Snapshot, Unavailable> {
        self.leases.read(0).await.map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "failed to read the tables of the cluster"
            );
            Unavailable::NotWritten
        })
    }

    async fn wait(
        &self,
        shard: ShardId,
        refused: Option<Place>,
        wait: Duration,
    ) -> Result<Place, Unavailable> {
        let mut changes = self.maps.changes();
        let first = self.maps.place(shard, boot_time());
        match &first {
            Ok(place) if Some(*place) != refused => return Ok(*place),
            Ok(_) | Err(Unavailable::Moving) => {}
            Err(why) => return Err(why.clone()),
        }
        let _waiting = self.waits(shard)?;
        let over = tokio::time::sleep(wait);
        tokio::pin!(over);
        // It may have been wrong about the place, or the place about itself.
        let again = tokio::time::sleep(AGAIN);
        tokio::pin!(again);
        let mut is_again = false;
        loop {
            tokio::select! {
                _ = changes.changed() => {}
                () = &mut again, if !is_again => is_again = true,
                () = &mut over => return Err(Unavailable::Moving),
            }
            match self.maps.place(shard, boot_time()) {
                Ok(place) if Some(place) != refused || is_again => return Ok(place),
                Ok(_) | Err(Unavailable::Moving) => {}
                Err(why) => return Err(why),
            }
        }
    }

    /// A place among those who wait for a shard.
    fn waits(&self, shard: ShardId) -> Result<Waits<'_>, Unavailable> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.entry(shard).or_default();
        if *count >= WAITING_MAX {
            return Err(Unavailable::Busy { limit: Name::new("shard") });
        }
        *count += 1;
        Ok(Waits(self, shard))
    }
}

/// Somebody waits for a shard until this goes.
struct Waits<'a>(&'a Cluster, ShardId);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.1);
            }
        }
    }
}

impl Placement for Cluster {
    fn place(&self, shard: ShardId) -> Result<Place, Unavailable> {
        self.maps.place(shard, boot_time())
    }

    fn settled(
        &self,
        shard: ShardId,
        refused: Option<Place>,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Place, Unavailable>> {
        Box::pin(self.wait(shard, refused, wait))
    }

    fn may_show(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.maps.may_answer(shard, epoch, boot_time())
    }

    fn carry(
        &self,
        to: Incarnation,
        lane: u64,
        parcel: Vec<u8>,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<u8>, Uncarried>> {
        Box::pin(async move {
            let Some(me) = *self.me.borrow() else { return Err(Uncarried::NotTaken) };
            self.numbers.asks.once();
            self.carrier.ask(me, to, lane, parcel, wait).await.map_err(|why| {
                self.numbers.unanswered(why);
                why.into()
            })
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.maps.changes()
    }

    fn fenced(&self, shard: ShardId, epoch: Epoch) {
        self.numbers.shards_fenced.once();
        // The tables say it as well.
        drop(self.inputs.try_send(Input::Fenced { shard, epoch }));
    }

    fn health(&self) -> Result<(), String> {
        if self.holds_lease() { Ok(()) } else { Err("the lease is over".to_owned()) }
    }

    fn write_numbers(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let standing = Standing { links: self.link.peers().len(), ..self.maps.standing(boot_time()) };
        self.numbers.write(&standing, out)
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeView>, Unavailable>> {
        Box::pin(async move {
            let tables = self.look().await?;
            let linked = self.link.peers();
            let me = *self.me.borrow();
            let view = |row: &NodeRow| NodeView {
                name: row.incarnation.node.0,
                incarnation: row.incarnation.number,
                status: word_of(row.status),
                address: row.profile.address.clone(),
                roles: row.profile.roles.iter().copied().collect(),
                build: row.profile.build.to_string(),
                shards: tables.shards.iter().filter(|shard| shard.owner == Some(row.incarnation)).count(),
                lease_ms: row.lease_until.as_millis().cast_signed() - tables.now.as_millis().cast_signed(),
                is_self: me == Some(row.incarnation),
                is_linked: linked.iter().any(|peer| peer.incarnation == row.incarnation),
            };
            let mut nodes: Vec<_> = tables.nodes.iter().map(view).collect();
            nodes.sort_by_key(|node| (node.name, node.incarnation));
            Ok(nodes)
        })
    }

    fn shards(&self) -> BoxFuture<'_, Result<Vec<ShardView>, Unavailable>> {
        Box::pin(async move {
            let tables = self.look().await?;
            let view = |row: &crate::tables::ShardRow| ShardView {
                service: row.shard.service,
                number: row.shard.number,
                epoch: row.epoch.0,
                owner: row.owner.map(|owner| owner.node.0),
                state: match row.state {
                    ShardState::Owned => "owned",
                    ShardState::Releasing => "releasing",
                    ShardState::Free => "free",
                },
                target: row.target.map(|node| node.0),
            };
            let mut shards: Vec<_> = tables.shards.iter().map(view).collect();
            shards.sort_by_key(|shard| (shard.service, shard.number));
            Ok(shards)
        })
    }

    fn drain(&self, node: Name) -> BoxFuture<'_, Result<bool, Unavailable>> {
        Box::pin(async move {
            let tables = self.look().await?;
            let is_it = |row: &&NodeRow| row.incarnation.node.0 == node && row.status != Status::Down;
            let Some(row) = tables.nodes.iter().find(is_it) else { return Ok(false) };
            if row.status == Status::Draining {
                return Ok(true);
            }
            let changed = self.leases.change_status(row.incarnation, row.status, Status::Draining).await;
            changed.map_err(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "failed to let a node drain");
                Unavailable::NotWritten
            })
        })
    }
}
