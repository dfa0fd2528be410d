//! Limits: how often one network may come to the doors that take strangers, and how many mails one address may be
//! sent by whoever asks. Answers say how a limit stands (draft-ietf-httpapi-ratelimit-headers-11), refusals or not.
//!
//! What is counted are requests, never what came of them: so a limit tells nobody whether an address has an
//! account. An address is counted for each network that asks and, further up, for all of them together: who floods
//! it from one network keeps nobody elsewhere from their mail.

use std::time::Duration;

use actix_web::http::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use prognet_supervisor::Timestamp;

use crate::{
    buckets::{Buckets, Left, Wait},
    throttle::Network,
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// Requests that one network may send within a window, by door; of each, 0 is no limit.
#[derive(Debug, Clone, Copy)]
pub struct LimitSettings {
    /// The time in which all places come back, one by one.
    pub window: Duration,
    /// Signing in.
    pub login: u32,
    /// Going on with a session.
    pub refresh: u32,
    /// Signing up.
    pub sign_up: u32,
    /// Asking for a new password.
    pub forgot: u32,
    /// What mailed links are good for, but for invitations.
    pub link: u32,
    /// Looking at, accepting and declining invitations.
    pub invitation: u32,
    /// The setup link.
    pub setup: u32,
    /// The time in which all mails of an address are forgotten, one by one.
    pub mail_window: Duration,
    /// Mails that one network has sent to one address.
    pub mail_per_address_and_network: u32,
    /// Mails that all networks together have sent to one address.
    pub mail_per_address: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            login: 30,
            refresh: 300,
            sign_up: 10,
            forgot: 10,
            link: 30,
            invitation: 60,
            setup: 10,
            mail_window: Duration::from_secs(3600),
            mail_per_address_and_network: 5,
            mail_per_address: 25,
        }
    }
}

/// A door that takes strangers: the API's and that of its page are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Door {
    Login,
    Refresh,
    SignUp,
    Forgot,
    Link,
    Invitation,
    Setup,
}

impl Door {
    /// The door that a request comes to, if it is one of these.
    pub(crate) fn of(method: &Method, route: &str) -> Option<Self> {
        let does = *method != Method::GET && *method != Method::HEAD && *method != Method::OPTIONS;
        match route {
            "/v1/sessions" | "/signin" | "/v1/accounts/stay" | "/stay" if does => Some(Self::Login),
            "/v1/sessions/refresh" if does => Some(Self::Refresh),
            "/v1/accounts" | "/signup" if does => Some(Self::SignUp),
            "/v1/accounts/forgot" | "/forgot" if does => Some(Self::Forgot),
            "/v1/accounts/verify" | "/verify" | "/v1/accounts/reset" | "/reset" if does => Some(Self::Link),
            "/v1/accounts/confirm-email" | "/change-email" if does => Some(Self::Link),
            "/v1/accounts/undo-email" | "/undo-email" if does => Some(Self::Link),
            // Looking at these says whether a token is good.
            "/v1/setup" | "/setup" => Some(Self::Setup),
            route if ["/v1/invitations/", "/invitation"].iter().any(|door| route.starts_with(door)) => {
                Some(Self::Invitation)
            }
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Refresh => "refresh",
            Self::SignUp => "sign-up",
            Self::Forgot => "forgot",
            Self::Link => "link",
            Self::Invitation => "invitation",
            Self::Setup => "setup",
        }
    }
}

/// Whoever has an address is written to: counted under a keyed hash of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Addressed {
    From(Network, u128),
    FromAnywhere(u128),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Limits {
    settings: LimitSettings,
    doors: Buckets<(Door, Network)>,
    mails: Buckets<Addressed>,
}

/// How a limit stands for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    policy: &'static str,
    quota: u32,
    window: Duration,
    left: Left,
}

/// One more than the limit takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) standing: Standing,
    pub(crate) wait: Duration,
}

impl Standing {
    /// Says it in an answer's headers, beside what others say there.
    pub(crate) fn say(&self, headers: &mut HeaderMap) {
        let Self { policy, quota, window, left: Left { places, more_in } } = self;
        let policy_says = format!("\"{policy}\";q={quota};w={}", window.as_secs().max(1));
        let more_in_s = more_in.as_millis().div_ceil(1_000);
        let more = if more_in_s == 0 { String::new() } else { format!(";t={more_in_s}") };
        for (name, value) in [(POLICY, policy_says), (STANDING, format!("\"{policy}\";r={places}{more}"))] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.append(name, value);
            }
        }
    }
}

impl Limits {
    pub(crate) fn new(settings: LimitSettings) -> Self {
        let (doors, mails) = (Buckets::new(settings.window), Buckets::new(settings.mail_window));
        Self { settings, doors, mails }
    }

    /// Somebody comes to a door: how its limit stands then, if it has one.
    pub(crate) fn enter(&self, door: Door, from: Network, now: Timestamp) -> Result<Option<Standing>, Over> {
        let quota = self.quota(door);
        if quota == 0 {
            return Ok(None);
        }
        let bucket = (door, from);
        let taken = self.doors.take(&[(bucket, quota)], now);
        let left = self.doors.left(bucket, quota, now);
        let standing = Standing { policy: door.name(), quota, window: self.doors.window(), left };
        taken.map(|()| Some(standing)).map_err(|Wait(wait)| Over { standing, wait })
    }

    /// Somebody asks for something that mails an address, whether or not a mail comes of it.
    pub(crate) fn mail(&self, address: u128, from: Network, now: Timestamp) -> Result<(), Over> {
        let settings = &self.settings;
        let buckets = [
            (Addressed::From(from, address), settings.mail_per_address_and_network),
            (Addressed::FromAnywhere(address), settings.mail_per_address),
        ];
        let buckets: Vec<_> = buckets.into_iter().filter(|(_, quota)| *quota > 0).collect();
        self.mails.take(&buckets, now).map_err(|Wait(wait)| {
            let quota = buckets.first().map_or(0, |(_, quota)| *quota);
            // Nothing is said of what others have asked for.
            let left = Left { places: 0, more_in: wait };
            Over { standing: Standing { policy: "mail", quota, window: self.mails.window(), left }, wait }
        })
    }

    const fn quota(&self, door: Door) -> u32 {
        let settings = &self.settings;
        match door {
            Door::Login => settings.login,
            Door::Refresh => settings.refresh,
            Door::SignUp => settings.sign_up,
            Door::Forgot => settings.forgot,
            Door::Link => settings.link,
            Door::Invitation => settings.invitation,
            Door::Setup => settings.setup,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use prognet_supervisor::testing::NOON;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn said(standing: &Standing) -> (String, String) {
        let mut headers = HeaderMap::new();
        standing.say(&mut headers);
        let text = |name: HeaderName| headers.get(name).unwrap().to_str().unwrap().to_owned();
        (text(POLICY), text(STANDING))
    }

    /// Security bar 46.
    #[test]
    fn a_limit_says_how_it_stands_in_the_words_of_the_draft() {
        let limits = Limits::new(LimitSettings { login: 10, ..LimitSettings::default() });
        let enter = |now| limits.enter(Door::Login, network("192.0.2.1"), now);
        let first = enter(NOON).unwrap().unwrap();
        assert_eq!(said(&first), ("\"login\";q=10;w=60".to_owned(), "\"login\";r=9;t=6".to_owned()));
        assert!((0..9).all(|_| enter(NOON).is_ok()));
        let over = enter(NOON).unwrap_err();
        assert_eq!(said(&over.standing).1, "\"login\";r=0;t=6");
        assert_eq!(over.wait, Duration::from_secs(6));
        assert!(limits.enter(Door::Login, network("192.0.2.2"), NOON).is_ok(), "others are not harmed");
        assert!(limits.enter(Door::SignUp, network("192.0.2.1"), NOON).is_ok(), "nor at other doors");
        assert!(enter(NOON.after(over.wait)).is_ok());
    }

    #[test]
    fn no_limit_is_none_and_says_nothing() {
        let none = LimitSettings { login: 0, mail_per_address: 0, ..LimitSettings::default() };
        let limits = Limits::new(LimitSettings { mail_per_address_and_network: 0, ..none });
        for _ in 0..1_000 {
            assert_eq!(limits.enter(Door::Login, network("192.0.2.1"), NOON), Ok(None));
            assert_eq!(limits.mail(1, network("192.0.2.1"), NOON), Ok(()));
        }
    }

    /// Security bar 46: nobody is flooded with mail, and who floods keeps nobody elsewhere from theirs.
    #[test]
    fn an_address_is_mailed_so_often_from_a_network_and_so_often_from_all() {
        let limits = Limits::new(LimitSettings::default());
        let mail = |from: &str| limits.mail(7, network(from), NOON);
        assert!((0..5).all(|_| mail("192.0.2.1").is_ok()));
        let over = mail("192.0.2.1").unwrap_err();
        assert_eq!(said(&over.standing).0, "\"mail\";q=5;w=3600");
        assert!(limits.mail(8, network("192.0.2.1"), NOON).is_ok(), "another address");
        let from_elsewhere = (0..100_u8).filter(|host| mail(&format!("198.51.100.{host}")).is_ok()).count();
        assert_eq!(from_elsewhere, 20);
    }

    /// What everybody may ask has a limit; what takes a token or a session has its holder's.
    #[test]
    fn every_door_for_strangers_has_a_limit() {
        let description = include_str!("../docs/openapi.json");
        let description: serde_json::Value = serde_json::from_str(description).unwrap();
        let mut doors = 0;
        for (path, methods) in description["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let is_open = operation["security"] == serde_json::json!([{}]);
                if is_open && method != "get" {
                    assert!(Door::of(&Method::POST, path).is_some(), "{method} {path}");
                    doors += 1;
                }
            }
        }
        assert!(doors > 8);
        assert_eq!(Door::of(&Method::POST, "/v1/invitations/accept"), Some(Door::Invitation));
        assert_eq!(Door::of(&Method::GET, "/v1/accounts"), None, "for platform admins");
        assert_eq!(Door::of(&Method::GET, "/setup"), Some(Door::Setup), "it says whether a token is good");
    }

    #[cfg(not(feature = "no-ui"))]
    #[test]
    fn every_form_for_strangers_has_the_limit_of_its_door() {
        const OF_A_SESSION: [&str; 3] = ["/account", "/signout", "/organizations"];
        for (path, methods) in crate::pages::TABLE {
            let is_own = OF_A_SESSION.iter().any(|own| path.starts_with(own));
            if methods.contains(&"post") && !is_own {
                assert!(Door::of(&Method::POST, path).is_some(), "{path}");
            }
        }
        for (form, door) in [("/signin", "/v1/sessions"), ("/forgot", "/v1/accounts/forgot")] {
            assert_eq!(Door::of(&Method::POST, form), Door::of(&Method::POST, door));
            assert_eq!(Door::of(&Method::GET, form), None, "looking at a form is nothing");
        }
    }
}
