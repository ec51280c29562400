//! Accounts: the identifiers that always move together, the addresses at which they get mail, their group.

use std::collections::HashMap;

use mailswitch_proto::id::AccountId;
use mailswitch_proto::identifier::Key;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Error;

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its first identifier.
    pub name: String,
    /// In normal form, the first first.
    pub identifiers: Vec<(String, Key)>,
    /// At which it gets mail.
    pub addresses: Vec<String>,
    /// People who move in one wave; empty: none.
    pub group: String,
}

/// The account of an identifier.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn account_of_identifier_get(
    conn: &mut PgConnection,
    identifier: &str,
) -> Result<Option<Account>, Error> {
    let row: Option<(Uuid,)> =
        sqlx::query_as("SELECT account FROM account_identifiers WHERE identifier = $1")
            .bind(identifier)
            .fetch_optional(&mut *conn)
            .await?;
    match row {
        None => Ok(None),
        Some((id,)) => Ok(account_get_many(conn, &[id]).await?.pop()),
    }
}

/// Which account each of these identifiers belongs to.
///
/// # Errors
/// The database's.
pub async fn account_ids_of_identifiers(
    conn: &mut PgConnection,
    identifiers: &[String],
) -> Result<HashMap<String, AccountId>, Error> {
    let rows: Vec<(String, Uuid)> =
        sqlx::query_as("SELECT identifier, account FROM account_identifiers WHERE identifier = ANY($1)")
            .bind(identifiers)
            .fetch_all(conn)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(identifier, id)| (identifier, id.into()))
        .collect())
}

/// A page of accounts by name, after `after`; of a group, of an identifier, or all.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn account_list(
    conn: &mut PgConnection,
    group: Option<&str>,
    identifier: Option<&str>,
    after: &str,
    limit: u32,
) -> Result<Vec<Account>, Error> {
    let rows: Vec<(Uuid,)> = sqlx::query_as(
        "SELECT a.id FROM accounts a
         WHERE a.name > $3 AND ($1::text IS NULL OR a.grp = $1)
           AND ($2::text IS NULL OR EXISTS
                (SELECT 1 FROM account_identifiers i WHERE i.account = a.id AND i.identifier = $2))
         ORDER BY a.name LIMIT $4",
    )
    .bind(group)
    .bind(identifier)
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<Uuid> = rows.into_iter().map(|(id,)| id).collect();
    account_get_many(conn, &ids).await
}

/// How many there are.
///
/// # Errors
/// The database's.
pub async fn account_count(conn: &mut PgConnection) -> Result<u64, Error> {
    let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM accounts")
        .fetch_one(conn)
        .await?;
    Ok(count.unsigned_abs())
}

/// These accounts, by name.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn account_get_many(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Account>, Error> {
    let heads: Vec<(Uuid, String, String)> =
        sqlx::query_as("SELECT id, name, grp FROM accounts WHERE id = ANY($1) ORDER BY name")
            .bind(ids)
            .fetch_all(&mut *conn)
            .await?;
    let identifiers: Vec<(Uuid, String, Vec<u8>)> = sqlx::query_as(
        "SELECT account, identifier, key FROM account_identifiers WHERE account = ANY($1) ORDER BY account, ordinal",
    )
    .bind(ids)
    .fetch_all(&mut *conn)
    .await?;
    let addresses: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT account, address FROM account_addresses WHERE account = ANY($1) ORDER BY account, address",
    )
    .bind(ids)
    .fetch_all(&mut *conn)
    .await?;
    let mut by_id: HashMap<Uuid, (Vec<(String, Key)>, Vec<String>)> = HashMap::new();
    for (id, identifier, key) in identifiers {
        let key = super::key("an account's identifier", &key)?;
        by_id.entry(id).or_default().0.push((identifier, key));
    }
    for (id, address) in addresses {
        by_id.entry(id).or_default().1.push(address);
    }
    Ok(heads
        .into_iter()
        .map(|(id, name, group)| {
            let (identifiers, addresses) = by_id.remove(&id).unwrap_or_default();
            Account {
                id: id.into(),
                name,
                identifiers,
                addresses,
                group,
            }
        })
        .collect())
}

/// Writes them, each as a whole: what it had before is gone.
///
/// # Errors
/// The database's; a unique violation when an identifier belongs to another account.
pub async fn account_put_many(conn: &mut PgConnection, accounts: &[Account]) -> Result<(), Error> {
    for chunk in accounts.chunks(20_000) {
        let ids: Vec<Uuid> = chunk.iter().map(|account| account.id.uuid()).collect();
        sqlx::query("DELETE FROM accounts WHERE id = ANY($1)")
            .bind(&ids)
            .execute(&mut *conn)
            .await?;
        sqlx::query(
            "INSERT INTO accounts (id, name, grp) SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[])",
        )
        .bind(&ids)
        .bind(
            chunk
                .iter()
                .map(|account| account.name.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            chunk
                .iter()
                .map(|account| account.group.as_str())
                .collect::<Vec<_>>(),
        )
        .execute(&mut *conn)
        .await?;
        let mut columns: (Vec<Uuid>, Vec<&str>, Vec<[u8; 16]>, Vec<i32>) = Default::default();
        let mut addresses: (Vec<Uuid>, Vec<&str>) = Default::default();
        for account in chunk {
            for (ordinal, (identifier, key)) in (0..).zip(&account.identifiers) {
                columns.0.push(account.id.uuid());
                columns.1.push(identifier);
                columns.2.push(key.to_bytes());
                columns.3.push(ordinal);
            }
            for address in &account.addresses {
                addresses.0.push(account.id.uuid());
                addresses.1.push(address);
            }
        }
        sqlx::query(
            "INSERT INTO account_identifiers (account, identifier, key, ordinal)
             SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::bytea[], $4::int[])",
        )
        .bind(columns.0)
        .bind(columns.1)
        .bind(columns.2)
        .bind(columns.3)
        .execute(&mut *conn)
        .await?;
        sqlx::query(
            "INSERT INTO account_addresses (account, address)
             SELECT DISTINCT * FROM UNNEST($1::uuid[], $2::text[])",
        )
        .bind(addresses.0)
        .bind(addresses.1)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// How many identifiers of accounts follow a domain's mapping (`@example.org`), having none of their own.
///
/// # Errors
/// The database's.
pub async fn account_following_domain_count(
    conn: &mut PgConnection,
    domain_entry: &str,
) -> Result<u64, Error> {
    let (count,): (i64,) = sqlx::query_as(
        "SELECT count(*) FROM account_identifiers i
         WHERE right(i.identifier, length($1)) = $1
           AND NOT EXISTS (SELECT 1 FROM mappings m WHERE m.identifier = i.identifier)",
    )
    .bind(domain_entry)
    .fetch_one(conn)
    .await?;
    Ok(count.unsigned_abs())
}

/// How many identifiers of accounts follow the default destination: neither they nor their domain is mapped.
///
/// # Errors
/// The database's.
pub async fn account_following_default_count(conn: &mut PgConnection) -> Result<u64, Error> {
    let (count,): (i64,) = sqlx::query_as(
        "SELECT count(*) FROM account_identifiers i
         WHERE NOT EXISTS (SELECT 1 FROM mappings m WHERE m.identifier = i.identifier)
           AND NOT EXISTS (SELECT 1 FROM mappings m
                           WHERE m.identifier = substring(i.identifier FROM '@[^@]*$'))",
    )
    .fetch_one(conn)
    .await?;
    Ok(count.unsigned_abs())
}

/// How many identifiers of accounts are on a destination by a mapping of their own or of their domain.
///
/// # Errors
/// The database's.
pub async fn account_mapped_to_count(conn: &mut PgConnection, destination: &str) -> Result<u64, Error> {
    let (count,): (i64,) = sqlx::query_as(
        "SELECT count(*) FROM account_identifiers i
         LEFT JOIN mappings own ON own.identifier = i.identifier
         LEFT JOIN mappings domain ON domain.identifier = substring(i.identifier FROM '@[^@]*$')
         WHERE coalesce(own.destination, domain.destination) = $1",
    )
    .bind(destination)
    .fetch_one(conn)
    .await?;
    Ok(count.unsigned_abs())
}
