//! Where a request comes from: the address of its connection, or what a proxy that is trusted says of it; and
//! what it comes from, in words for the person whose session it opens.

use std::net::IpAddr;

use actix_web::{
    HttpRequest,
    http::header::{HeaderMap, USER_AGENT},
};

use crate::{Edge, request, throttle::Network};

const FORWARDED_FOR: &str = "X-Forwarded-For";

/// The proxies whose word about their clients counts: single addresses, or networks such as `10.0.0.0/8`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<(IpAddr, u8)>);

impl Proxies {
    /// The proxies a list names; none if a part of it is neither an address nor a network.
    #[must_use]
    pub fn parse(list: &str) -> Option<Self> {
        let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(network).collect::<Option<_>>().map(Self)
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(network, bits)| is_within(address, *network, *bits))
    }
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse::<u8>().ok()?)),
        None => (text.parse::<IpAddr>().ok()?, None),
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some((address, bits))
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let differ = match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            u128::from(u32::from(one) ^ u32::from(other)).checked_shr(32_u32.saturating_sub(bits.into()))
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            (u128::from(one) ^ u128::from(other)).checked_shr(128_u32.saturating_sub(bits.into()))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Some(1),
    };
    // Shifted by all its bits nothing is left to differ.
    differ.unwrap_or(0) == 0
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Their address.
    pub(crate) address: IpAddr,
    /// The network they are in.
    pub(crate) network: Network,
    /// What they use, if it says so.
    pub(crate) device: Option<String>,
    /// The trace of their request.
    pub(crate) trace: u128,
}

impl Peer {
    /// Who sent a request.
    pub(crate) fn of(request: &HttpRequest, edge: &Edge) -> Self {
        let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
        // Connections of this server have a peer; without one nobody is told apart.
        let peer = peer.unwrap_or(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED));
        let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let address = client(peer, request.headers(), &edge.settings.proxies);
        Self {
            address,
            network: address.into(),
            device: agent.and_then(device),
            trace: request::trace(request),
        }
    }
}

/// What a browser calls itself behind all the others it claims to be, the most particular first.
const BROWSERS: [(&str, &str); 7] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];
/// The same of systems.
const SYSTEMS: [(&str, &str); 7] = [
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
];
/// The longest name of a program that is no browser.
const PROGRAM_MAX: usize = 40;

/// `Firefox on Linux`, or the program's own name.
fn device(agent: &str) -> Option<String> {
    let named = |words: &[(&str, &'static str)]| {
        words.iter().find(|(word, _)| agent.contains(word)).map(|(_, name)| *name)
    };
    match (named(&BROWSERS), named(&SYSTEMS)) {
        (Some(browser), Some(system)) => Some(format!("{browser} on {system}")),
        (Some(browser), None) => Some(browser.to_owned()),
        (None, _) => {
            let program = agent.split([' ', '(', ';']).next().unwrap_or_default();
            let program: String = program.chars().filter(char::is_ascii_graphic).take(PROGRAM_MAX).collect();
            (!program.is_empty()).then_some(program)
        }
    }
}

/// Each proxy adds whom it heard to the right: the client is the first from there that no trusted proxy is.
/// What lies left of it is whatever the client made up.
fn client(peer: IpAddr, headers: &HeaderMap, proxies: &Proxies) -> IpAddr {
    if !proxies.trust(peer) {
        return peer;
    }
    let lines: Vec<_> = headers.get_all(FORWARDED_FOR).filter_map(|line| line.to_str().ok()).collect();
    let mut nearest = peer;
    for said in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        match said.trim().parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if proxies.trust(address) => nearest = address,
            Ok(address) => return address,
            Err(_) => return nearest,
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn client_of(peer: &str, said: &[&'static str], proxies: &str) -> String {
        let mut headers = HeaderMap::new();
        for line in said {
            headers.append(HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static(line));
        }
        client(peer.parse().unwrap(), &headers, &Proxies::parse(proxies).unwrap()).to_string()
    }

    #[test]
    fn what_an_untrusted_peer_says_of_itself_has_no_effect() {
        assert_eq!(client_of("198.51.100.7", &["192.0.2.1"], ""), "198.51.100.7");
        assert_eq!(client_of("198.51.100.7", &["192.0.2.1"], "10.0.0.0/8"), "198.51.100.7");
    }

    #[test]
    fn a_trusted_proxy_says_who_its_client_is_and_the_client_cannot_add_to_it() {
        assert_eq!(client_of("10.0.0.1", &["203.0.113.9, 192.0.2.1"], "10.0.0.0/8"), "192.0.2.1");
        assert_eq!(client_of("10.0.0.1", &["203.0.113.9", "192.0.2.1, 10.0.0.2"], "10.0.0.0/8"), "192.0.2.1");
        assert_eq!(client_of("::1", &["2001:db8::1"], "::1, 10.0.0.0/8"), "2001:db8::1");
        for broken in ["", "unknown", "192.0.2.1:80", "x, y"] {
            assert_eq!(client_of("10.0.0.1", &[broken], "10.0.0.1"), "10.0.0.1", "{broken}");
        }
        assert_eq!(client_of("10.0.0.1", &[], "10.0.0.1"), "10.0.0.1");
    }

    #[test]
    fn a_device_is_told_in_words_its_person_knows() {
        for (agent, told) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            ("curl/8.14.1", "curl/8.14.1"),
            ("<script>alert(1)</script> x", "<script>alert"),
        ] {
            assert_eq!(device(agent).as_deref(), Some(told), "{agent}");
        }
        assert_eq!(device(""), None);
        assert_eq!(device(&"x".repeat(5_000)).map(|told| told.len()), Some(PROGRAM_MAX));
    }

    #[test]
    fn a_list_of_proxies_names_addresses_and_networks() {
        for good in ["", "127.0.0.1", "10.0.0.0/8, 2001:db8::/32", "0.0.0.0/0"] {
            assert!(Proxies::parse(good).is_some(), "{good}");
        }
        for bad in ["here", "10.0.0.0/33", "10.0.0.0/", "::/129", "10.0.0.0/8 127.0.0.1"] {
            assert!(Proxies::parse(bad).is_none(), "{bad}");
        }
        let all = Proxies::parse("0.0.0.0/0").unwrap();
        assert!(all.trust("192.0.2.1".parse().unwrap()) && !all.trust("::1".parse().unwrap()));
    }
}
