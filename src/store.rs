//! Where a node keeps everything: in its data directory, or in a PostgreSQL database.

use std::{path::PathBuf, sync::Arc};

use prognet_config::Storage;
use prognet_storage::{
    Journal, Lsn, ReadModel, Snapshots,
    embedded::{EmbeddedJournal, SledTier, not_moved},
    keyring::{Keyring, MasterKey},
    postgres::{self, PostgresJournal, PostgresTier},
};

/// A node's storage, open.
pub(crate) struct Store {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) snapshots: Arc<dyn Snapshots>,
    pub(crate) read_model: Arc<dyn ReadModel>,
    pub(crate) keyring: Arc<Keyring>,
    /// What it shares with other nodes; none if it keeps everything itself.
    pub(crate) shared: Option<(postgres::Store, Arc<PostgresJournal>)>,
}

/// Opens what the settings name.
pub(crate) async fn open(settings: &Storage) -> anyhow::Result<Store> {
    match database(settings).await? {
        Some(database) => shared(settings, &database).await,
        None => own(settings),
    }
}

/// The database, if there is one.
pub(crate) async fn database(settings: &Storage) -> anyhow::Result<Option<postgres::Store>> {
    let Some(address) = address(settings) else { return Ok(None) };
    let database = postgres::Store::open(&address).await?;
    anyhow::ensure!(
        !database.is_arriving().await?,
        "{} has a part of a data directory that is being moved there: run `prognet migrate` again, until it says that \
         everything is there",
        database.place()
    );
    Ok(Some(database))
}

/// The same with its schema as it is, for a look.
pub(crate) async fn database_unchanged(settings: &Storage) -> anyhow::Result<Option<postgres::Store>> {
    let Some(address) = address(settings) else { return Ok(None) };
    Ok(Some(postgres::Store::open_unchanged(&address).await?))
}

/// Where the database is, if there is one.
pub(crate) fn address(settings: &Storage) -> Option<postgres::Settings> {
    let url = settings.url.as_ref()?.expose().to_owned();
    let (roots, pool_max) = (settings.url_ca_file.clone(), settings.connections_max);
    Some(postgres::Settings { url, roots, pool_max })
}

/// The segments of a node that keeps everything itself; one whose journal was moved to a database has none that count.
pub(crate) fn own_journal(settings: &Storage) -> anyhow::Result<PathBuf> {
    anyhow::ensure!(
        settings.url.is_none(),
        "the journal is in the database of `storage.url`: back it up and check it with the database's own tools, such \
         as `pg_dump`, and the keys with `prognet keyring export`"
    );
    let journal = settings.data.join("journal");
    not_moved(&journal)?;
    Ok(journal)
}

async fn shared(settings: &Storage, database: &postgres::Store) -> anyhow::Result<Store> {
    let keyring = Arc::new(Keyring::open_in(database.clone(), &master_key(settings)?).await?);
    let journal = Arc::new(PostgresJournal::open(database).await?);
    journal.sync_first(Arc::clone(&keyring));
    let tier = Arc::new(PostgresTier::new(database.clone(), Arc::clone(&keyring)));
    Ok(Store {
        journal: Arc::<PostgresJournal>::clone(&journal),
        snapshots: Arc::<PostgresTier>::clone(&tier),
        read_model: tier,
        keyring,
        shared: Some((database.clone(), journal)),
    })
}

/// From the lock of the directory up.
fn own(settings: &Storage) -> anyhow::Result<Store> {
    let data = &settings.data;
    let (journal, opened) = EmbeddedJournal::open(&data.join("journal"), settings.segment_bytes.0)?;
    if opened.cut_bytes > 0 {
        tracing::warn!(
            cut_bytes = opened.cut_bytes,
            "cut a torn tail off the journal: it was never acknowledged"
        );
    }
    let directory = data.join("keyring");
    anyhow::ensure!(
        opened.last == Lsn(0) || Keyring::is_in(&directory),
        "the keyring is missing: `{}` is not there, and without it nothing in the journal can be read; bring it \
         back, or restore a backup with `prognet backup restore --keyring`",
        directory.display()
    );
    let keyring = Arc::new(Keyring::open(&directory, &master_key(settings)?)?);
    journal.sync_first(Arc::clone(&keyring));
    let cache = settings.tier_cache_bytes.0;
    let (tier, set_aside) = SledTier::open(&data.join("tier"), cache, Arc::clone(&keyring), opened.last)?;
    if let Some(why) = set_aside {
        tracing::warn!(
            why,
            "set the damaged read models and snapshots aside; rebuilding them from the journal"
        );
    }
    let tier = Arc::new(tier);
    Ok(Store {
        journal: Arc::new(journal),
        snapshots: Arc::<SledTier>::clone(&tier),
        read_model: tier,
        keyring,
        shared: None,
    })
}

fn master_key(settings: &Storage) -> anyhow::Result<MasterKey> {
    Ok(match &settings.master_key {
        Some(key) => MasterKey::new(*key.expose()),
        None => MasterKey::in_directory(&settings.data.join("keyring"))?,
    })
}
