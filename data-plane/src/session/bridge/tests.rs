//! The bridge over real sockets: what arrives is what was sent, and it ends when and how it should.

mod burst;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// What a test wants of its bridge, and the bridge's task to wake.
struct Wanted(Mutex<(Option<Wish>, Option<Waker>)>, AtomicBool);

impl Default for Wanted {
    fn default() -> Self {
        Self(Mutex::default(), AtomicBool::new(true))
    }
}

impl Wanted {
    fn set(&self, wish: Wish) {
        let waker = {
            let mut inner = self.0.lock();
            inner.0 = Some(wish);
            inner.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Owned {
    wanted: Arc<Wanted>,
    stopped: oneshot::Sender<(EndReason, u64, u64)>,
}

impl Overseer for Owned {
    fn wish(&self, cx: &Context<'_>) -> Wish {
        let mut inner = self.wanted.0.lock();
        inner.1 = Some(cx.waker().clone());
        inner.0.unwrap_or(Wish::Move)
    }

    fn may_move(&self) -> bool {
        self.wanted.1.load(Ordering::Acquire)
    }

    fn moved(&self, _: Instant) {}
}

impl Owner for Owned {
    fn end(self, stopped: Stopped) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let said = (stopped.reason, stopped.to_backend, stopped.to_client);
        let (client, backend) = stopped.into_ends();
        Box::pin(async move {
            tokio::join!(client, backend);
            let _ = self.stopped.send(said);
        })
    }
}

/// A bridged session, seen from both its ends.
struct Session {
    client: TcpStream,
    backend: TcpStream,
    wanted: Arc<Wanted>,
    stopped: oneshot::Receiver<(EndReason, u64, u64)>,
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("its address");
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    (ours.expect("a connection"), theirs.expect("a connection").0)
}

async fn session(first_to_backend: &[u8], first_to_client: &[u8]) -> Session {
    let (client, client_leg) = pair().await;
    let (backend_leg, backend) = pair().await;
    let legs = Legs {
        client: Stream::plain(client_leg),
        backend: Stream::plain(backend_leg),
        first_to_backend: first_to_backend.to_vec(),
        first_to_client: first_to_client.to_vec(),
        round_trip: Duration::from_millis(1),
    };
    let (wanted, stopped) = bridge(legs);
    Session {
        client,
        backend,
        wanted,
        stopped,
    }
}

fn bridge(legs: Legs) -> (Arc<Wanted>, oneshot::Receiver<(EndReason, u64, u64)>) {
    SockRef::from(legs.backend.tcp())
        .set_linger(Some(Duration::ZERO))
        .expect("linger");
    let wanted = Arc::<Wanted>::default();
    let (sender, stopped) = oneshot::channel();
    let owned = Owned {
        wanted: Arc::clone(&wanted),
        stopped: sender,
    };
    tokio::spawn(Task::new(legs, owned));
    (wanted, stopped)
}

async fn expect(stream: &mut TcpStream, text: &[u8]) {
    let mut read = vec![0; text.len()];
    timeout(SOON, stream.read_exact(&mut read))
        .await
        .expect("in time")
        .expect("bytes");
    assert_eq!(read, text, "{}", read.escape_ascii());
}

async fn expect_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    timeout(SOON, stream.read_to_end(&mut rest))
        .await
        .expect("in time")
        .expect("an end");
    assert_eq!(rest, b"", "{}", rest.escape_ascii());
}

async fn ended(stopped: oneshot::Receiver<(EndReason, u64, u64)>) -> (EndReason, u64, u64) {
    timeout(SOON, stopped).await.expect("in time").expect("a report")
}

/// True when nothing ended within a time that is long for the machine and short for the test.
async fn goes_on(session: &mut Session, time: Duration) -> bool {
    timeout(time, &mut session.stopped).await.is_err()
}

fn quiet(until: Duration) -> Wish {
    Wish::Quiet {
        until: Instant::now() + until,
        reason: EndReason::Hold,
    }
}

#[tokio::test]
async fn what_came_behind_the_login_goes_first_and_once_in_both_directions() {
    let mut session = session(b"a2 SELECT INBOX\r\n", b"a1 OK in\r\n* 1 EXISTS\r\n").await;
    session.client.write_all(b"a3 NOOP\r\n").await.expect("written");
    session.backend.write_all(b"a2 OK\r\n").await.expect("written");
    expect(&mut session.backend, b"a2 SELECT INBOX\r\na3 NOOP\r\n").await;
    expect(&mut session.client, b"a1 OK in\r\n* 1 EXISTS\r\na2 OK\r\n").await;
    session.client.shutdown().await.expect("closed");
    expect_end(&mut session.backend).await;
    session.backend.shutdown().await.expect("closed");
    expect_end(&mut session.client).await;
    assert_eq!(ended(session.stopped).await, (EndReason::Eof, 26, 29));
}

#[tokio::test]
async fn each_side_may_go_on_after_the_other_has_ended() {
    let mut one = session(b"", b"").await;
    one.client.write_all(b"last command").await.expect("written");
    one.client.shutdown().await.expect("closed");
    expect(&mut one.backend, b"last command").await;
    expect_end(&mut one.backend).await;
    one.backend.write_all(b"a long answer").await.expect("written");
    one.backend.shutdown().await.expect("closed");
    expect(&mut one.client, b"a long answer").await;
    expect_end(&mut one.client).await;
    assert_eq!(ended(one.stopped).await, (EndReason::Eof, 12, 13));

    let mut other = session(b"", b"").await;
    other.backend.write_all(b"* BYE").await.expect("written");
    other.backend.shutdown().await.expect("closed");
    expect(&mut other.client, b"* BYE").await;
    expect_end(&mut other.client).await;
    other.client.write_all(b"too late").await.expect("written");
    other.client.shutdown().await.expect("closed");
    expect(&mut other.backend, b"too late").await;
    expect_end(&mut other.backend).await;
    assert_eq!(ended(other.stopped).await, (EndReason::Eof, 8, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_mebibytes_both_ways_at_once_arrive_as_they_were_sent() {
    const TOTAL: usize = 100 << 20;
    const PERIOD: usize = 65_521;
    fn pattern(salt: u8) -> Vec<u8> {
        (0..PERIOD).map(|at| (at % 251) as u8 ^ salt).collect()
    }
    async fn send(mut stream: tokio::net::tcp::OwnedWriteHalf, salt: u8) -> io::Result<()> {
        let pattern = pattern(salt);
        let mut left = TOTAL;
        while left > 0 {
            let chunk = left.min(PERIOD);
            stream.write_all(&pattern[..chunk]).await?;
            left -= chunk;
        }
        stream.shutdown().await
    }
    async fn receive(mut stream: tokio::net::tcp::OwnedReadHalf, salt: u8) -> io::Result<usize> {
        let pattern = pattern(salt);
        let mut buffer = vec![0; PERIOD];
        let mut at = 0;
        loop {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                return Ok(at);
            }
            let mut seen = 0;
            while seen < read {
                let phase = (at + seen) % PERIOD;
                let run = (PERIOD - phase).min(read - seen);
                assert_eq!(
                    buffer[seen..seen + run],
                    pattern[phase..phase + run],
                    "at byte {}",
                    at + seen
                );
                seen += run;
            }
            at += read;
        }
    }
    let session = session(b"", b"").await;
    let (client_read, client_write) = session.client.into_split();
    let (backend_read, backend_write) = session.backend.into_split();
    let moved = tokio::try_join!(
        send(client_write, 0x5a),
        send(backend_write, 0xa5),
        receive(client_read, 0xa5),
        receive(backend_read, 0x5a),
    );
    let ((), (), to_client, to_backend) = moved.expect("both directions");
    assert_eq!((to_client, to_backend), (TOTAL, TOTAL));
    assert_eq!(
        ended(session.stopped).await,
        (EndReason::Eof, TOTAL as u64, TOTAL as u64)
    );
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_writer_and_loses_nothing() {
    let mut session = session(b"", b"").await;
    let chunk = [7u8; 64 * 1024];
    let mut sent = 0;
    // What the sockets' buffers take, and what the bridge holds, and not a byte more.
    while let Ok(written) = timeout(Duration::from_millis(300), session.backend.write(&chunk)).await {
        sent += written.expect("written");
        assert!(sent < 64 << 20, "nothing stops the writer");
    }
    session.backend.shutdown().await.expect("closed");
    let mut received = Vec::new();
    timeout(SOON, session.client.read_to_end(&mut received))
        .await
        .expect("in time")
        .expect("bytes");
    assert_eq!(received.len(), sent);
}

#[tokio::test]
async fn the_last_bytes_reach_a_backend_that_closed_its_own_half_first_and_reads_late() {
    let mut session = session(b"", b"").await;
    session.backend.shutdown().await.expect("closed");
    expect_end(&mut session.client).await;
    // More than the sockets' buffers on the way take at once, and less than all of them together.
    let bytes = vec![9u8; 1 << 20];
    timeout(SOON, session.client.write_all(&bytes))
        .await
        .expect("in time")
        .expect("written");
    session.client.shutdown().await.expect("closed");
    assert_eq!(ended(session.stopped).await.0, EndReason::Eof);
    let mut received = Vec::new();
    timeout(SOON, session.backend.read_to_end(&mut received))
        .await
        .expect("in time")
        .expect("bytes");
    assert_eq!(received.len(), bytes.len());
}

#[tokio::test]
async fn a_session_that_has_been_idle_is_quiet_at_once() {
    let mut session = session(b"", b"a1 OK\r\n").await;
    expect(&mut session.client, b"a1 OK\r\n").await;
    assert!(goes_on(&mut session, QUIET + Duration::from_millis(50)).await);
    let asked = Instant::now();
    session.wanted.set(quiet(Duration::from_secs(60)));
    expect_end(&mut session.backend).await;
    assert!(asked.elapsed() < QUIET, "{:?}", asked.elapsed());
    drop(session.backend);
    expect_end(&mut session.client).await;
    drop(session.client);
    assert_eq!(ended(session.stopped).await.0, EndReason::Hold);
}

#[tokio::test]
async fn silence_behind_a_clients_bytes_is_not_quiet_until_the_backend_has_answered() {
    let mut session = session(b"", b"").await;
    session
        .client
        .write_all(b"APPEND INBOX {5+}")
        .await
        .expect("written");
    expect(&mut session.backend, b"APPEND INBOX {5+}").await;
    session.wanted.set(quiet(Duration::from_secs(60)));
    assert!(
        goes_on(&mut session, QUIET * 4).await,
        "the backend may be working on it"
    );
    session.backend.write_all(b"OK").await.expect("written");
    let answered = Instant::now();
    expect(&mut session.client, b"OK").await;
    expect_end(&mut session.backend).await;
    assert!(answered.elapsed() >= QUIET, "{:?}", answered.elapsed());
}

#[tokio::test]
async fn a_drain_ends_a_busy_session_at_its_deadline_anyway() {
    let mut session = session(b"", b"").await;
    session.client.write_all(b"x").await.expect("written");
    expect(&mut session.backend, b"x").await;
    session.wanted.set(quiet(Duration::from_millis(500)));
    expect_end(&mut session.backend).await;
}

#[tokio::test]
async fn a_drain_that_is_taken_back_ends_nothing() {
    let mut session = session(b"", b"").await;
    session.client.write_all(b"x").await.expect("written");
    expect(&mut session.backend, b"x").await;
    session.wanted.set(quiet(Duration::from_millis(500)));
    session.wanted.set(Wish::Move);
    assert!(goes_on(&mut session, Duration::from_millis(800)).await);
    session.backend.write_all(b"y").await.expect("written");
    expect(&mut session.client, b"y").await;
}

#[tokio::test]
async fn a_leg_is_over_only_when_the_backend_has_ended_it() {
    let mut session = session(b"", b"").await;
    session.wanted.set(Wish::Stop(EndReason::Kick));
    expect_end(&mut session.backend).await;
    expect_end(&mut session.client).await;
    session.client.shutdown().await.expect("closed");
    session
        .backend
        .write_all(b"still here")
        .await
        .expect("our half is still read");
    assert!(goes_on(&mut session, Duration::from_millis(500)).await);
    drop(session.backend);
    assert_eq!(ended(session.stopped).await.0, EndReason::Kick);
}

#[tokio::test]
async fn a_record_of_the_backends_that_cannot_be_read_ends_the_session_and_is_not_the_backends_end() {
    let (mut client, client_leg) = pair().await;
    let (backend_leg, backend) = crate::tls::tests::encrypted().await;
    let (_wanted, mut stopped) = bridge(Legs {
        client: Stream::plain(client_leg),
        backend: backend_leg,
        first_to_backend: Vec::new(),
        first_to_client: Vec::new(),
        round_trip: Duration::from_millis(1),
    });
    let garbage = b"\x17\x03\x03\x00\x20no server has encrypted these 32";
    assert_eq!(backend.tcp().try_write(garbage).expect("written"), garbage.len());
    expect_end(&mut client).await;
    client.shutdown().await.expect("closed");
    let early = timeout(Duration::from_millis(500), &mut stopped).await;
    assert!(early.is_err(), "the backend has not ended it: {early:?}");
    drop(backend);
    assert_eq!(ended(stopped).await.0, EndReason::BackendError);
}

#[tokio::test]
async fn not_one_more_chunk_moves_once_the_lease_is_over_whoever_was_told() {
    let mut session = session(b"", b"").await;
    session.client.write_all(b"before").await.expect("written");
    expect(&mut session.backend, b"before").await;
    // The clock says so; the thread that rings has not rung, and nobody was given an order.
    session.wanted.1.store(false, Ordering::Release);
    session.client.write_all(b"behind").await.expect("written");
    let error = timeout(SOON, session.backend.read_u8()).await.expect("in time");
    assert_eq!(error.expect_err("a reset").kind(), io::ErrorKind::ConnectionReset);
    let (reason, to_backend, _) = session.stopped.await.expect("it ended");
    assert_eq!((reason, to_backend), (EndReason::Reset, 6));
}

#[tokio::test]
async fn a_reset_reaches_the_backend_as_one() {
    let mut session = session(b"", b"").await;
    session.wanted.set(Wish::Reset(EndReason::Hold));
    let error = timeout(SOON, session.backend.read(&mut [0]))
        .await
        .expect("in time")
        .expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    expect_end(&mut session.client).await;
}

#[tokio::test]
async fn when_the_client_is_gone_the_backend_is_still_followed_to_its_end() {
    let mut session = session(b"", b"").await;
    SockRef::from(&session.client)
        .set_linger(Some(Duration::ZERO))
        .expect("linger");
    drop(session.client);
    expect_end(&mut session.backend).await;
    drop(session.backend);
    let (reason, ..) = timeout(SOON, &mut session.stopped)
        .await
        .expect("in time")
        .expect("a report");
    assert_eq!(reason, EndReason::ClientError);
}

#[tokio::test]
async fn last_words_reach_a_client_that_has_sent_more() {
    let (mut client, leg) = pair().await;
    client.write_all(&[b'x'; 100_000]).await.expect("written");
    let mut leg = Stream::plain(leg);
    leg.write_all(b"a1 NO [UNAVAILABLE] backend unavailable\r\n")
        .await
        .expect("written");
    let ending = tokio::spawn(ending::end_client(leg));
    expect(&mut client, b"a1 NO [UNAVAILABLE] backend unavailable\r\n").await;
    expect_end(&mut client).await;
    drop(client);
    timeout(SOON, ending).await.expect("in time").expect("no panic");
}

#[tokio::test]
async fn an_idle_bridge_holds_no_buffer_and_no_timer() {
    let (mut client, client_leg) = pair().await;
    let (backend_leg, mut backend) = pair().await;
    let legs = Legs {
        client: Stream::plain(client_leg),
        backend: Stream::plain(backend_leg),
        first_to_backend: Vec::new(),
        first_to_client: b"a1 OK\r\n".to_vec(),
        round_trip: Duration::ZERO,
    };
    let (stopped, _receiver) = oneshot::channel();
    let mut task = Task::new(
        legs,
        Owned {
            wanted: Arc::default(),
            stopped,
        },
    );
    client.write_all(b"a2 NOOP\r\n").await.expect("written");
    let moving = async { std::future::poll_fn(|cx| Pin::new(&mut task).poll(cx)).await };
    let talk = async {
        expect(&mut backend, b"a2 NOOP\r\n").await;
        expect(&mut client, b"a1 OK\r\n").await;
    };
    tokio::select! {
        () = moving => panic!("the bridge ended"),
        () = talk => {}
    }
    // Once more, now that nothing moves.
    assert!(futures::poll!(std::future::poll_fn(|cx| Pin::new(&mut task).poll(cx))).is_pending());
    let Stage::Moving(bridge) = &task.0 else {
        panic!("the bridge ended");
    };
    assert!(!bridge.to_backend.holds_buffer() && !bridge.to_client.holds_buffer());
    assert!(bridge.timer.is_none());
}
