//! Long bursts: nothing is lost, doubled or late, however they end.

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::*;

/// What comes at each place.
const PERIOD: usize = 251;

fn pattern(at: usize) -> u8 {
    (at % PERIOD) as u8
}

/// Reads the pattern, and asserts that it has no gap.
struct Reader {
    stream: OwnedReadHalf,
    at: usize,
}

impl Reader {
    /// So much more, or up to the end.
    async fn read(&mut self, most: usize) -> io::Result<()> {
        let until = self.at + most;
        let mut buffer = vec![0; 64 * 1024];
        while self.at < until {
            let read = self.stream.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            for byte in &buffer[..read] {
                assert_eq!(*byte, pattern(self.at), "at byte {}", self.at);
                self.at += 1;
            }
        }
        Ok(())
    }
}

/// Writes the pattern until nobody takes it any more.
async fn pour(mut stream: OwnedWriteHalf) -> OwnedWriteHalf {
    let bytes: Vec<u8> = (0..512 * PERIOD).map(pattern).collect();
    let mut at = 0;
    while let Ok(written) = stream.write(&bytes[at % PERIOD..]).await {
        at += written;
    }
    stream
}

/// A session in the middle of a burst of its backend.
struct Burst {
    reader: Reader,
    _client: OwnedWriteHalf,
    backend: OwnedReadHalf,
    pouring: tokio::task::JoinHandle<OwnedWriteHalf>,
    wanted: Arc<Wanted>,
    stopped: oneshot::Receiver<(EndReason, u64, u64)>,
}

impl Burst {
    async fn new() -> Self {
        let session = session(b"", b"").await;
        let (stream, client) = session.client.into_split();
        let (backend, backend_write) = session.backend.into_split();
        let mut burst = Self {
            reader: Reader { stream, at: 0 },
            _client: client,
            backend,
            pouring: tokio::spawn(pour(backend_write)),
            wanted: session.wanted,
            stopped: session.stopped,
        };
        burst.read(16 << 20).await;
        burst
    }

    async fn read(&mut self, most: usize) {
        let read = timeout(SOON, self.reader.read(most)).await;
        read.expect("in time").expect("bytes");
    }

    /// The backend says nothing more, and ends.
    async fn backend_ends(&mut self) {
        self.pouring.abort();
        let _ = (&mut self.pouring).await;
    }
}

#[tokio::test]
async fn a_kick_in_a_burst_delivers_what_was_read_without_a_gap() {
    let mut burst = Burst::new().await;
    burst.wanted.set(Wish::Stop(EndReason::Kick));
    burst.read(usize::MAX / 2).await;
    burst.backend_ends().await;
    let (reason, _, to_client) = ended(burst.stopped).await;
    assert_eq!((reason, to_client), (EndReason::Kick, burst.reader.at as u64));
}

#[tokio::test]
async fn a_burst_is_not_quiet_and_what_came_before_its_end_arrives() {
    let mut burst = Burst::new().await;
    burst.wanted.set(quiet(Duration::from_secs(60)));
    let began = Instant::now();
    while began.elapsed() < QUIET * 3 {
        burst.read(1 << 20).await;
    }
    assert!(burst.stopped.try_recv().is_err(), "bytes move: it is not quiet");
    burst.backend_ends().await;
    burst.read(usize::MAX / 2).await;
    let (_, _, to_client) = ended(burst.stopped).await;
    assert_eq!(to_client, burst.reader.at as u64);
}

#[tokio::test]
async fn a_client_that_goes_in_a_burst_ends_the_session_and_its_backend_is_followed() {
    let Burst {
        reader,
        _client,
        mut backend,
        pouring,
        stopped,
        wanted: _wanted,
    } = Burst::new().await;
    // Unread bytes: its close is a reset.
    drop((reader, _client));
    let mut rest = [0; 1];
    let read = timeout(SOON, backend.read(&mut rest)).await.expect("in time");
    assert!(matches!(read, Ok(0)), "half-closed: {read:?}");
    pouring.abort();
    let _ = pouring.await;
    drop(backend);
    assert_eq!(ended(stopped).await.0, EndReason::ClientError);
}
