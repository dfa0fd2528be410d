//! Looking who answers at an address, before this node is anybody.

use tokio::{net::TcpStream, time::timeout};

use super::{Inner, RactorLink, meeting::HELLO_TIMEOUT};
use crate::{
    link::{
        hello::{End, Failure, HelloRefusal},
        tls,
    },
    tables::Incarnation,
};

/// Who answers at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knock {
    /// A node that this one belongs to, or will once one of the two has joined.
    Friend,
    /// A node of this one's name: mostly itself.
    Namesake,
    /// A node that will not link to this one, and the setting to look at.
    Stranger(String),
    /// Nobody, or nobody that speaks as a node does.
    Nobody(String),
}

impl RactorLink {
    /// Says hello at an address.
    pub async fn knock(&self, address: &str) -> Knock {
        match timeout(HELLO_TIMEOUT, self.0.knock(address)).await {
            Ok(Ok(())) => Knock::Friend,
            Ok(Err(Failure::Refused { why: HelloRefusal::NotYet, .. })) => Knock::Friend,
            Ok(Err(Failure::Refused { why: HelloRefusal::SameName, .. })) => Knock::Namesake,
            Ok(Err(failure)) if failure.is_lasting() => Knock::Stranger(failure.to_string()),
            Ok(Err(Failure::Broken(error))) => Knock::Nobody(error.to_string()),
            Ok(Err(failure)) => Knock::Nobody(failure.to_string()),
            Err(_elapsed) => Knock::Nobody("it does not answer in time".to_owned()),
        }
    }
}

impl Inner {
    /// This node before it has joined.
    pub(super) fn nobody(&self) -> End<'_> {
        let me = Incarnation { node: self.hello.node, number: 0 };
        End { hello: &self.hello, me, secret: &self.secret }
    }

    async fn knock(&self, address: &str) -> Result<(), Failure> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let is_loopback = stream.peer_addr()?.ip().is_loopback();
        match &self.tls {
            Some(tls) => {
                let mut stream = tls.knock(stream).await?;
                let met = self.nobody().dial(&mut stream).await?;
                if tls::proves(&stream, met.node) { Ok(()) } else { Err(HelloRefusal::Certificate.into()) }
            }
            None if is_loopback => self.nobody().dial(&mut stream).await.map(drop),
            None => Err(std::io::Error::other("without `cluster.ca_file` only loopback is dialled").into()),
        }
    }
}
