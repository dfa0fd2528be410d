//! The manual: every key, what it means, its unit, its default and why.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    Bytes, DevInbox, Error, Hidden, LogFormat, Mistake, Origin, PublicUrl, Secret, SmtpSecurity, Sources,
    Value,
};

/// A key.
#[derive(Debug)]
pub struct Key {
    /// Its name, e.g. `http.listen`.
    pub name: &'static str,
    /// What it means, line by line.
    pub doc: &'static [&'static str],
    /// Its default, as text; empty for none.
    pub default: &'static str,
}

impl Key {
    /// Its environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("PROGNET_{}", self.name.replace('.', "_").to_uppercase())
    }
}

/// Defines sections and keys once: structs, table of keys, and how values come in.
macro_rules! settings {
    ($($(#[doc = $about:literal])* $section:ident: $struct:ident {
        $($(#[doc = $doc:literal])* $key:ident: $type:ty = $default:literal;)*
    })*) => {
        $(
            $(#[doc = $about])*
            #[derive(Debug, Clone)]
            pub struct $struct {
                $($(#[doc = $doc])* pub $key: $type,)*
            }
        )*

        /// All settings, and where each came from.
        #[derive(Debug, Clone)]
        pub struct Settings {
            $($(#[doc = $about])* pub $section: $struct,)*
            origins: BTreeMap<&'static str, Origin>,
        }

        const KEYS: &[Key] = &[$($(Key {
            name: concat!(stringify!($section), ".", stringify!($key)),
            doc: &[$($doc),*],
            default: $default,
        },)*)*];

        impl Settings {
            /// Puts together what the sources say.
            ///
            /// # Errors
            /// Everything that is wrong, at once.
            pub fn load(mut sources: Sources) -> Result<Self, Error> {
                let mut origins = BTreeMap::new();
                $($(let $key: Option<$type> = take(
                    concat!(stringify!($section), ".", stringify!($key)), $default, &mut sources, &mut origins,
                );)*
                let $section = (|| Some($struct { $($key: $key?,)* }))();)*
                sources.finish()?;
                let settings = (|| Some(Self { $($section: $section?,)* origins }))();
                // A value that is missing has left a mistake above.
                settings.ok_or_else(|| Error(Vec::new()))
            }

            fn shown(&self) -> Vec<String> {
                vec![$($(self.$section.$key.show(),)*)*]
            }
        }
    };
}

settings! {
    /// Where bytes are kept.
    storage: Storage {
        /// The data directory: journal, keyring, snapshots and read models. Made if it is not there.
        data: PathBuf = "./data";
        /// The size of a journal segment. Larger ones mean fewer files, smaller ones a shorter scan at start.
        segment_bytes: Bytes = "64MiB";
        /// Memory for snapshots and read models; more of it saves reads of the disk.
        tier_cache_bytes: Bytes = "64MiB";
        /// The key that wraps all others, instead of `keyring/master.key` in the data directory.
        /// Best given by its environment variable, from wherever your secrets are.
        master_key: Option<Secret> = "";
        /// A PostgreSQL database that keeps everything instead of the data directory, which then holds the master key
        /// alone: `postgres://user:password@host:5432/database?sslmode=require`. Best given by its environment
        /// variable. None means the data directory.
        url: Option<Hidden> = "";
        /// PEM certificates under which the database's server must prove its host name. None means that nobody asks
        /// who answers.
        url_ca_file: Option<PathBuf> = "";
        /// Connections to the database at most, for reads and rows; the journal has two more, and the lease three.
        connections_max: usize = "16";
    }
    /// Many nodes, which share the database of `storage.url`. A node with a data directory of its own uses none of this.
    cluster: Cluster {
        /// This node's name among them: at most 24 letters, digits, `-` and `_`. None means the host's name.
        node: Option<String> = "";
        /// Where other nodes reach this one. None means that it takes no connections of others: it is alone, or dials
        /// them. Anything but loopback needs the three files below.
        listen: Option<SocketAddr> = "";
        /// The address that others dial, if it is another than `listen`: behind a proxy. Needed when that is `0.0.0.0`.
        address: Option<String> = "";
        /// Addresses of other nodes, such as `10.0.0.2:7101, 10.0.0.3:7101`, tried before this node joins: one that
        /// answers and does not belong to it keeps it from starting. Those that do not answer are told and passed over,
        /// since who is here is in the database. None means that none is tried.
        seeds: Option<String> = "";
        /// What all nodes know and nobody else does: without it nobody is linked. Best given by its environment
        /// variable.
        secret: Option<Hidden> = "";
        /// PEM certificates of the cluster's own authority: every node proves its name under one of them.
        ca_file: Option<PathBuf> = "";
        /// This node's PEM certificate, whose DNS name is its name here.
        certificate_file: Option<PathBuf> = "";
        /// The key of that certificate, in PEM.
        key_file: Option<PathBuf> = "";
        /// Whether a refused connection proves that a node is gone, so that its work is taken over at once and not after
        /// its lease: so it is where addresses are never given to another host. Loopback is trusted in any case.
        trust_refused: bool = "false";
        /// Whether this node may be the only one although nobody then hosts some services.
        allow_partial: bool = "false";
        /// How long nothing moves but off a node that leaves, after a node came or went: the next one often follows.
        rebalance_after: Duration = "1m";
        /// Moves of shards that touch a node at a time, to even out what the nodes own.
        moves_max: usize = "2";
        /// What this node hosts, such as `auth, users`: services, and `gateway` for a node that hosts none. None means
        /// all services. Every node answers requests, whatever it hosts.
        roles: Option<String> = "";
    }
    /// The doors.
    http: Http {
        /// The API. Loopback by default: put TLS in front before listening elsewhere.
        listen: SocketAddr = "127.0.0.1:8080";
        /// Health and metrics, which know no callers: leave it where only operators reach it.
        management: SocketAddr = "127.0.0.1:8081";
        /// How clients reach the API, e.g. `https://api.example.org`: the issuer that tokens name, and the
        /// beginning of the setup link and of the links in mails. None means the address listened on.
        public_url: Option<PublicUrl> = "";
        /// The largest body of a request; a larger one is answered 413.
        body_bytes_max: Bytes = "256KiB";
        /// How long a request may take until it is answered that it took too long.
        deadline: Duration = "5s";
        /// Items of a page of a list; a request may ask for fewer.
        page_items_max: usize = "200";
        /// Requests taken at once; more are answered 503 with `Retry-After`.
        in_flight_max: usize = "2000";
        /// Connections held at once; more wait to be taken.
        connections_max: usize = "20000";
        /// A client that takes nothing of what is sent to it for this long loses its connection.
        untaken_max: Duration = "2m";
        /// Bytes of all headers of a request together; more is answered 431.
        header_bytes_max: Bytes = "32KiB";
        /// The proxies in front, by address or network, such as `10.0.0.0/8, ::1`: what they say in
        /// `X-Forwarded-For` counts as the client's address. What anybody else says there has no effect.
        trusted_proxies: Option<String> = "";
        /// Other sites whose scripts may ask the API from browsers, by origin, such as
        /// `https://app.example.org, http://localhost:3000`. None means no other site's; `*` is not taken.
        cors_origins: Option<String> = "";
        /// How long a stopping node goes on with the requests it has taken.
        grace: Duration = "20s";
    }
    /// How long people are let in.
    auth: Auth {
        /// How long an access token is good. Revocation acts within seconds whatever this says.
        access_token_life: Duration = "10m";
        /// A session nobody refreshed for this long ends.
        refresh_idle: Duration = "14d";
        /// A session ends after this long, whatever happens.
        refresh_life: Duration = "90d";
        /// A spent refresh token gives its successor again for this long, so that parallel requests of one
        /// client do not log it out; after that it ends the session.
        refresh_grace: Duration = "30s";
        /// How long a key signs access tokens before the next one does.
        key_rotation: Duration = "30d";
        /// How long an address is kept for somebody who signed up and has not opened the mailed link yet.
        sign_up_life: Duration = "1d";
        /// How long somebody who deletes their account may change their mind; then it is erased for good.
        leaving_grace: Duration = "7d";
        /// The fewest characters of a new password; below 8 it is 8.
        password_length_min: usize = "12";
        /// A file of passwords that were in a leak, none of which is taken: lines of SHA-1 hashes in their order, as
        /// Have I Been Pwned's downloader makes them. It is opened at the start and read at each new password.
        breached_passwords: Option<PathBuf> = "";
        /// Memory that hashing a password takes. Less than the default is not taken; hashes of another cost are
        /// renewed when their person signs in.
        password_memory: Bytes = "19MiB";
        /// Passes over that memory. Less than the default is not taken.
        password_passes: usize = "2";
        /// The time in which the wrong passwords that count below are forgotten, evenly.
        guess_window: Duration = "15m";
        /// Wrong passwords of one account from one network (or one known device) before each further one waits.
        guesses_per_account_and_network: usize = "10";
        /// Wrong passwords of one account from everywhere; known devices neither count nor wait.
        guesses_per_account: usize = "100";
        /// Wrong passwords from one network, whatever the account.
        guesses_per_network: usize = "100";
    }
    /// How often one network may come to the doors that take strangers.
    limits: Limits {
        /// The time in which all requests that count below are forgotten, evenly. They count by network (an IPv4
        /// address, an IPv6 /64) and door, pages and API together; more are answered 429, and 0 is no limit. Behind a
        /// proxy, name it in `http.trusted_proxies`, or everybody is one network.
        window: Duration = "1m";
        /// Signing in, whatever comes of it; wrong passwords are slowed down by `auth.guesses_...` as well.
        login: u32 = "30";
        /// Going on with a session: once in `auth.access_token_life` for each one in use.
        refresh: u32 = "300";
        /// Signing up.
        sign_up: u32 = "10";
        /// Asking for a link to a new password.
        forgot: u32 = "10";
        /// Opening mailed links: confirming an address, choosing a password, taking a change back.
        link: u32 = "30";
        /// Looking at, accepting and declining invitations.
        invitation: u32 = "60";
        /// The setup link.
        setup: u32 = "10";
        /// The time in which all mails that count below are forgotten, evenly.
        mail_window: Duration = "1h";
        /// Mails that one network asks for to one address: by signing up, a forgotten password, an invitation or a
        /// change of address. They count whether or not one is sent.
        mail_per_address_and_network: u32 = "5";
        /// Mails to one address that all networks together ask for.
        mail_per_address: u32 = "25";
    }
    /// How many tenants there may be, and how people come in.
    tenancy: Tenancy {
        /// Tenants one person may have founded and still own; platform admins found as many as they like.
        per_account_max: usize = "10";
        /// Invitations of one tenant that nobody has answered yet; one more is refused, so that nobody sends
        /// mail to the world through a tenant.
        invitations_open_max: usize = "200";
        /// How long an invitation waits for an answer.
        invitation_life: Duration = "7d";
    }
    /// How people are written to (docs/mail.md).
    mail: Mail {
        /// The address mails come from; needed once there is a server.
        from: Option<String> = "";
        /// The name mails come from.
        from_name: String = "ProgNetwork";
        /// The SMTP server that mails are handed to. None means the dev inbox: mails are kept in the store, the
        /// last 200 of them, for whoever sits at a node to read.
        smtp_host: Option<String> = "";
        /// Its port. None means 587 for `starttls`, 465 for `tls` and 25 for `none`.
        smtp_port: Option<u16> = "";
        /// `starttls` (required, never given up), `tls` from the first byte, or `none`.
        smtp_security: SmtpSecurity = "starttls";
        /// Who signs in to the server; none means nobody has to.
        smtp_user: Option<String> = "";
        /// With which password. Best given by its environment variable.
        smtp_password: Option<Hidden> = "";
        /// A file of certificates (PEM) to trust beside the system's, for a server of your own.
        smtp_ca_file: Option<PathBuf> = "";
        /// How long the server may take for one mail, from the connection to its last word.
        smtp_timeout: Duration = "60s";
        /// The file of the private key that signs mails (PEM, PKCS#8): RSA of 2048 bits or more, or Ed25519.
        /// None means they are not signed here.
        dkim_key_file: Option<PathBuf> = "";
        /// The domain that vouches for mails; none means that of `from`.
        dkim_domain: Option<String> = "";
        /// The name the key is published under, `<selector>._domainkey.<domain>`.
        dkim_selector: String = "prognet";
        /// Whether the dev inbox may stand in for a server: `on`, `off`, or `auto`, which means only while the
        /// node listens on this machine alone, and no `http.public_url` says that others come through a proxy.
        dev_inbox: DevInbox = "auto";
    }
    /// What a node says of itself, on standard error.
    log: Log {
        /// What is logged, e.g. `info,prognet=debug` (tracing-subscriber's EnvFilter). What is given replaces the
        /// default, whose last part is worth keeping: what `ractor_cluster` warns of, links between nodes say better.
        filter: String = "info,actix_server=warn,ractor=warn,ractor_cluster=error";
        /// `human` or `json`.
        format: LogFormat = "human";
    }
    /// How many entities run, and how much may wait for them.
    entities: Entities {
        /// An entity without a command for this long leaves memory; its next command brings it back.
        idle: Duration = "2m";
        /// Entities running at once; the one not used for longest leaves first. Each takes about
        /// 16 KiB with 2 KiB of state.
        resident_max: usize = "50000";
        /// What the entities running at once may weigh, by estimate: the other bound of the same kind.
        resident_bytes: Bytes = "768MiB";
        /// Records between two snapshots of an entity: fewer mean faster starts, more writing.
        snapshot_every: usize = "100";
        /// Commands that may wait for one entity; more are answered 429.
        entity_queue: usize = "128";
        /// Commands that may wait in one home, so that no tenant fills a shard; more are answered 429.
        home_queue: usize = "512";
        /// Commands that may wait for one shard; more are answered 503.
        shard_queue: usize = "1024";
        /// Commands that may wait on the node; more are answered 503.
        node_queue: usize = "8192";
        /// Crashes within `restart_window` that an entity survives; one more and it waits for an operator.
        restart_intensity: usize = "3";
        /// See `restart_intensity`.
        restart_window: Duration = "1m";
        /// First replies kept per entity, for retries with the same `Idempotency-Key`.
        reply_window: usize = "1000";
        /// How long a first reply is kept.
        reply_age: Duration = "1d";
    }
}

/// The value of a key, or a mistake in `sources`.
fn take<V: Value>(
    key: &'static str,
    default: &'static str,
    sources: &mut Sources,
    origins: &mut BTreeMap<&'static str, Origin>,
) -> Option<V> {
    let (text, origin) = sources.take(key).unwrap_or_else(|| (default.to_owned(), Origin::Default));
    let value = V::parse(&text);
    if value.is_none() {
        let value = if V::IS_SECRET { "***".to_owned() } else { text };
        sources.mistake(Mistake::Invalid { key: key.to_owned(), value, origin, valid: V::VALID });
        return None;
    }
    origins.insert(key, origin);
    value
}

impl Settings {
    /// All keys, in the manual's order.
    #[must_use]
    pub const fn keys() -> &'static [Key] {
        KEYS
    }

    /// All keys with their values as text, secrets as `***`, and where each came from.
    pub fn all(&self) -> impl Iterator<Item = (&'static Key, String, &Origin)> {
        KEYS.iter().zip(self.shown()).filter_map(|(key, shown)| {
            let origin = self.origins.get(key.name)?;
            Some((key, shown, origin))
        })
    }

    /// The error of a value that its type takes and its reader does not.
    #[must_use]
    pub fn refuse(&self, key: &'static str, valid: &'static str) -> Error {
        let found = self.all().find(|(known, ..)| known.name == key);
        let mistakes = found.map(|(_, value, origin)| Mistake::Invalid {
            key: key.to_owned(),
            value,
            origin: origin.clone(),
            valid,
        });
        Error(mistakes.into_iter().collect())
    }

    /// All keys with the values that count, as a settings file; secrets as `***`, if wanted with origins.
    #[must_use]
    pub fn written(&self, with_origin: bool) -> String {
        let line = |(key, value, origin): (&Key, String, &Origin)| {
            let origin = if with_origin { format!("  # {origin}") } else { String::new() };
            format!("{} = {}{origin}\n", key.name, quoted(&value))
        };
        self.all().map(line).collect()
    }

    /// A settings file to start from: every key with its meaning and default, commented out.
    #[must_use]
    pub fn sample() -> String {
        let mut text = String::from(
            "# Settings of a ProgNetwork node. Every key is here with its default; uncomment what you change.\n\
             # `prognet config check` says what is wrong, `prognet config show --origin` what counts and why.\n",
        );
        let mut section = "";
        for key in KEYS {
            let (of, name) = key.name.split_once('.').unwrap_or_default();
            if of != section {
                text.push_str(&format!("\n[{of}]\n"));
                section = of;
            }
            for line in key.doc {
                text.push_str(&format!("#{line}\n"));
            }
            text.push_str(&format!("# ({})\n#{name} = {}\n", key.variable(), quoted(key.default)));
        }
        text
    }
}

/// A value as TOML: numbers bare, all else as a string.
fn quoted(value: &str) -> String {
    if value.parse::<u64>().is_ok() { value.to_owned() } else { toml::Value::from(value).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, variables: &[(&str, &str)]) -> Result<Settings, Error> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("prognet.toml");
        std::fs::write(&path, file).unwrap();
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        Settings::load(Sources::default().file(Some(path)).environment(variables))
    }

    fn mistakes(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
        load(file, variables).unwrap_err().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn flags_overrule_the_environment_which_overrules_the_file() {
        let file = "[http]\nlisten = \"127.0.0.1:1\"\npage_items_max = 7\ndeadline = \"1s\"";
        let settings = load(file, &[("PROGNET_HTTP_LISTEN", "127.0.0.1:2"), ("HOME", "/")]).unwrap();
        assert_eq!(settings.http.listen.port(), 2);
        assert_eq!((settings.http.page_items_max, settings.http.deadline), (7, Duration::from_secs(1)));
        let origin = |name: &str| {
            settings.all().find(|(key, ..)| key.name == name).map(|(_, _, origin)| origin.to_string())
        };
        assert_eq!(origin("http.listen").as_deref(), Some("PROGNET_HTTP_LISTEN"));
        assert_eq!(origin("http.grace").as_deref(), Some("default"));

        let flags = Sources::default()
            .environment([("PROGNET_HTTP_LISTEN".into(), "127.0.0.1:2".into())])
            .flag("--listen", "http.listen", Some("127.0.0.1:3".to_owned()));
        assert_eq!(Settings::load(flags).unwrap().http.listen.port(), 3);
    }

    #[test]
    fn every_mistake_names_key_value_source_and_what_is_valid() {
        let said = mistakes("[http]\nlisten = \"here\"\nlisen = 1", &[("PROGNET_HTTP_DEADLINE", "5")]);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said.iter().any(|said| said.starts_with("`http.listen` is `here` (from ")
            && said.ends_with("but must be an address with a port, such as 127.0.0.1:8080")));
        assert!(said.iter().any(|said| said.ends_with("is not a setting; did you mean `http.listen`?")));
        assert!(said.contains(
            &"`http.deadline` is `5` (from PROGNET_HTTP_DEADLINE), but must be a time above zero, such as 250ms, 30s, 10m, 2h or 14d"
                .to_owned()
        ));
        assert!(
            mistakes("", &[("PROGNET_NONSENSE", "x")])[0].starts_with("`nonsense` (from PROGNET_NONSENSE)")
        );
        assert!(mistakes("[http", &[])[0].contains("failed to read"));
    }

    #[test]
    fn a_secret_shows_neither_when_it_is_right_nor_when_it_is_wrong() {
        let key = "ab".repeat(32);
        let settings = load("", &[("PROGNET_STORAGE_MASTER_KEY", &key)]).unwrap();
        let shown: Vec<_> = settings.all().map(|(_, shown, _)| shown).collect();
        assert!(shown.contains(&"***".to_owned()) && !shown.contains(&key));
        assert!(!format!("{settings:?}").contains(&key));
        let wrong = mistakes("", &[("PROGNET_STORAGE_MASTER_KEY", "hunter2")]);
        assert!(!wrong[0].contains("hunter2"), "{wrong:?}");
    }

    /// `UPDATE=1 cargo test -p prognet-config` writes it anew.
    #[test]
    fn the_sample_has_every_key_and_its_default() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/prognet.toml");
        #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not a setting")]
        if std::env::var("UPDATE").is_ok() {
            std::fs::write(path, Settings::sample()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), Settings::sample());
        let uncommented: String = Settings::sample()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(line) if !line.starts_with(' ') => format!("{line}\n"),
                Some(_) => String::new(),
                None => format!("{line}\n"),
            })
            .collect();
        let settings = load(&uncommented, &[]).unwrap();
        assert!(settings.all().all(|(_, _, origin)| matches!(origin, Origin::File(_))));
        let defaults = Settings::load(Sources::default()).unwrap();
        assert_eq!(settings.shown(), defaults.shown());
    }
}
