//! A node from start to stop: built bottom-up, drained top-down.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use anyhow::Context;
use prognet_actors::values::password::Rules;
use prognet_cluster::Ended;
use prognet_config::Settings;
use prognet_http::{
    AuthSettings, Breached, HashCost, LimitSettings, Origins, Proxies, TenancySettings, ThrottleSettings,
};
use prognet_supervisor::{Clock, Limits, Node, Parts, Placement};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cluster::{self, Member},
    config::Given,
    mail::{self, Mail},
    store::{self, Store},
    telemetry,
};

/// How long a node that stops waits for others to take its shards over; without a store nobody ever does.
const LEAVE_MAX: std::time::Duration = std::time::Duration::from_secs(60);

/// Runs a node until it is told to stop.
pub(crate) fn run(given: Given) -> anyhow::Result<()> {
    let settings = given.load()?;
    telemetry::start(&settings)?;
    open_as_many_files_as_may_be(settings.http.connections_max);
    let mail = mail::open(&settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let Store { journal, snapshots, read_model, keyring, shared } =
            store::open(&settings.storage).await?;
        let (clock, limits) = (Clock::default(), limits(&settings));
        let member = match shared {
            Some((database, journal)) => {
                Some(Member::new(&settings, &database, journal, Arc::clone(&keyring), limits.shards).await?)
            }
            None => None,
        };
        let placement = member.as_ref().map(|member| Arc::clone(&member.cluster) as Arc<dyn Placement>);
        let parts = Parts { journal, snapshots, read_model, keyring, clock, limits, placement };
        let node = Node::start(parts, prognet_actors::services_delivering(mail.delivery.clone()))
            .await
            .context("failed to start the node")?;
        let restored = member.as_ref().map_or(0, |member| member.restored);
        if let Some(member) = &member {
            tokio::select! {
                joined = member.join(&node) => joined?,
                told = stop_signal() => return told,
            }
        }
        let serving = prognet_http::bind(&edge(&settings, &mail, restored)?, &node).await?;
        mail.delivery.open(&site(&settings, &serving));
        keep_setup_link(&settings.storage.data, serving.setup_link.as_deref())?;
        tracing::info!("ready on http://{} (management http://{})", serving.listen, serving.management);
        announce(&serving);
        tokio::select! {
            told = stop_signal() => told?,
            ended = drained(member.as_ref()) => match ended {
                None | Some(Ended::Left) => {}
                Some(refused @ Ended::Refused(_)) => return Err(cluster::why(refused)),
            }
        }
        // Alone it serves until the end: nobody else would.
        if let Some(member) = member.as_ref().filter(|member| member.cluster.has_others()) {
            tracing::info!("giving the shards away");
            patiently(member.cluster.drain()).await?;
        }
        // As long as its doors are open it leads to the others whoever came to it.
        tracing::info!("stopping: finishing what was taken");
        if tokio::time::timeout(settings.http.grace, serving.stop()).await.is_err() {
            tracing::warn!("the grace is over with requests still open");
        }
        if tokio::time::timeout(settings.http.grace, mail.delivery.stop()).await.is_err() {
            tracing::warn!("the grace is over with mails under way: they are sent again");
        }
        node.stop().await;
        if let Some(member) = &member {
            tracing::info!("leaving the cluster");
            patiently(member.cluster.leave()).await?;
        }
        tracing::info!("stopped");
        Ok(())
    })
}

/// Returns once somebody had this node give its shards away, or it is no member any more; never, if it never is one.
async fn drained(member: Option<&Member>) -> Option<Ended> {
    match member {
        Some(member) => member.cluster.drained().await,
        None => std::future::pending().await,
    }
}

/// Waits for others to take the shards over; told to stop once more, it stops at once, which is as safe.
async fn patiently(going: impl Future<Output = ()>) -> anyhow::Result<()> {
    tokio::select! {
        () = going => Ok(()),
        told = stop_signal() => told,
        () = tokio::time::sleep(LEAVE_MAX) => {
            tracing::warn!("stopping with shards that nobody took over: others take them when the lease is over");
            Ok(())
        }
    }
}

/// Raises the soft limit of open files to the hard one: shells start processes with 1 024, and a connection
/// takes one.
fn open_as_many_files_as_may_be(connections_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "failed to raise the limit of open files");
    }
    // None is no limit.
    if let Some(files) = limit.maximum.filter(|files| *files <= connections_max as u64) {
        tracing::warn!(
            files,
            connections_max,
            "this system lets a process open {files} files, too few for `http.connections_max`"
        );
    }
}

fn limits(settings: &Settings) -> Limits {
    let entities = &settings.entities;
    Limits {
        idle: entities.idle,
        resident: entities.resident_max,
        resident_bytes: entities.resident_bytes.in_memory(),
        home_queue: entities.home_queue,
        snapshot_every: entities.snapshot_every as u64,
        entity_queue: entities.entity_queue,
        shard_queue: entities.shard_queue,
        node_queue: entities.node_queue,
        restart_intensity: entities.restart_intensity,
        restart_window: entities.restart_window,
        reply_window: entities.reply_window,
        reply_age: entities.reply_age,
        ..Limits::default()
    }
}

/// The proxies that are trusted.
///
/// # Errors
/// When the list is none.
pub(crate) fn proxies(settings: &Settings) -> Result<Proxies, prognet_config::Error> {
    let list = settings.http.trusted_proxies.as_deref().unwrap_or_default();
    Proxies::parse(list).ok_or_else(|| {
        settings.refuse("http.trusted_proxies", "addresses and networks, such as 10.0.0.0/8, ::1")
    })
}

/// The other sites whose scripts may ask.
///
/// # Errors
/// When the list is none.
pub(crate) fn origins(settings: &Settings) -> Result<Origins, prognet_config::Error> {
    let list = settings.http.cors_origins.as_deref().unwrap_or_default();
    let valid = "origins as browsers write them, such as https://app.example.org, http://localhost:3000";
    Origins::parse(list).ok_or_else(|| settings.refuse("http.cors_origins", valid))
}

fn breached(settings: &Settings) -> anyhow::Result<Option<Breached>> {
    let Some(path) = &settings.auth.breached_passwords else { return Ok(None) };
    let list = Breached::open(path);
    list.map(Some)
        .with_context(|| format!("failed to use `{}` as a list of breached passwords", path.display()))
}

fn door_limits(settings: &Settings) -> LimitSettings {
    let limits = &settings.limits;
    LimitSettings {
        window: limits.window,
        login: limits.login,
        refresh: limits.refresh,
        sign_up: limits.sign_up,
        forgot: limits.forgot,
        link: limits.link,
        invitation: limits.invitation,
        setup: limits.setup,
        mail_window: limits.mail_window,
        mail_per_address_and_network: limits.mail_per_address_and_network,
        mail_per_address: limits.mail_per_address,
    }
}

fn edge(settings: &Settings, mail: &Mail, restored: u64) -> anyhow::Result<prognet_http::Settings> {
    let http = &settings.http;
    Ok(prognet_http::Settings {
        listen: http.listen,
        management: http.management,
        body_bytes_max: http.body_bytes_max.in_memory(),
        header_bytes_max: http.header_bytes_max.in_memory(),
        deadline: http.deadline,
        in_flight_max: http.in_flight_max,
        connections_max: http.connections_max,
        untaken_max: http.untaken_max,
        page_items_max: http.page_items_max,
        proxies: proxies(settings)?,
        origins: origins(settings)?,
        limits: door_limits(settings),
        auth: AuthSettings { breached: breached(settings)?, ..auth(settings) },
        dev_inbox: mail.inbox.clone(),
        tenancy: TenancySettings {
            per_account_max: settings.tenancy.per_account_max,
            invitations_open_max: settings.tenancy.invitations_open_max,
            invitation_life: settings.tenancy.invitation_life,
        },
        restored,
    })
}

fn auth(settings: &Settings) -> AuthSettings {
    let (http, auth) = (&settings.http, &settings.auth);
    let few = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    AuthSettings {
        issuer: http.public_url.as_ref().map(|url| url.as_str().to_owned()),
        access_lasts: auth.access_token_life,
        refresh_idle: auth.refresh_idle,
        refresh_lasts: auth.refresh_life,
        refresh_grace: auth.refresh_grace,
        key_rotation: auth.key_rotation,
        leaving_grace: auth.leaving_grace,
        sign_up_lasts: auth.sign_up_life,
        password_rules: Rules { shortest: auth.password_length_min },
        breached: None,
        hash_cost: HashCost {
            memory_kib: few(auth.password_memory.in_memory() / 1024),
            passes: few(auth.password_passes),
        },
        throttle: ThrottleSettings {
            window: auth.guess_window,
            per_account_and_network: few(auth.guesses_per_account_and_network),
            per_account: few(auth.guesses_per_account),
            per_network: few(auth.guesses_per_network),
        },
    }
}

/// Where the links in mails lead.
fn site(settings: &Settings, serving: &prognet_http::Serving) -> String {
    let public = settings.http.public_url.as_ref().map(|url| url.as_str().to_owned());
    public.unwrap_or_else(|| format!("http://{}", serving.listen))
}

/// The setup link, in a file only its owner reads; none once the platform has an admin.
fn keep_setup_link(data: &Path, link: Option<&str>) -> anyhow::Result<()> {
    let path = data.join("setup.link");
    let failed = || format!("failed to write `{}`", path.display());
    // An old link is worth nothing, and its file may be somebody else's by now.
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(failed),
    }
    let Some(link) = link else { return Ok(()) };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).with_context(failed)?;
    writeln!(file, "{link}").with_context(failed)
}

/// Tells people and scripts where the doors are, one line each on standard output, which no log collects.
fn announce(serving: &prognet_http::Serving) {
    let mut text = format!("listening http://{}\nmanagement http://{}\n", serving.listen, serving.management);
    if let Some(link) = &serving.setup_link {
        text.push_str(&format!(
            "setup {link}\n  (makes the first admin; good once, for 15 minutes; also in setup.link beside the data)\n"
        ));
    }
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever started it has gone away; it serves all the same.
        tracing::warn!(%error, "failed to say on standard output where the doors are");
    }
}

async fn stop_signal() -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminated.recv() => Ok(()),
        pressed = tokio::signal::ctrl_c() => Ok(pressed?),
    }
}
