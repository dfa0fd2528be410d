//! What other nodes bring: their commands and errands for the entities of this one.

use std::time::Duration;

use prognet_storage::{EntityRef, Home, HomeKind, Name, codec};
use serde_bytes::ByteBuf;

use super::{Follower, Node};
use crate::{
    Asking, Timestamp, Unavailable, Written,
    entity::AnyRefused,
    parcel::{AskParcel, Content, Errand, Parcel, Refusal, Reply, encode},
    placement::{Place, Placement},
    router::here::Question,
};

/// Between two questions how far a reader is that just moves.
const AGAIN: Duration = Duration::from_millis(20);

impl Node {
    /// Does what a parcel of another node asks for; the answer is for that node. Whatever this node does not own is
    /// refused as moving, which changes nothing.
    pub async fn receive(&self, parcel: &[u8]) -> Vec<u8> {
        let reply = match codec::decode_event::<Parcel>(parcel) {
            Ok(Parcel { wait_ms, content }) => self.open(content, Duration::from_millis(wait_ms)).await,
            Err(error) => {
                // What a later version asks for: nothing was done, and another owner may know it.
                tracing::error!(error = &error as &dyn std::error::Error, "a parcel does not decode");
                moving()
            }
        };
        encode(&reply)
    }

    async fn open(&self, content: Content, wait: Duration) -> Reply {
        match content {
            Content::Ask(ask) => self.asked(ask, wait).await,
            Content::Errand { service, entity, errand } => {
                let is_delivery = matches!(errand, Errand::Delivery { .. });
                let place = self
                    .doors()
                    .placement()
                    .map(|placement| placement.place(self.doors().shard_of(service, entity)));
                let epoch = match place {
                    Some(Ok(Place::Here(epoch))) => epoch,
                    Some(Ok(Place::There(..)) | Err(_)) | None => return moving(),
                };
                match self.doors().run_here(service, entity, errand, Some(epoch)).await {
                    Ok(Some(outcome)) => Reply::Delivered(outcome.map(ByteBuf::from).map_err(ByteBuf::from)),
                    Ok(None) if is_delivery => Reply::Refused(Refusal::Fault),
                    Ok(None) => Reply::Done,
                    Err(refused) => Reply::Refused(refused.into()),
                }
            }
            Content::Reach { projection, written } => {
                let deadline = self.clock().now().after(wait);
                let Some(follower) = self.0.projections.get(&projection) else {
                    return Reply::Refused(Refusal::Fault);
                };
                match follower.progress.reach(written, self.runtime(), deadline).await {
                    Ok(()) => Reply::Done,
                    Err(why) => Reply::Refused(Refusal::Unavailable(why)),
                }
            }
            Content::Inspect { service, entity } => {
                Reply::Inspected(self.inspect_here(service, entity).await)
            }
            Content::Release { service, entity } => Reply::Released(self.release_here(service, entity).await),
        }
    }

    async fn asked(&self, ask: AskParcel, wait: Duration) -> Reply {
        let AskParcel { service, entity, command, is_to_end, asker, key, trace, call, attempt } = ask;
        let doors = self.doors();
        if !doors.attempts.is_last(call, attempt) {
            return moving();
        }
        let place = doors.placement().map(|placement| placement.place(doors.shard_of(service, entity)));
        let Some(Ok(Place::Here(epoch))) = place else { return moving() };
        let Some(host) = doors.services.get(&service).and_then(|door| door.kinds.get(&entity.kind)) else {
            return Reply::Refused(Refusal::Unavailable(no_such(service)));
        };
        let question = match command {
            Some(command) => match host.decode_command(&command) {
                Ok(command) => Question::Command(command, (call != 0).then_some(call)),
                Err(error) => {
                    tracing::error!(entity = %entity, error = &error as &dyn std::error::Error, "a command of another node does not decode");
                    return Reply::Refused(Refusal::Fault);
                }
            },
            None if is_to_end => Question::End,
            None => Question::Read,
        };
        let asking = Asking { asker, key, trace, deadline: self.clock().now().after(wait) };
        match doors.ask_here(service, entity, &asking, question, Some(epoch)).await {
            Ok((reply, written)) => match host.encode_reply(&reply) {
                Some(reply) => Reply::Answered { reply: ByteBuf::from(reply), written },
                None => Reply::Refused(Refusal::Fault),
            },
            Err(AnyRefused::Rejected(rejection)) => match host.encode_rejection(&rejection) {
                Some(rejection) => Reply::Rejected(ByteBuf::from(rejection)),
                None => Reply::Refused(Refusal::Fault),
            },
            Err(refused) => Reply::Refused(refused.into()),
        }
    }
}

impl Node {
    /// Returns once a projection has taken `written` in, on whichever node it runs.
    pub(super) async fn reached(
        &self,
        follower: &Follower,
        placement: &dyn Placement,
        projection: Name,
        written: Written,
        deadline: Timestamp,
    ) -> Result<(), Unavailable> {
        loop {
            let mut changes = placement.changes();
            changes.mark_unchanged();
            let moved = async { drop(changes.changed().await) };
            let reached = async {
                let Some(node) = follower.anchors.abroad(placement) else {
                    return follower.progress.reach(written, self.runtime(), deadline).await.is_ok();
                };
                let wait = deadline.since(self.clock().now());
                let content = Content::Reach { projection, written };
                let reply = self.doors().exchange(placement, node, nobody(), content, wait).await;
                matches!(reply, Ok(Reply::Done))
            };
            let is_there = tokio::select! {
                is_there = reached => is_there,
                () = moved => false,
            };
            if is_there {
                return Ok(());
            }
            if self.clock().now() >= deadline {
                return Err(Unavailable::Behind);
            }
            self.clock().sleep(AGAIN).await;
        }
    }
}

const fn moving() -> Reply {
    Reply::Refused(Refusal::Unavailable(Unavailable::Moving))
}

/// Whom a question about a reader concerns.
fn nobody() -> EntityRef {
    EntityRef { home: Home { kind: HomeKind::Platform, id: 0 }, kind: Name::default(), id: 0 }
}

/// This build hosts no such kind: a newer one does.
const fn no_such(service: Name) -> Unavailable {
    Unavailable::NoHost { service }
}
