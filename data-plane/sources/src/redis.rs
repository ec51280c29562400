//! Redis: `GET`, `SET` and `DEL` of prefix and identifier (behaviour 10).
//!
//! `pool_size` connections, taken in turn, each made when it is needed first and again when it is lost. A command whose
//! answer does not come takes its connection with it: a server that froze or vanished leaves nothing behind that
//! the next lookup would have to wait for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mailswitch_config::DestinationName;
use mailswitch_config::table::mapping::Redis as Settings;
use mailswitch_proto::identifier::Identifier;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError};
use tokio::time::timeout;

use crate::store::{Existed, StoreError};

#[derive(Debug)]
pub(crate) struct Redis {
    client: Client,
    key_prefix: String,
    slots: Box<[Slot]>,
    next: AtomicUsize,
}

/// Where one connection of the pool stands.
#[derive(Default)]
struct Slot {
    held: Mutex<Held>,
    /// One connects; the others wait for that.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    connection: Option<MultiplexedConnection>,
    /// Counts the connections of this slot.
    number: u64,
}

impl Redis {
    /// Connects, and reads what nobody is mapped by: that the server is there, lets us in and lets us read.
    pub(crate) async fn open(settings: &Settings, within: Duration) -> Result<Self, StoreError> {
        // What is wrong with an address is not shown: it may be its password.
        let client = Client::open(settings.url.expose())
            .map_err(|_| StoreError::Unreachable(format!("the url cannot be used: {}", settings.url)))?;
        let redis = Self {
            client,
            key_prefix: settings.key_prefix.clone(),
            slots: (0..settings.pool_size.max(1)).map(|_| Slot::default()).collect(),
            next: AtomicUsize::new(0),
        };
        let probe = redis::cmd("GET").arg(&redis.key_prefix).take();
        let _: Option<Vec<u8>> = redis.ask(&probe, &redis.key_prefix, within).await?;
        Ok(redis)
    }

    pub(crate) async fn get(
        &self,
        identifier: &Identifier,
        within: Duration,
    ) -> Result<Option<DestinationName>, StoreError> {
        let get = redis::cmd("GET").arg(self.key(identifier)).take();
        let value: Option<Vec<u8>> = self.ask(&get, identifier.as_str(), within).await?;
        let Some(value) = value else { return Ok(None) };
        match String::from_utf8(value) {
            Ok(name) => Ok(Some(name.into())),
            Err(_) => Err(StoreError::Answer("the value is not UTF-8".to_owned())),
        }
    }

    pub(crate) async fn put(
        &self,
        identifier: &Identifier,
        destination: &DestinationName,
        within: Duration,
    ) -> Result<(), StoreError> {
        let set = redis::cmd("SET")
            .arg(self.key(identifier))
            .arg(destination.as_str())
            .take();
        self.ask(&set, identifier.as_str(), within).await
    }

    pub(crate) async fn delete(
        &self,
        identifier: &Identifier,
        within: Duration,
    ) -> Result<Existed, StoreError> {
        let del = redis::cmd("DEL").arg(self.key(identifier)).take();
        let removed: u64 = self.ask(&del, identifier.as_str(), within).await?;
        Ok(if removed > 0 { Existed::Yes } else { Existed::No })
    }

    /// Some more of the keys that have our prefix, without it, and where to go on (0: these were the last). A key may
    /// come twice.
    pub(crate) async fn scan(
        &self,
        cursor: u64,
        within: Duration,
    ) -> Result<(u64, Vec<Vec<u8>>), StoreError> {
        let scan = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("{}*", literally(&self.key_prefix)))
            .arg("COUNT")
            .arg(1000)
            .take();
        let (next, keys): (u64, Vec<Vec<u8>>) = self.ask(&scan, "", within).await?;
        let prefix = self.key_prefix.as_bytes();
        let ours = keys
            .iter()
            .filter_map(|key| key.strip_prefix(prefix))
            .map(<[u8]>::to_vec);
        Ok((next, ours.collect()))
    }

    /// What stands at this key.
    pub(crate) async fn value(&self, key: &str, within: Duration) -> Result<Option<Vec<u8>>, StoreError> {
        let get = redis::cmd("GET").arg(format!("{}{key}", self.key_prefix)).take();
        self.ask(&get, key, within).await
    }

    fn key(&self, identifier: &Identifier) -> String {
        format!("{}{}", self.key_prefix, identifier.as_str())
    }

    /// `about`: what an error must not show.
    async fn ask<T: FromRedisValue>(
        &self,
        command: &Cmd,
        about: &str,
        within: Duration,
    ) -> Result<T, StoreError> {
        match timeout(within, self.try_twice(command)).await {
            Ok(answer) => answer.map_err(|error| explain(&error, about)),
            Err(_) => Err(StoreError::TimedOut(within)),
        }
    }

    /// A connection that was lost while nobody used it is noticed by the first command: that one is sent again. All
    /// our commands may be executed twice.
    async fn try_twice<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let slot = &self.slots[self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len()];
        match slot.query(&self.client, command).await {
            Err(error) if is_of_the_connection(&error) => slot.query(&self.client, command).await,
            answered => answered,
        }
    }
}

/// As a pattern of SCAN that means nothing but itself.
fn literally(text: &str) -> String {
    text.chars().fold(String::new(), |mut pattern, char| {
        if matches!(char, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(char);
        pattern
    })
}

impl Slot {
    async fn query<T: FromRedisValue>(&self, client: &Client, command: &Cmd) -> Result<T, RedisError> {
        let (mut connection, number) = self.connection(client).await?;
        let mut use_of = Use {
            slot: self,
            number,
            answered: false,
        };
        let answer = command.query_async(&mut connection).await;
        use_of.answered = !matches!(&answer, Err(error) if is_of_the_connection(error));
        answer
    }

    async fn connection(&self, client: &Client) -> Result<(MultiplexedConnection, u64), RedisError> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(known) = self.known() {
            return Ok(known);
        }
        // Bounded by the lookup.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let mut held = self.held.lock();
        held.number += 1;
        held.connection = Some(connection.clone());
        Ok((connection, held.number))
    }

    fn known(&self) -> Option<(MultiplexedConnection, u64)> {
        let held = self.held.lock();
        held.connection
            .clone()
            .map(|connection| (connection, held.number))
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot")
    }
}

/// A command under way. Dropped without an answer, its connection is not used again.
struct Use<'a> {
    slot: &'a Slot,
    number: u64,
    answered: bool,
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        let mut held = self.slot.held.lock();
        if !self.answered && held.number == self.number {
            held.connection = None;
        }
    }
}

/// The server has not answered: it is gone, or the connection is.
fn is_of_the_connection(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
}

fn explain(error: &RedisError, about: &str) -> StoreError {
    let said = match about {
        "" => error.to_string(),
        about => error.to_string().replace(about, "…"),
    };
    // Its connection is lost by that, too.
    if error.kind() == ErrorKind::AuthenticationFailed {
        return StoreError::Refused(said);
    }
    if is_of_the_connection(error) {
        return StoreError::Unreachable(said);
    }
    match error.code() {
        Some("WRONGTYPE") => StoreError::Answer("the key holds something else than a string".to_owned()),
        _ => StoreError::Refused(said),
    }
}
