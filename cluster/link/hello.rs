//! What two nodes say before anything else: who they are, that they belong together, and that both know the secret.
//!
//! ```text
//! dialling                            listening
//!   Hello ────────────────────────────▶ same cluster? same shards? a version in common? another name?
//!         ◀──────────────────── Hello, or why not
//!   Proof ────────────────────────────▶ HMAC-SHA-256 (RFC 2104) of both hellos under the secret
//!         ◀──────────────────── Proof, or why not
//! ```
//! Each message is a length of two bytes and MessagePack, at most 4 KiB. Nonces make every proof a new one.

use aws_lc_rs::{hmac, rand};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::tls::Untrusted;
use crate::tables::{Build, Incarnation, NodeId, Wire};

/// The first thing said: tells a peer from whoever else knocks.
const MAGIC: &str = "prognet link 1";
/// The longest message.
const LONGEST: usize = 4 * 1024;
/// How an alert and a handshake of TLS begin (RFC 8446 s. 5.1): no message is as long as that.
const TLS: [usize; 2] = [0x1503, 0x1603];

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Which cluster it belongs to.
    pub generation: u128,
    /// Shards per service.
    pub shards: u16,
    /// The versions of envelopes that it speaks.
    pub wire: Wire,
    /// What it runs.
    pub build: Build,
    /// Its name.
    pub node: NodeId,
    /// How clients reach the cluster.
    pub site: String,
}

/// A hello of one run, for one stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Introduction {
    magic: String,
    hello: Hello,
    number: u64,
    nonce: u128,
}

/// Why a node is turned away. Each names what to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
pub enum HelloRefusal {
    /// Nothing that a node would say.
    #[error(
        "it does not speak as a node does: is another service's port in `cluster.address` or `cluster.seeds`, or is \
         `cluster.ca_file` given to one of the two only?"
    )]
    Garbage,
    /// It keeps its data elsewhere.
    #[error("it belongs to another cluster: `storage.url` of the two differ")]
    Cluster,
    /// It counts shards otherwise.
    #[error("it counts another number of shards a service: the builds of the two do not belong together")]
    Shards,
    /// No version of envelopes is spoken by both.
    #[error("it speaks none of this build's versions: upgrade one version at a time")]
    Wire,
    /// It has this node's name.
    #[error("it has this node's name: give one of them another `cluster.node`")]
    SameName,
    /// Clients reach it otherwise, and what one of the two signs is nothing to the other.
    #[error("it gives clients another address: `http.public_url` of the two differ")]
    Site,
    /// Its certificate is in another name.
    #[error(
        "its certificate is not in its name: the one of `cluster.certificate_file` must have its `cluster.node` as a \
         DNS name"
    )]
    Certificate,
    /// It does not know the secret.
    #[error("it does not know the secret: `cluster.secret` of the two differ")]
    Secret,
    /// This node has not joined yet; dial again.
    #[error("one of the two has not joined yet")]
    NotYet,
    /// A later run of it is linked.
    #[error("a later run of that node is here")]
    Over,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// They do not belong together; said by the other end if `is_theirs`.
    #[error("{why}")]
    Refused {
        /// Why.
        why: HelloRefusal,
        /// Whether the other end said so.
        is_theirs: bool,
    },
    /// A certificate is not taken.
    #[error(transparent)]
    Untrusted(Untrusted),
    /// The stream broke.
    #[error("the connection broke")]
    Broken(#[source] std::io::Error),
}

impl Failure {
    /// Whether it will be the same the next time, unless somebody changes a setting of one of the two.
    pub(super) const fn is_lasting(&self) -> bool {
        match self {
            Self::Untrusted(_) => true,
            Self::Broken(_) => false,
            Self::Refused { why, .. } => match why {
                HelloRefusal::Cluster
                | HelloRefusal::Shards
                | HelloRefusal::Wire
                | HelloRefusal::Site
                | HelloRefusal::Certificate
                | HelloRefusal::Secret => true,
                // What answers there may be none of the cluster's nodes, or not yet.
                HelloRefusal::Garbage
                | HelloRefusal::SameName
                | HelloRefusal::NotYet
                | HelloRefusal::Over => false,
            },
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match Untrusted::of(&error) {
            Some(untrusted) => Self::Untrusted(untrusted),
            None => Self::Broken(error),
        }
    }
}

impl From<HelloRefusal> for Failure {
    fn from(why: HelloRefusal) -> Self {
        Self::Refused { why, is_theirs: false }
    }
}

#[derive(Serialize, Deserialize)]
enum Said<T> {
    This(T),
    No(HelloRefusal),
}

type Proof = [u8; 32];

/// What one end knows.
pub(super) struct End<'a> {
    pub(super) hello: &'a Hello,
    pub(super) me: Incarnation,
    pub(super) secret: &'a hmac::Key,
}

impl End<'_> {
    fn introduction(&self) -> Result<Introduction, Failure> {
        let mut nonce = [0; 16];
        rand::fill(&mut nonce).map_err(|_why| std::io::Error::other("no randomness"))?;
        Ok(Introduction {
            magic: MAGIC.to_owned(),
            hello: self.hello.clone(),
            number: self.me.number,
            nonce: u128::from_be_bytes(nonce),
        })
    }

    /// Whether the two belong together.
    fn judge(&self, theirs: &Introduction) -> Result<Incarnation, HelloRefusal> {
        let (ours, hello) = (self.hello, &theirs.hello);
        if theirs.magic != MAGIC {
            return Err(HelloRefusal::Garbage);
        }
        if hello.generation != ours.generation {
            return Err(HelloRefusal::Cluster);
        }
        if hello.shards != ours.shards {
            return Err(HelloRefusal::Shards);
        }
        if !hello.wire.overlaps(ours.wire) {
            return Err(HelloRefusal::Wire);
        }
        if hello.node == ours.node {
            return Err(HelloRefusal::SameName);
        }
        if hello.site != ours.site {
            return Err(HelloRefusal::Site);
        }
        Ok(Incarnation { node: hello.node, number: theirs.number })
    }

    /// The dialling end.
    pub(super) async fn dial<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
    ) -> Result<Incarnation, Failure> {
        let ours = self.introduction()?;
        say(stream, &ours).await?;
        let theirs: Introduction = heard(stream).await?;
        let peer = match self.judge(&theirs) {
            Ok(peer) => peer,
            Err(why) => return refuse(stream, why).await,
        };
        let both = (encoded(&ours)?, encoded(&theirs)?);
        say(stream, &Said::This(self.proof("dialling", &both))).await?;
        let proof: Proof = heard(stream).await?;
        self.check("listening", &both, &proof)?;
        Ok(peer)
    }

    /// The listening end; `is_proven` says whether the stream proves the node's name.
    pub(super) async fn listen<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        is_proven: impl FnOnce(&S, NodeId) -> bool,
    ) -> Result<Incarnation, Failure> {
        let theirs: Introduction = read(stream).await?;
        let judged = self.judge(&theirs);
        let judged = judged.and_then(|peer| {
            if is_proven(stream, peer.node) { Ok(peer) } else { Err(HelloRefusal::Certificate) }
        });
        let peer = match judged {
            Ok(peer) => peer,
            Err(why) => return refuse(stream, why).await,
        };
        let ours = self.introduction()?;
        say(stream, &Said::This(&ours)).await?;
        let both = (encoded(&theirs)?, encoded(&ours)?);
        let proof: Proof = heard(stream).await?;
        if let Err(why) = self.check("dialling", &both, &proof) {
            return refuse(stream, why).await;
        }
        say(stream, &Said::This(self.proof("listening", &both))).await?;
        Ok(peer)
    }

    /// Turns somebody away for as long as this node has not joined, and whoever does not belong here for ever.
    pub(super) async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S) -> Failure {
        let judged = read::<S, Introduction>(stream).await.and_then(|theirs| Ok(self.judge(&theirs)?));
        let why = match judged {
            Ok(_) => HelloRefusal::NotYet,
            Err(Failure::Refused { why, .. }) => why,
            Err(failure) => return failure,
        };
        refuse::<S, ()>(stream, why).await.err().unwrap_or_else(|| why.into())
    }

    fn said_by(end: &str, both: &(Vec<u8>, Vec<u8>)) -> Vec<u8> {
        [end.as_bytes(), &both.0, &both.1].concat()
    }

    fn proof(&self, end: &str, both: &(Vec<u8>, Vec<u8>)) -> Proof {
        let tag = hmac::sign(self.secret, &Self::said_by(end, both));
        let mut proof = Proof::default();
        proof.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        proof
    }

    fn check(&self, end: &str, both: &(Vec<u8>, Vec<u8>), proof: &Proof) -> Result<(), HelloRefusal> {
        hmac::verify(self.secret, &Self::said_by(end, both), proof).map_err(|_wrong| HelloRefusal::Secret)
    }
}

/// Says why not, and that is all.
async fn refuse<S: AsyncWrite + Unpin, T>(stream: &mut S, why: HelloRefusal) -> Result<T, Failure> {
    say(stream, &Said::<()>::No(why)).await?;
    stream.shutdown().await?;
    Err(why.into())
}

async fn heard<S: AsyncRead + Unpin, T: DeserializeOwned>(stream: &mut S) -> Result<T, Failure> {
    match read(stream).await? {
        Said::This(this) => Ok(this),
        Said::No(why) => Err(Failure::Refused { why, is_theirs: true }),
    }
}

fn encoded<T: Serialize>(said: &T) -> Result<Vec<u8>, Failure> {
    rmp_serde::to_vec_named(said).map_err(|_why| HelloRefusal::Garbage.into())
}

async fn say<S: AsyncWrite + Unpin, T: Serialize>(stream: &mut S, said: &T) -> Result<(), Failure> {
    let bytes = encoded(said)?;
    let length = u16::try_from(bytes.len()).map_err(|_long| HelloRefusal::Garbage)?;
    stream.write_all(&[&length.to_be_bytes(), &*bytes].concat()).await?;
    Ok(stream.flush().await?)
}

async fn read<S: AsyncRead + Unpin, T: DeserializeOwned>(stream: &mut S) -> Result<T, Failure> {
    let length = usize::from(stream.read_u16().await?);
    if TLS.contains(&length) {
        return Err(Failure::Untrusted(Untrusted::Secured));
    }
    if length > LONGEST {
        return Err(HelloRefusal::Garbage.into());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    rmp_serde::from_slice(&bytes).map_err(|_why| HelloRefusal::Garbage.into())
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::Name;
    use tokio::io::duplex;

    use super::*;

    fn hello(name: &'static str) -> Hello {
        Hello {
            generation: 1,
            shards: 256,
            wire: Wire { min: 2, max: 3 },
            build: Build { major: 0, minor: 1, patch: 0 },
            node: NodeId(Name::new(name)),
            site: "https://api.example.org".to_owned(),
        }
    }

    fn me(hello: &Hello) -> Incarnation {
        Incarnation { node: hello.node, number: 5 }
    }

    fn key(secret: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
    }

    /// What becomes of a dialling and a listening node.
    async fn meet(
        (dialling, one): (Hello, &str),
        (listening, two): (Hello, &str),
    ) -> (Result<Incarnation, Failure>, Result<Incarnation, Failure>) {
        let (mut near, mut far) = duplex(64);
        let (one, two) = (key(one), key(two));
        let dialling = End { hello: &dialling, me: me(&dialling), secret: &one };
        let listening = End { hello: &listening, me: me(&listening), secret: &two };
        tokio::join!(dialling.dial(&mut near), listening.listen(&mut far, |_, _| true))
    }

    fn why(met: Result<Incarnation, Failure>) -> HelloRefusal {
        match met.unwrap_err() {
            Failure::Refused { why, .. } => why,
            Failure::Untrusted(_) | Failure::Broken(_) => panic!("it was not refused"),
        }
    }

    #[tokio::test]
    async fn nodes_that_belong_together_learn_who_the_other_is() {
        let (dialled, listened) = meet((hello("a"), "s"), (hello("b"), "s")).await;

        assert_eq!(dialled.unwrap(), me(&hello("b")));
        assert_eq!(listened.unwrap(), me(&hello("a")));
    }

    #[tokio::test]
    async fn whoever_does_not_belong_is_told_why_by_either_end() {
        let with = |change: fn(&mut Hello)| {
            let mut other = hello("b");
            change(&mut other);
            other
        };
        for (other, secret, expected) in [
            (with(|hello| hello.generation = 2), "s", HelloRefusal::Cluster),
            (with(|hello| hello.shards = 64), "s", HelloRefusal::Shards),
            (with(|hello| hello.wire = Wire { min: 4, max: 9 }), "s", HelloRefusal::Wire),
            (with(|hello| hello.node = NodeId(Name::new("a"))), "s", HelloRefusal::SameName),
            (with(|hello| hello.site = "https://example.org".to_owned()), "s", HelloRefusal::Site),
            (hello("b"), "another", HelloRefusal::Secret),
        ] {
            let (dialled, listened) = meet((hello("a"), "s"), (other.clone(), secret)).await;
            assert_eq!((why(dialled), why(listened)), (expected, expected));
            let (dialled, listened) = meet((other, secret), (hello("a"), "s")).await;
            assert_eq!((why(dialled), why(listened)), (expected, expected));
        }
    }

    #[tokio::test]
    async fn a_certificate_in_another_name_is_refused() {
        let (mut near, mut far) = duplex(64);
        let (one, two, secret) = (hello("a"), hello("b"), key("s"));
        let dialling = End { hello: &one, me: me(&one), secret: &secret };
        let listening = End { hello: &two, me: me(&two), secret: &secret };

        let met = tokio::join!(dialling.dial(&mut near), listening.listen(&mut far, |_, _| false));

        assert_eq!((why(met.0), why(met.1)), (HelloRefusal::Certificate, HelloRefusal::Certificate));
    }

    #[tokio::test]
    async fn a_node_that_answers_in_tls_is_told_apart_from_garbage() {
        for bytes in [[21, 3, 3, 0, 2, 2, 50], [22, 3, 1, 2, 0, 1, 0]] {
            let (mut near, mut far) = duplex(4_096);
            far.write_all(&bytes).await.unwrap();
            let (mine, secret) = (hello("b"), key("s"));
            let dialling = End { hello: &mine, me: me(&mine), secret: &secret };

            let met = dialling.dial(&mut near).await;

            assert!(matches!(met, Err(Failure::Untrusted(Untrusted::Secured))), "{met:?}");
        }
    }

    #[tokio::test]
    async fn garbage_and_messages_that_are_too_long_are_no_hello() {
        for bytes in [&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], &[0, 3, 1, 2, 3], &[0xff; 9_000]] {
            let (mut near, mut far) = duplex(16_384);
            near.write_all(bytes).await.unwrap();
            let (mine, secret) = (hello("b"), key("s"));
            let listening = End { hello: &mine, me: me(&mine), secret: &secret };

            let met = listening.listen(&mut far, |_, _| true).await;

            assert_eq!(why(met), HelloRefusal::Garbage);
        }
    }
}
