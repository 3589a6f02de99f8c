//! Connections: how many there may be, and how long each may take.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tracing::debug;

use super::Api;
use super::dispatch::router;

/// Connections at once; more are closed unanswered.
const MOST_CONNECTIONS: usize = 64;
/// How long the header of a request may take to come, from the opening of the connection or the answer before.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what it is sent.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// Bytes that a header may have.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// Bytes that are read and thrown away after the answer to a request that was refused before it was all there.
const MAX_UNREAD_BYTES: u64 = 1 << 20;
/// How long a client may take to close after the answer.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// How long to wait after an error of `accept`, which is as a rule a lack of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The far end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Answers whoever connects.
pub(crate) async fn serve(listener: TcpListener, api: Arc<Api>) -> io::Result<()> {
    let router = router(&api);
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "admin connection not accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            api.refused.busy();
            continue;
        };
        let service = TowerToHyperService::new(router.clone().layer(Extension(Peer(peer))));
        tokio::spawn(async move {
            let mut connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .max_buf_size(MAX_HEADER_BYTES)
                .serve_connection(TokioIo::new(Patient::new(stream)), service);
            if let Err(error) = poll_fn(|context| connection.poll_without_shutdown(context)).await {
                debug!(%peer, %error, "admin connection ended");
            }
            close(connection.into_parts().io.into_inner().stream).await;
            drop(place);
        });
    }
}

/// Closes a connection so that the answer arrives: to close one that has something unread resets it, and
/// the client may lose what it has not read yet (RFC 9112 section 9.6). What still comes is thrown away.
async fn close(mut stream: TcpStream) {
    let all = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MAX_UNREAD_BYTES), &mut tokio::io::sink()).await
    };
    if !matches!(timeout(CLOSE_TIME, all).await, Ok(Ok(_))) {
        debug!("admin connection cut off");
    }
}

/// A connection that ends when the client takes nothing for too long.
struct Patient {
    stream: TcpStream,
    /// Runs while something waits to be written.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream) -> Patient {
        Patient { stream, patience: None }
    }

    /// What a write came to, unless it waits for too long.
    fn within<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE_TIME)));
        ready!(patience.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.within(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.within(context, shut)
    }
}
