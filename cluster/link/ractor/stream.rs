//! Streams that can be cut from outside: `ractor_cluster` has no way to hang up on a peer that says nothing.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf, split};

/// What can be handed over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// The way to cut a stream; clones cut the same.
#[derive(Clone, Default)]
pub(super) struct Cut(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_cut: AtomicBool,
    /// The other end, or whoever had the stream, is gone.
    is_over: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Cut {
    /// From now on it looks as if the other end had closed it.
    pub(super) fn cut(&self) {
        self.0.is_cut.store(true, Ordering::Release);
        self.0.reader.wake();
        self.0.writer.wake();
    }

    /// Whether nobody reads it any more.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Acquire)
    }

    /// Whether the two cut the same stream.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn is_cut(&self) -> bool {
        self.0.is_cut.load(Ordering::Acquire)
    }
}

/// A stream that can be cut, and the way to do it.
pub(super) fn cuttable<S: Stream>(stream: S, label: String) -> (Box<dyn ClusterBidiStream>, Cut) {
    let cut = Cut::default();
    (Box::new(Cuttable { stream, label, cut: cut.clone() }), cut)
}

struct Cuttable<S> {
    stream: S,
    label: String,
    cut: Cut,
}

impl<S: Stream> ClusterBidiStream for Cuttable<S> {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (reader, writer) = split(self.stream);
        let (one, two) = (self.cut.clone(), self.cut);
        (Box::new(Reading { reader, cut: one }), Box::new(Writing { writer, cut: two }))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }
}

struct Reading<S> {
    reader: ReadHalf<S>,
    cut: Cut,
}

impl<S> Drop for Reading<S> {
    fn drop(&mut self) {
        self.cut.0.is_over.store(true, Ordering::Release);
    }
}

impl<S: Stream> AsyncRead for Reading<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.cut.0.reader.register(context.waker());
        if self.cut.is_cut() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.reader).poll_read(context, into)
    }
}

struct Writing<S> {
    writer: WriteHalf<S>,
    cut: Cut,
}

impl<S: Stream> Writing<S> {
    /// Does something with the stream, unless it is cut.
    fn unless_cut<T>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut WriteHalf<S>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.cut.0.writer.register(context.waker());
        if self.cut.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        write(Pin::new(&mut self.writer), context)
    }
}

impl<S: Stream> AsyncWrite for Writing<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.unless_cut(context, |writer, context| writer.poll_write(context, from))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_cut(context, |writer, context| writer.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unless_cut(context, |writer, context| writer.poll_shutdown(context))
    }
}
