//! The throttle: how often somebody may guess a password before it takes them long.
//!
//! Every attempt takes a place in each bucket it falls into and gets it back if the password was right, so that
//! many at once are counted like many in a row. Places come back evenly over a window: whoever goes on guessing
//! gets one guess at a time, and nobody is ever locked out for good. It is kept in memory and forgotten with the
//! node: what is lost is one window of guesses.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use prognet_supervisor::Timestamp;

use crate::buckets::Buckets;
pub(crate) use crate::buckets::Wait;

/// How many wrong passwords a window takes.
#[derive(Debug, Clone, Copy)]
pub struct ThrottleSettings {
    /// The time in which all places of a bucket come back.
    pub window: Duration,
    /// Of one account from one network, or from one device that was let in before.
    pub per_account_and_network: u32,
    /// Of one account from all networks together; devices that were let in before do not count.
    pub per_account: u32,
    /// From one network, whatever the account.
    pub per_network: u32,
}

impl Default for ThrottleSettings {
    fn default() -> Self {
        let window = Duration::from_secs(15 * 60);
        Self { window, per_account_and_network: 10, per_account: 100, per_network: 100 }
    }
}

/// Where an attempt comes from: an IPv4 address, or the 64 bits of an IPv6 address that one customer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Who is guessed at, as far as whoever guesses says so: a keyed hash of the address.
pub(crate) type Target = u128;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Bucket {
    Account(Target),
    AccountFrom(Target, Network),
    Device(Target, u128),
    Network(Network),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Throttle {
    settings: ThrottleSettings,
    buckets: Buckets<Bucket>,
}

/// A guess under way: it counts as wrong unless it is forgiven.
#[derive(Debug)]
#[must_use]
pub(crate) struct Guess<'a> {
    throttle: &'a Throttle,
    buckets: Vec<(Bucket, u32)>,
}

impl Guess<'_> {
    /// It was right, or nobody can say: its places are free again.
    pub(crate) fn forgive(self) {
        self.throttle.buckets.give_back(&self.buckets);
    }
}

impl Throttle {
    pub(crate) fn new(settings: ThrottleSettings) -> Self {
        Self { settings, buckets: Buckets::new(settings.window) }
    }

    /// A guess at an account's password from a network, or from a device that knew it before.
    pub(crate) fn guess(
        &self,
        target: Target,
        from: Network,
        device: Option<u128>,
        now: Timestamp,
    ) -> Result<Guess<'_>, Wait> {
        let buckets = match device {
            Some(device) => vec![Bucket::Device(target, device)],
            None => {
                vec![Bucket::AccountFrom(target, from), Bucket::Account(target), Bucket::Network(from)]
            }
        };
        let buckets: Vec<_> = buckets.into_iter().map(|bucket| (bucket, self.places(bucket))).collect();
        self.buckets.take(&buckets, now)?;
        Ok(Guess { throttle: self, buckets })
    }

    const fn places(&self, bucket: Bucket) -> u32 {
        match bucket {
            Bucket::AccountFrom(..) | Bucket::Device(..) => self.settings.per_account_and_network,
            Bucket::Account(_) => self.settings.per_account,
            Bucket::Network(_) => self.settings.per_network,
        }
    }
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::NOON;

    use super::*;

    const HOME: &str = "192.0.2.1";
    const AWAY: &str = "198.51.100.7";
    const MINUTE: Duration = Duration::from_secs(60);

    fn network(text: &str) -> Network {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn wrong(throttle: &Throttle, target: Target, from: &str, device: Option<u128>, now: Timestamp) -> bool {
        // A guess that is dropped was wrong.
        throttle.guess(target, network(from), device, now).map(drop).is_ok()
    }

    #[test]
    fn ten_wrong_passwords_are_free_and_then_it_takes_long_but_never_for_ever() {
        let throttle = Throttle::new(ThrottleSettings::default());
        assert!((0..10).all(|_| wrong(&throttle, 1, HOME, None, NOON)));
        let Err(Wait(wait)) = throttle.guess(1, network(HOME), None, NOON) else { panic!("an eleventh") };
        assert_eq!(wait, Duration::from_secs(90), "a tenth of a quarter of an hour");

        let later = NOON.after(wait);
        assert!(wrong(&throttle, 1, HOME, None, later), "one at a time");
        assert!(!wrong(&throttle, 1, HOME, None, later));
        let whole = later.after(MINUTE * 15);
        assert!((0..10).all(|_| wrong(&throttle, 1, HOME, None, whole)));
    }

    #[test]
    fn a_stranger_elsewhere_slows_nobody_down() {
        let throttle = Throttle::new(ThrottleSettings::default());
        while wrong(&throttle, 1, AWAY, None, NOON) {}
        assert!(wrong(&throttle, 1, HOME, None, NOON));
    }

    #[test]
    fn of_an_account_that_is_guessed_from_everywhere_a_known_device_still_gets_in() {
        let throttle = Throttle::new(ThrottleSettings::default());
        for host in 0..100_u8 {
            assert!(wrong(&throttle, 1, &format!("203.0.113.{host}"), None, NOON));
        }
        assert!(!wrong(&throttle, 1, HOME, None, NOON), "from anywhere");
        assert!((0..10).all(|_| wrong(&throttle, 1, HOME, Some(5), NOON)));
        assert!(!wrong(&throttle, 1, HOME, Some(5), NOON), "a stolen device guesses no better");
    }

    #[test]
    fn a_thousand_accounts_with_one_guess_each_trip_their_network() {
        let throttle = Throttle::new(ThrottleSettings::default());
        let taken = (0..1_000).filter(|target| wrong(&throttle, *target, HOME, None, NOON)).count();
        assert_eq!(taken, 100);
        assert!(wrong(&throttle, 1, AWAY, None, NOON), "others are not harmed");
    }

    #[test]
    fn a_right_password_costs_nothing() {
        let throttle = Throttle::new(ThrottleSettings::default());
        for _ in 0..1_000 {
            throttle.guess(1, network(HOME), None, NOON).unwrap().forgive();
        }
        // Fifty at once are fifty, whatever comes of them.
        let guesses: Vec<_> =
            (0..50).filter_map(|_| throttle.guess(1, network(HOME), None, NOON).ok()).collect();
        assert_eq!(guesses.len(), 10);
    }

    #[test]
    fn an_ipv6_customer_is_one_network_and_a_mapped_address_is_its_ipv4() {
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network(HOME));
    }
}
