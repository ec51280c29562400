//! Everything that Redis or a database knows, for `mailswitchctl import`: who has an entry, and where a login of theirs goes.
//!
//! The store says *who*; *where* is always asked as a login asks: the same key, the same statement. So an import takes over
//! what happens today, and nothing that a list only seems to say. Nothing is written, and nothing is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use mailswitch_config::DestinationName;
use mailswitch_config::table::mapping::{Redis as RedisTable, Sql as SqlTable};
use mailswitch_proto::identifier::{Identifier, Normalization};

use crate::redis::Redis;
use crate::sql::Sql;
use crate::store::StoreError;

/// For the statement that lists: a table of millions is read once, and not while a client waits.
const LISTING: Duration = Duration::from_secs(600);
/// Lookups at a time: the connections of the pool.
const MOST_AT_A_TIME: usize = 16;

/// One entry.
#[derive(Debug)]
pub struct Listed {
    /// The identifier as it is written in the store.
    pub written: String,
    /// The login that finds the entry: what was asked for.
    pub login: String,
    /// Where that login goes.
    pub goes: Goes,
}

/// Where a login goes.
#[derive(Debug)]
pub enum Goes {
    /// There, if that is declared.
    To(DestinationName),
    /// The store finds nothing for it.
    Nowhere,
    /// What the store answers is no name: why.
    Unreadable(String),
}

/// All keys of Redis with the prefix, in their order.
///
/// # Errors
/// Redis does not answer, or does not let us list.
pub async fn of_redis(table: &RedisTable, within: Duration) -> Result<Vec<Listed>, StoreError> {
    let redis = Redis::open(table, within).await?;
    let mut keys = BTreeSet::new();
    let mut cursor = 0;
    loop {
        let (next, found) = redis.scan(cursor, within).await?;
        keys.extend(found);
        if next == 0 {
            break;
        }
        cursor = next;
    }
    let lookups = keys.into_iter().map(|key| of_key(&redis, key, within));
    answers(lookups, table.pool_size).await
}

async fn of_key(redis: &Redis, key: Vec<u8>, within: Duration) -> Result<Listed, StoreError> {
    let key = match String::from_utf8(key) {
        Ok(key) => key,
        Err(error) => {
            let shown = error.as_bytes().escape_ascii().to_string();
            return Ok(Listed {
                login: shown.clone(),
                written: shown,
                goes: Goes::Unreadable("the key is not UTF-8".to_owned()),
            });
        }
    };
    let value = redis.value(&key, within).await;
    let text = value.and_then(|value| {
        let text = value.map(String::from_utf8).transpose();
        text.map_err(|_| StoreError::Answer("the value is not UTF-8".to_owned()))
    });
    Ok(Listed {
        written: key.clone(),
        login: key,
        goes: goes(text)?,
    })
}

/// The logins that a statement lists in its first column, and what `query` answers for each, in the order of the logins.
///
/// A row is asked for in the form in which logins are looked up. Of several rows that have one form, the one that is
/// written so is that login's; else the first one.
///
/// # Errors
/// The database does not answer, or does not understand the statement.
pub async fn of_sql(
    table: &SqlTable,
    statement: &str,
    normalization: &Normalization,
    within: Duration,
) -> Result<Vec<Listed>, StoreError> {
    let sql = Sql::open(table, within).await?;
    let rows = sql.all(statement, LISTING).await.map_err(|error| match error {
        StoreError::Answer(why) => StoreError::Refused(format!("the first column of {statement:?}: {why}")),
        error => error,
    })?;
    let mut rows: Vec<String> = rows.into_iter().flatten().filter(|row| !row.is_empty()).collect();
    rows.sort();
    rows.dedup();
    let mut asked: BTreeMap<String, String> = BTreeMap::new();
    let mut others = Vec::new();
    for row in rows {
        let login = match Identifier::normalized(&row, normalization) {
            Ok(identifier) => identifier.as_str().to_owned(),
            Err(_) => row.clone(),
        };
        let has_precedence = row == login;
        match asked.get_mut(&login) {
            None => {
                asked.insert(login, row);
            }
            Some(first) if has_precedence => others.push(std::mem::replace(first, row)),
            Some(_) => others.push(row),
        }
    }
    // Asked for as they are written, which no login is.
    asked.extend(others.into_iter().map(|row| (row.clone(), row)));
    let lookups = asked.into_iter().map(|(login, written)| {
        let sql = &sql;
        async move {
            let goes = goes(sql.first(&login, within).await)?;
            Ok(Listed { written, login, goes })
        }
    });
    answers(lookups, table.pool_size).await
}

async fn answers(
    lookups: impl Iterator<Item = impl Future<Output = Result<Listed, StoreError>>>,
    pool_size: usize,
) -> Result<Vec<Listed>, StoreError> {
    futures::stream::iter(lookups)
        .buffered(pool_size.clamp(1, MOST_AT_A_TIME))
        .try_collect()
        .await
}

/// An answer that is no name is one entry's; any other error is everybody's.
fn goes(answer: Result<Option<String>, StoreError>) -> Result<Goes, StoreError> {
    match answer {
        Ok(Some(name)) if !name.is_empty() => Ok(Goes::To(DestinationName::from(name))),
        Ok(_) => Ok(Goes::Nowhere),
        Err(StoreError::Answer(why)) => Ok(Goes::Unreadable(why)),
        Err(error) => Err(error),
    }
}
