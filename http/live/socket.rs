//! The live WebSocket: an actor that owns one session, proves its caller and passes events on.
//!
//! ```text
//! opened ──auth within 5 s──▶ proven ──subscribe──▶ events ...
//!    │                          │  token over, session ended, tenant suspended, too slow, node stops
//!    └──────────▶ closed ◀──────┘
//! ```
//! A frame is sent before the next is taken, so what waits is one event a subscription and what the
//! connection holds; a client that takes none for [`PATIENCE`] is closed, and resumes from its cursor.
//! The messages are `sdk/rust/live.rs`, the close codes `docs/live.md`.

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, StreamHandler,
    WrapFuture, fut,
};
use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Payload},
};
use actix_ws::{AggregatedMessage, CloseCode, CloseReason, ProtocolError, Session};
use prognet_actors::auth::access::Principal;
use prognet_sdk::{LiveFrame, LiveRequest};
use prognet_supervisor::{Frame, Position, Timestamp, Topic};
use tokio::sync::oneshot;

use super::{LOOK_EVERY, Standing, begin, cursor_at, may_watch, stands, topic, view};
use crate::{Edge, gate::Admitted, peer::Peer, problem::Problem, record, v1::Problems};

/// A socket that has not proven anybody by then is closed.
const PROOF_WITHIN: Duration = Duration::from_secs(5);
/// What one frame may take to be sent.
const PATIENCE: Duration = Duration::from_secs(10);
/// A closing client gets this long to read why.
const FAREWELL: Duration = Duration::from_secs(30);
/// Without a sign of life for this long the client is taken for gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Looks between two pings.
const LOOKS_PER_PING: u32 = 10;
/// Subscriptions of one socket.
const TOPICS_MAX: usize = 64;
/// Bytes of a client's message.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// The reason of a close frame, in bytes (RFC 6455 s. 5.5).
const REASON_BYTES_MAX: usize = 123;

/// Why a socket closes; the numbers are a promise (`docs/live.md`).
#[derive(Debug, Clone, Copy)]
enum Closing {
    Unproven = 4001,
    TokenOver = 4002,
    TenantSuspended = 4003,
    SessionEnded = 4004,
    TooSlow = 4008,
    BadMessage = 4400,
}

/// Opens the socket.
#[utoipa::path(get, path = "/v1/live", tag = "events",
    responses((status = 101, description = "A WebSocket; its messages and close codes are in `docs/live.md`"), Problems), security(()))]
pub(crate) async fn open(
    request: HttpRequest,
    body: Payload,
    edge: Data<Edge>,
) -> Result<HttpResponse, Problem> {
    let peer = Peer::of(&request, &edge);
    let upgrade = actix_ws::handle(&request, body);
    let (answer, session, messages) = upgrade.map_err(|error| Problem::field("Upgrade", error))?;
    let messages = messages
        .max_frame_size(MESSAGE_BYTES_MAX)
        .aggregate_continuations()
        .max_continuation_size(MESSAGE_BYTES_MAX);
    Socket::create(|context| {
        context.add_stream(messages);
        let heard_at = edge.node.clock().now();
        Socket {
            edge,
            peer,
            session: Some(session),
            admitted: None,
            standing: None,
            watched: HashMap::new(),
            heard_at,
            looks: 0,
        }
    });
    std::future::ready(Ok(answer)).await
}

struct Socket {
    edge: Data<Edge>,
    peer: Peer,
    session: Option<Session>,
    admitted: Option<Admitted>,
    standing: Option<Standing>,
    watched: HashMap<String, (Topic, SpawnHandle)>,
    heard_at: Timestamp,
    looks: u32,
}

/// An event on its way out; `taken` lets the subscription fetch the next.
struct Out {
    name: String,
    topic: Topic,
    frame: Frame,
    taken: oneshot::Sender<()>,
}

impl Message for Out {
    type Result = ();
}

impl Actor for Socket {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.edge.sockets.fetch_sub(1, Ordering::Relaxed);
    }

    fn started(&mut self, context: &mut Context<Self>) {
        self.edge.sockets.fetch_add(1, Ordering::Relaxed);
        context.run_later(PROOF_WITHIN, |socket, context| {
            if socket.admitted.is_none() {
                socket.close(Closing::Unproven, "prove who you are within 5 s", context);
            }
        });
        context.run_interval(LOOK_EVERY, Self::look);
        let mut closing = self.edge.closing.subscribe();
        let stopping = async move { drop(closing.wait_for(|is_closing| *is_closing).await) };
        let farewell = stopping.into_actor(self).map(|(), socket, context| {
            socket.farewell(CloseCode::Away, "the node is stopping", context);
        });
        context.spawn(farewell);
    }
}

impl Socket {
    /// Looks whether the client lives and its caller still stands.
    fn look(&mut self, context: &mut Context<Self>) {
        self.looks += 1;
        if self.edge.node.clock().now().since(self.heard_at) > SILENCE_MAX {
            return context.stop();
        }
        if self.looks.is_multiple_of(LOOKS_PER_PING)
            && let Some(mut session) = self.session.clone()
        {
            // A ping that does not get through is answered by nobody, which the silence shows.
            let ping = async move { drop(tokio::time::timeout(PATIENCE, session.ping(b"")).await) };
            context.spawn(ping.into_actor(self));
        }
        let Some(claims) = self.standing.as_ref().map(|standing| standing.claims.clone()) else { return };
        let edge = self.edge.clone();
        let look = async move { stands(&edge, &claims).await };
        context.spawn(look.into_actor(self).map(|look, socket, context| {
            let Some(standing) = &mut socket.standing else { return };
            let (who, look) = match look {
                Ok(who) => (Some(who), Ok(())),
                Err(problem) => (None, Err(problem)),
            };
            match standing.after(look, &socket.edge) {
                Ok(()) => socket.keep_to_rights(who, context),
                Err(problem) if problem.is_unavailable() => {
                    socket.farewell(CloseCode::Again, problem.said(), context);
                }
                Err(problem) => socket.close(reason_of(&problem), problem.said(), context),
            }
        }));
    }

    fn request(&mut self, text: &str, context: &mut Context<Self>) {
        let Ok(request) = serde_json::from_str::<LiveRequest>(text) else {
            return self.close(Closing::BadMessage, "a message is JSON as docs/live.md has it", context);
        };
        match (request, self.admitted.clone()) {
            (LiveRequest::Auth { token }, _) => self.auth(token, context),
            (_, None) => self.close(Closing::Unproven, "the first message proves who you are", context),
            (LiveRequest::Subscribe { topic, after }, Some(admitted)) => {
                self.subscribe(topic, after, &admitted, context);
            }
            (LiveRequest::Unsubscribe { topic }, Some(_)) => {
                self.unsubscribe(topic, context);
            }
        }
    }

    fn unsubscribe(&mut self, topic: String, context: &mut Context<Self>) {
        if let Some((_, watched)) = self.watched.remove(&topic) {
            context.cancel_future(watched);
        }
        self.send(&LiveFrame::Unsubscribed { topic }, context);
    }

    /// Rights change while a socket is open: what its caller may watch no longer ends.
    fn keep_to_rights(&mut self, who: Option<Principal>, context: &mut Context<Self>) {
        let Some((who, admitted)) = who.zip(self.admitted.as_mut()) else { return };
        admitted.principal = who;
        let lost = self.watched.iter().filter(|(_, (topic, _))| may_watch(*topic, &who).is_err());
        for name in lost.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.unsubscribe(name, context);
        }
    }

    fn auth(&self, token: String, context: &mut Context<Self>) {
        let edge = self.edge.clone();
        let proof = async move { edge.gate.admit(&edge, &token).await };
        // Nothing else is taken before it is known who asks.
        context.wait(proof.into_actor(self).map(|proof, socket, context| match proof {
            Ok(admitted) if socket.is_other_person(&admitted) => {
                socket.close(Closing::Unproven, "the token is another person's", context);
            }
            Ok(admitted) => {
                let until = admitted.claims.until().to_string();
                socket.standing = Some(Standing::new(admitted.claims.clone(), &socket.edge));
                socket.admitted = Some(admitted);
                socket.send(&LiveFrame::Authenticated { until }, context);
            }
            Err(problem) if problem.is_unavailable() => {
                socket.send(&LiveFrame::Refused { problem: problem.wire() }, context);
            }
            Err(problem) => {
                record::on_stream(&socket.peer, None, &problem);
                let why = if socket.admitted.is_none() { Closing::Unproven } else { reason_of(&problem) };
                socket.close(why, problem.said(), context);
            }
        }));
    }

    /// A fresh token goes on with what the old one began: same person, same tenant.
    fn is_other_person(&self, admitted: &Admitted) -> bool {
        self.admitted.as_ref().is_some_and(|known| {
            (known.claims.sub, known.claims.tid) != (admitted.claims.sub, admitted.claims.tid)
        })
    }

    fn subscribe(
        &self,
        name: String,
        after: Option<String>,
        admitted: &Admitted,
        context: &mut Context<Self>,
    ) {
        let is_full = self.watched.len() >= TOPICS_MAX && !self.watched.contains_key(&name);
        let topic = if is_full {
            Err(Problem::field("topic", format!("at most {TOPICS_MAX} topics a socket")))
        } else {
            topic(&name, &admitted.principal).inspect_err(|problem| {
                record::on_stream(&self.peer, Some(&admitted.principal), problem);
            })
        };
        let edge = self.edge.clone();
        let beginning = async move {
            let topic = topic?;
            begin(&edge, topic, after.as_deref()).await.map(|position| (topic, position))
        };
        context.wait(beginning.into_actor(self).map(|beginning, socket, context| {
            let frame = match beginning {
                Ok((topic, position)) => {
                    let cursor = cursor_at(&socket.edge, topic, &position);
                    socket.pump(name.clone(), topic, position, context);
                    LiveFrame::Subscribed { topic: name, cursor }
                }
                Err(problem) => LiveFrame::Refused { problem: problem.wire() },
            };
            socket.send(&frame, context);
        }));
    }

    /// Passes a topic's events on, one after the other.
    fn pump(&mut self, name: String, topic: Topic, after: Position, context: &mut Context<Self>) {
        let mut subscription = self.edge.node.watch(topic, Some(after));
        let (me, own) = (context.address(), name.clone());
        let pump = async move {
            while let Some(frame) = subscription.next().await {
                let (taken, is_taken) = oneshot::channel();
                let out = Out { name: own.clone(), topic, frame, taken };
                if me.try_send(out).is_err() || is_taken.await.is_err() {
                    return;
                }
            }
        };
        let pump = context.spawn(pump.into_actor(self));
        if let Some((_, before)) = self.watched.insert(name, (topic, pump)) {
            context.cancel_future(before);
        }
    }

    /// Sends a frame; nothing else happens here until it is sent.
    fn send(&self, frame: &LiveFrame, context: &mut Context<Self>) {
        self.send_then(frame, String::new(), context, || ());
    }

    fn send_then(
        &self,
        frame: &LiveFrame,
        cursor: String,
        context: &mut Context<Self>,
        sent: impl FnOnce() + 'static,
    ) {
        let (Some(mut session), Ok(text)) = (self.session.clone(), serde_json::to_string(frame)) else {
            return;
        };
        let sending = async move { tokio::time::timeout(PATIENCE, session.text(text)).await };
        context.wait(sending.into_actor(self).map(move |outcome, socket, context| match outcome {
            Ok(Ok(())) => sent(),
            Ok(Err(_)) => context.stop(),
            Err(_) => socket.close(Closing::TooSlow, &cursor, context),
        }));
    }

    fn close(&mut self, why: Closing, reason: &str, context: &mut Context<Self>) {
        tracing::debug!(code = why as u16, "closing a live socket");
        self.farewell(CloseCode::Other(why as u16), reason, context);
    }

    /// Says why, for as long as the client may take to hear it, and stops at once.
    fn farewell(&mut self, code: CloseCode, reason: &str, context: &mut Context<Self>) {
        let fits = reason.len() <= REASON_BYTES_MAX;
        let description = fits.then(|| reason.to_owned());
        if let Some(session) = self.session.take() {
            let closing = session.close(Some(CloseReason { code, description }));
            actix::spawn(async move { drop(tokio::time::timeout(FAREWELL, closing).await) });
        }
        context.stop();
    }
}

/// The close code of a token that stands no longer.
fn reason_of(problem: &Problem) -> Closing {
    match problem.code() {
        "tenant/suspended" => Closing::TenantSuspended,
        "session/ended" => Closing::SessionEnded,
        _ => Closing::TokenOver,
    }
}

impl Handler<Out> for Socket {
    type Result = ();

    fn handle(&mut self, out: Out, context: &mut Context<Self>) {
        let Out { name, topic, frame, taken } = out;
        if !self.watched.contains_key(&name) {
            return;
        }
        let (cursor, frame) = match frame {
            Frame::Event(event) => {
                let event = view(&self.edge, topic, &event);
                (event.cursor.clone(), LiveFrame::Event { topic: name, event })
            }
            Frame::Gap { to } => {
                let cursor = cursor_at(&self.edge, topic, &to);
                (cursor, LiveFrame::Gap { topic: name })
            }
        };
        self.send_then(&frame, cursor, context, move || {
            // A subscription that ended meanwhile waits for nothing.
            taken.send(()).unwrap_or_default();
        });
    }
}

impl StreamHandler<Result<AggregatedMessage, ProtocolError>> for Socket {
    fn handle(&mut self, message: Result<AggregatedMessage, ProtocolError>, context: &mut Context<Self>) {
        self.heard_at = self.edge.node.clock().now();
        match message {
            Ok(AggregatedMessage::Text(text)) => self.request(&text, context),
            Ok(AggregatedMessage::Binary(_)) => {
                self.close(Closing::BadMessage, "messages are text", context);
            }
            Ok(AggregatedMessage::Ping(bytes)) => {
                if let Some(mut session) = self.session.clone() {
                    let pong =
                        async move { drop(tokio::time::timeout(PATIENCE, session.pong(&bytes)).await) };
                    context.wait(fut::wrap_future(pong));
                }
            }
            Ok(AggregatedMessage::Pong(_)) => {}
            Ok(AggregatedMessage::Close(_)) => self.farewell(CloseCode::Normal, "", context),
            Err(_) => self.close(Closing::BadMessage, "a message is not what RFC 6455 has", context),
        }
    }
}
