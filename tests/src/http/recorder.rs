//! A backend that keeps every byte that it is sent, takes it apart as strictly as the RFC allows, and answers what it is
//! told to. It is what smuggling is looked for with: what it read must be what the client meant.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::place::Place;

/// A request that it has read.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The connection's number, from 0.
    pub connection: usize,
    /// Which of the connection's requests, from 0.
    pub number: usize,
    /// With its empty line.
    pub head: String,
    /// Taken out of its chunks.
    pub body: Vec<u8>,
}

impl Asked {
    /// `GET /x HTTP/1.1`
    #[must_use]
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// All values of a field, in order.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }
}

/// What it says to a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// These bytes, and the connection stays.
    Keep(Vec<u8>),
    /// These bytes, and the connection is closed.
    Close(Vec<u8>),
    /// Nothing, ever.
    Silence,
}

impl Reply {
    /// 200 with a body.
    #[must_use]
    pub fn ok(body: &str) -> Self {
        Self::Keep(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
    }
}

/// The threads end with the process; the test is one.
#[derive(Debug, Clone)]
pub struct Recorder {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    bytes: Arc<Mutex<Vec<Vec<u8>>>>,
    faults: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicUsize>,
}

impl Recorder {
    /// Answers each request as `reply` says.
    pub fn start(place: &Place, reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Result<Self> {
        let address = place.port(place.server())?;
        let listener = TcpListener::bind(address)?;
        let recorder = Self {
            address,
            asked: Arc::default(),
            bytes: Arc::default(),
            faults: Arc::default(),
            open: Arc::default(),
        };
        let (there, reply) = (recorder.clone(), Arc::new(reply));
        std::thread::spawn(move || {
            for (connection, tcp) in listener.incoming().flatten().enumerate() {
                there
                    .bytes
                    .lock()
                    .expect("no thread panics with it")
                    .push(Vec::new());
                let (there, reply) = (there.clone(), Arc::clone(&reply));
                std::thread::spawn(move || {
                    there.open.fetch_add(1, Ordering::SeqCst);
                    let served = there.serve(connection, tcp, &*reply);
                    there.open.fetch_sub(1, Ordering::SeqCst);
                    if let Err(fault) = served {
                        there
                            .faults
                            .lock()
                            .expect("no thread panics with it")
                            .push(format!("{fault:#}"));
                    }
                });
            }
        });
        Ok(recorder)
    }

    /// Says its name and how many requests it has seen before, on every path.
    pub fn named(place: &Place, name: &'static str) -> Result<Self> {
        Self::start(place, move |_| Reply::ok(name))
    }

    fn serve(&self, connection: usize, mut tcp: TcpStream, reply: &dyn Fn(&Asked) -> Reply) -> Result<()> {
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut pending = Vec::new();
        for number in 0.. {
            let Some((head, body)) = self.read_request(connection, &mut tcp, &mut pending)? else {
                return Ok(());
            };
            let asked = Asked {
                connection,
                number,
                head,
                body,
            };
            self.asked
                .lock()
                .expect("no thread panics with it")
                .push(asked.clone());
            match reply(&asked) {
                Reply::Keep(bytes) => tcp.write_all(&bytes)?,
                Reply::Close(bytes) => {
                    tcp.write_all(&bytes)?;
                    return Ok(());
                }
                Reply::Silence => {
                    while self.more(connection, &mut tcp, &mut pending)? {}
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// False at the end.
    fn more(&self, connection: usize, tcp: &mut TcpStream, pending: &mut Vec<u8>) -> Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let read = tcp.read(&mut buffer).unwrap_or(0);
        pending.extend_from_slice(&buffer[..read]);
        self.bytes.lock().expect("no thread panics with it")[connection].extend_from_slice(&buffer[..read]);
        Ok(read > 0)
    }

    fn read_request(
        &self,
        connection: usize,
        tcp: &mut TcpStream,
        pending: &mut Vec<u8>,
    ) -> Result<Option<(String, Vec<u8>)>> {
        let end = loop {
            if let Some(end) = pending.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if !self.more(connection, tcp, pending)? {
                ensure!(
                    pending.is_empty(),
                    "the connection ended within a head: {:?}",
                    pending.escape_ascii().to_string()
                );
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&pending.drain(..end).collect::<Vec<u8>>()).into_owned();
        let length = body_length(&head)?;
        if head.to_ascii_lowercase().contains("\r\nexpect: 100-continue\r\n") {
            tcp.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut take = |count: usize, pending: &mut Vec<u8>| -> Result<Vec<u8>> {
            while pending.len() < count {
                ensure!(
                    self.more(connection, tcp, pending)?,
                    "the connection ended within a body"
                );
            }
            Ok(pending.drain(..count).collect())
        };
        let Some(length) = length else {
            let mut body = Vec::new();
            loop {
                let mut line = Vec::new();
                while !line.ends_with(b"\r\n") {
                    line.extend(take(1, pending)?);
                }
                let text = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
                let size =
                    usize::from_str_radix(&text, 16).with_context(|| format!("chunk size {text:?}"))?;
                if size == 0 {
                    break;
                }
                body.extend(take(size, pending)?);
                ensure!(take(2, pending)? == b"\r\n", "no CRLF behind a chunk");
            }
            // Trailers, up to the empty line.
            let mut trailers = Vec::new();
            while !trailers.ends_with(b"\r\n") || !(trailers == b"\r\n" || trailers.ends_with(b"\r\n\r\n")) {
                trailers.extend(take(1, pending)?);
            }
            return Ok(Some((head, body)));
        };
        let body = take(length, pending)?;
        Ok(Some((head, body)))
    }

    /// The requests that it has read.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no thread panics with it").clone()
    }

    /// Every byte of each connection.
    #[must_use]
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        self.bytes.lock().expect("no thread panics with it").clone()
    }

    /// All that it was sent, as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes().concat()).into_owned()
    }

    /// What it could not take apart.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().expect("no thread panics with it").clone()
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// None: chunked. What could be read in two ways is a fault.
fn body_length(head: &str) -> Result<Option<usize>> {
    let mut lengths = Vec::new();
    let mut codings = Vec::new();
    ensure!(
        !head
            .trim_end_matches("\r\n")
            .replace("\r\n", "")
            .contains(['\r', '\n']),
        "a bare CR or LF: {head:?}"
    );
    for line in head.trim_end_matches("\r\n").split("\r\n").skip(1) {
        let (name, value) = line
            .split_once(':')
            .with_context(|| format!("no field: {line:?}"))?;
        ensure!(
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)),
            "no name: {line:?}"
        );
        match name.to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(value.trim().to_owned()),
            "transfer-encoding" => codings.push(value.trim().to_ascii_lowercase()),
            _ => {}
        }
    }
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Some(0)),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(length.parse()?)),
        ([], [coding]) if coding == "chunked" => Ok(None),
        _ => bail!("two lengths: {lengths:?} {codings:?}"),
    }
}
