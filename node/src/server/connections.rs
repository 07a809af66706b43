//! The connections that a listener lets in: bounded in number, and closed when they stay silent. The listener rests
//! when the system has no more of them.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use quorate_raft::host::{Listening, Served};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// The time within which a connection must begin to speak, or it is closed. From then on the keep-alive of HTTP/2
/// watches it, or the time limit of a scraper.
const SPOKEN_WITHIN: Duration = Duration::from_secs(5);
/// The number of bytes with which a client of HTTP/2 begins.
const PREFACE_BYTES: usize = 24;
/// The time that a listener rests when it cannot accept: no descriptors are left, say.
const REST: Duration = Duration::from_millis(100);
/// The time that a silent connection may take to make room for another.
const ROOM_WITHIN: Duration = Duration::from_secs(1);
/// The interval at which the log repeats that connections are refused, or cannot be accepted.
const LOGGED_EVERY: Duration = Duration::from_secs(60);
/// The lowest bound on the number of connections.
const CONNECTIONS_MIN: u64 = 16;

/// Most connections of clients at once: half of the descriptors that the process may have. The rest is for files.
pub(crate) fn clients_max(descriptors: Option<u64>) -> usize {
    bound(descriptors, 2)
}

/// Most connections of other nodes at once: an eighth of the descriptors.
pub(crate) fn peers_max(descriptors: Option<u64>) -> usize {
    bound(descriptors, 8)
}

/// Most connections of scrapers of metrics at once.
pub(crate) const SCRAPERS_MAX: usize = 16;

fn bound(descriptors: Option<u64>, part: u64) -> usize {
    let bound = descriptors.map_or(u64::MAX, |all| (all / part).max(CONNECTIONS_MIN));
    usize::try_from(bound).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

/// The bytes with which a client begins to speak.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Greeting {
    /// The preface of HTTP/2.
    Preface,
    /// The head of a request of HTTP/1, up to its empty line.
    Head,
}

/// Returns the connections of a listener, at most `max` at once, each of which begins with the `greeting`.
///
/// While there are `max`, a new one takes the place of the one that has been silent longest. If none is silent, the new
/// one is closed: its client knows the other nodes, and would learn nothing by waiting here.
pub(crate) fn bounded<C>(
    whom: &'static str,
    listening: Listening<C>,
    max: usize,
    greeting: Greeting,
) -> impl Stream<Item = io::Result<Connection<C>>>
where
    C: Send + 'static,
{
    let places = Arc::new(Semaphore::new(max));
    let incoming = listening.incoming;
    let door =
        Door { whom, incoming, places, max, greeting, silent: VecDeque::new(), logged_at: None };
    stream::unfold(door, |mut door| async move { Some((Ok(door.next().await?), door)) })
}

struct Door<C> {
    whom: &'static str,
    incoming: BoxStream<'static, io::Result<Served<C>>>,
    places: Arc<Semaphore>,
    max: usize,
    greeting: Greeting,
    /// The connections that were silent when last checked, oldest first; the token of one that spoke is cancelled.
    silent: VecDeque<CancellationToken>,
    logged_at: Option<Instant>,
}

impl<C> Door<C> {
    async fn next(&mut self) -> Option<Connection<C>> {
        loop {
            let connection = match self.incoming.next().await? {
                Ok(connection) => connection,
                Err(error) => {
                    self.rest(&error).await;
                    continue;
                }
            };
            let Some(place) = self.place().await else {
                let Door { whom, max, .. } = *self;
                self.log(|| {
                    tracing::warn!(whom, max, "no more connections are let in: more are closed");
                });
                continue;
            };
            while self.silent.front().is_some_and(CancellationToken::is_cancelled) {
                self.silent.pop_front();
            }
            let over = CancellationToken::new();
            self.silent.push_back(over.clone());
            let silence = Some(Silence::new(self.greeting, over));
            return Some(Connection { connection, silence, _place: place });
        }
    }

    /// Rests after a failed accept: trying again at once would only take the processor as well.
    async fn rest(&mut self, error: &io::Error) {
        // A connection that broke before it was accepted means nothing for the next one.
        let broke = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
        if broke.contains(&error.kind()) {
            return;
        }
        let whom = self.whom;
        self.log(|| tracing::warn!(whom, "connections cannot be accepted: {error}"));
        sleep(REST).await;
    }

    async fn place(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Some(place);
        }
        while let Some(silent) = self.silent.pop_front() {
            if !silent.is_cancelled() {
                silent.cancel();
                let place = timeout(ROOM_WITHIN, self.places.clone().acquire_owned()).await;
                return place.ok()?.ok();
            }
        }
        None
    }

    fn log(&mut self, log: impl FnOnce()) {
        if self.logged_at.is_none_or(|at| at.elapsed() >= LOGGED_EVERY) {
            self.logged_at = Some(Instant::now());
            log();
        }
    }
}

/// A connection that was let in.
pub(crate) struct Connection<C> {
    connection: Served<C>,
    /// Present until the connection begins to speak.
    silence: Option<Silence>,
    _place: OwnedSemaphorePermit,
}

struct Silence {
    greeting: Greeting,
    received: usize,
    /// The bytes of the line that is being read.
    line: usize,
    until: Pin<Box<Sleep>>,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Cancels the token that the door keeps, when the silence is broken.
    _broken: DropGuard,
}

impl Silence {
    fn new(greeting: Greeting, over: CancellationToken) -> Silence {
        Silence {
            greeting,
            received: 0,
            line: 0,
            until: Box::pin(sleep(SPOKEN_WITHIN)),
            over: Box::pin(over.clone().cancelled_owned()),
            _broken: over.drop_guard(),
        }
    }

    /// Returns true if these bytes complete the greeting.
    fn receive(&mut self, bytes: &[u8]) -> bool {
        match self.greeting {
            Greeting::Preface => {
                self.received += bytes.len();
                self.received >= PREFACE_BYTES
            }
            Greeting::Head => bytes.iter().any(|byte| self.ends_head(*byte)),
        }
    }

    /// Returns true if a byte ends the head of a request; empty lines before the request do not.
    fn ends_head(&mut self, byte: u8) -> bool {
        match byte {
            b'\r' => false,
            b'\n' => std::mem::take(&mut self.line) == 0 && self.received > 0,
            _ => {
                self.received += 1;
                self.line += 1;
                false
            }
        }
    }

    /// Returns true if the silence has lasted too long, or its place is needed for another connection.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.over.as_mut().poll(context).is_ready() || self.until.as_mut().poll(context).is_ready()
    }
}

impl<C> Connected for Connection<C> {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl<C: AsyncRead + Unpin> AsyncRead for Connection<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(silence) = &mut this.silence else {
            return Pin::new(&mut this.connection).poll_read(context, buffer);
        };
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.connection).poll_read(context, buffer);
        if silence.receive(&buffer.filled()[before..]) {
            this.silence = None;
        } else if read.is_pending() && silence.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Connection<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const PREFACE: &[u8; PREFACE_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    type Incoming = io::Result<Served<DuplexStream>>;

    fn listening(
        incoming: impl Stream<Item = Incoming> + Send + 'static,
    ) -> Listening<DuplexStream> {
        Listening { address: String::new(), incoming: incoming.boxed() }
    }

    fn pair() -> (DuplexStream, Incoming) {
        let (client, server) = duplex(1024);
        (client, Ok(Served(server)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_rests_while_there_are_no_descriptors() {
        let (_client, connection) = pair();
        let refused = (0..10).map(|_| Err(io::Error::from_raw_os_error(24)));
        let incoming = stream::iter(refused.chain([connection]));
        let began_at = Instant::now();
        let mut connections = Box::pin(bounded("tests", listening(incoming), 1, Greeting::Preface));
        assert!(connections.next().await.is_some_and(|connection| connection.is_ok()));
        assert_eq!(began_at.elapsed(), 10 * REST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_begin_to_speak_is_ended_and_one_that_did_may_rest() {
        let (mut silent, first) = pair();
        let (mut spoken, second) = pair();
        silent.write_all(&PREFACE[..PREFACE_BYTES - 1]).await.expect("sent");
        spoken.write_all(PREFACE).await.expect("sent");
        let mut connections = Box::pin(bounded(
            "tests",
            listening(stream::iter([first, second])),
            2,
            Greeting::Preface,
        ));
        let mut silent = connections.next().await.expect("there").expect("whole");
        let mut spoken = connections.next().await.expect("there").expect("whole");
        let mut bytes = Vec::new();
        let began_at = Instant::now();
        let ended = silent.read_to_end(&mut bytes).await.expect_err("it is ended");
        assert_eq!((ended.kind(), began_at.elapsed()), (io::ErrorKind::TimedOut, SPOKEN_WITHIN));
        let rests = timeout(100 * SPOKEN_WITHIN, spoken.read_to_end(&mut bytes)).await;
        assert!(rests.is_err(), "{rests:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_more_than_may_be_takes_the_place_of_the_silent_and_not_of_those_that_speak() {
        let (mut clients, incoming): (Vec<_>, Vec<_>) = (0..4).map(|_| pair()).unzip();
        clients[0].write_all(PREFACE).await.expect("sent");
        clients[2].write_all(PREFACE).await.expect("sent");
        let incoming = stream::iter(incoming).chain(stream::pending());
        let mut connections = Box::pin(bounded("tests", listening(incoming), 2, Greeting::Preface));
        let mut next = async || connections.next().await.expect("there").expect("whole");
        let (mut speaks, mut silent) = (next().await, next().await);
        speaks.read_exact(&mut [0; PREFACE_BYTES]).await.expect("the preface");
        let ended = tokio::spawn(async move { silent.read_u8().await.map_err(|e| e.kind()) });
        let began_at = Instant::now();
        let mut third = next().await;
        assert_eq!(began_at.elapsed(), Duration::ZERO, "it need not wait");
        assert_eq!(ended.await.expect("it ends"), Err(io::ErrorKind::TimedOut));
        third.read_exact(&mut [0; PREFACE_BYTES]).await.expect("the preface");
        assert!(timeout(SPOKEN_WITHIN, next()).await.is_err(), "there are two that speak");
        assert_eq!(clients[3].read(&mut [0]).await.expect("closed"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_speaks_when_its_head_is_whole_and_is_ended_when_it_stays_half() {
        let (mut half, first) = pair();
        let (mut whole, second) = pair();
        half.write_all(b"\r\n\r\nGET /metrics HTTP/1.1\r\nHost: a\r\n").await.expect("sent");
        whole.write_all(b"GET / HTTP/1.0\n\n").await.expect("sent");
        let incoming = listening(stream::iter([first, second]));
        let mut connections = Box::pin(bounded("tests", incoming, 2, Greeting::Head));
        let mut half = connections.next().await.expect("there").expect("whole");
        let mut whole = connections.next().await.expect("there").expect("whole");
        let mut bytes = Vec::new();
        let began_at = Instant::now();
        let ended = half.read_to_end(&mut bytes).await.expect_err("it is ended");
        assert_eq!((ended.kind(), began_at.elapsed()), (io::ErrorKind::TimedOut, SPOKEN_WITHIN));
        let waits = timeout(100 * SPOKEN_WITHIN, whole.read_to_end(&mut bytes)).await;
        assert!(waits.is_err(), "{waits:?}");
    }

    #[test]
    fn descriptors_are_left_for_files_and_peers() {
        for (descriptors, clients, peers) in [(0, 16, 16), (256, 128, 32), (1024, 512, 128)] {
            assert_eq!(clients_max(Some(descriptors)), clients);
            assert_eq!(peers_max(Some(descriptors)), peers);
        }
        assert_eq!(clients_max(None), Semaphore::MAX_PERMITS);
    }
}
