//! Armings in force, and the acknowledgements that they got (promise L1 to L4).

use chrono::{DateTime, Utc};
use mailswitch_proto::id::{AccountId, ArmingId, InstanceId, OperationId};
use mailswitch_proto::identifier::{self, Key};
use mailswitch_proto::revision::{Position, Revision};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Error;
use super::fleet::number;

/// An arming in force: one account, or one identifier of none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arming {
    /// Never used again.
    pub id: ArmingId,
    /// The cutover that it was made for and ends with; none: it was made ahead.
    pub operation: Option<OperationId>,
    /// Whose; none for a single identifier.
    pub account: Option<AccountId>,
    /// The account's name.
    pub name: String,
    /// At which it was made.
    pub revision: Revision,
    /// Of what is armed, in the order of the identifiers.
    pub keys: Vec<Key>,
    /// When it was made.
    pub armed_at: DateTime<Utc>,
    /// By whom.
    pub armed_by: String,
}

/// A node's word that it admits the account only under a live lease (promise L4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Which arming.
    pub arming: ArmingId,
    /// Whose word.
    pub instance: InstanceId,
    /// Where the node stood when it applied the arming.
    pub applied: Position,
}

type Row = (
    Uuid,
    Option<Uuid>,
    Option<Uuid>,
    String,
    i64,
    Vec<u8>,
    DateTime<Utc>,
    String,
);

fn of_row(row: Row) -> Result<Arming, Error> {
    let (id, operation, account, name, revision, keys, armed_at, armed_by) = row;
    Ok(Arming {
        id: id.into(),
        operation: operation.map(Into::into),
        account: account.map(Into::into),
        name,
        revision: Revision(revision.unsigned_abs()),
        keys: super::keys("an arming", &keys)?,
        armed_at,
        armed_by,
    })
}

/// Puts armings in force, each with its identifiers.
///
/// # Errors
/// The database's; a unique violation when one of the identifiers is armed already.
pub async fn arming_put_many(
    conn: &mut PgConnection,
    armings: &[(Arming, Vec<String>)],
) -> Result<(), Error> {
    for chunk in armings.chunks(10_000) {
        let heads = || chunk.iter().map(|(arming, _)| arming);
        sqlx::query(
            "INSERT INTO armings (id, operation, account, name, revision, keys, armed_at, armed_by)
             SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::bytea[],
                $7::timestamptz[], $8::text[])",
        )
        .bind(heads().map(|arming| arming.id.uuid()).collect::<Vec<_>>())
        .bind(
            heads()
                .map(|arming| arming.operation.map(OperationId::uuid))
                .collect::<Vec<_>>(),
        )
        .bind(
            heads()
                .map(|arming| arming.account.map(AccountId::uuid))
                .collect::<Vec<_>>(),
        )
        .bind(heads().map(|arming| arming.name.as_str()).collect::<Vec<_>>())
        .bind(heads().map(|arming| number(arming.revision)).collect::<Vec<_>>())
        .bind(
            heads()
                .map(|arming| identifier::pack(&arming.keys))
                .collect::<Vec<_>>(),
        )
        .bind(heads().map(|arming| arming.armed_at).collect::<Vec<_>>())
        .bind(heads().map(|arming| arming.armed_by.as_str()).collect::<Vec<_>>())
        .execute(&mut *conn)
        .await?;
        let mut columns: (Vec<&str>, Vec<[u8; 16]>, Vec<Uuid>) = Default::default();
        for (arming, identifiers) in chunk {
            for (identifier, key) in identifiers.iter().zip(&arming.keys) {
                columns.0.push(identifier);
                columns.1.push(key.to_bytes());
                columns.2.push(arming.id.uuid());
            }
        }
        sqlx::query(
            "INSERT INTO armed_identifiers (identifier, key, arming)
             SELECT * FROM UNNEST($1::text[], $2::bytea[], $3::uuid[])",
        )
        .bind(columns.0)
        .bind(columns.1)
        .bind(columns.2)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Takes armings back, with their acknowledgements.
///
/// # Errors
/// The database's.
pub async fn arming_remove_many(conn: &mut PgConnection, armings: &[ArmingId]) -> Result<(), Error> {
    sqlx::query("DELETE FROM armings WHERE id = ANY($1)")
        .bind(armings.iter().map(|arming| arming.uuid()).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

/// The armings that name one of these identifiers, each with those of them that it names.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn arming_on_list(
    conn: &mut PgConnection,
    identifiers: &[String],
) -> Result<Vec<(Arming, Vec<String>)>, Error> {
    let named: Vec<(Uuid, Vec<String>)> = sqlx::query_as(
        "SELECT arming, array_agg(identifier) FROM armed_identifiers WHERE identifier = ANY($1) GROUP BY arming",
    )
    .bind(identifiers)
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<Uuid> = named.iter().map(|(id, _)| *id).collect();
    let mut named: std::collections::HashMap<Uuid, Vec<String>> = named.into_iter().collect();
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, operation, account, name, revision, keys, armed_at, armed_by FROM armings WHERE id = ANY($1)
         ORDER BY name, id",
    )
    .bind(ids)
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let identifiers = named.remove(&row.0).unwrap_or_default();
            Ok((of_row(row)?, identifiers))
        })
        .collect()
}

/// All that are in force, the oldest first.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn arming_list(conn: &mut PgConnection) -> Result<Vec<Arming>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, operation, account, name, revision, keys, armed_at, armed_by FROM armings ORDER BY revision, name",
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(of_row).collect()
}

/// The arming that an operation made for itself.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn arming_of_operation_get(
    conn: &mut PgConnection,
    operation: OperationId,
) -> Result<Option<Arming>, Error> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, operation, account, name, revision, keys, armed_at, armed_by FROM armings WHERE operation = $1",
    )
    .bind(operation.uuid())
    .fetch_optional(conn)
    .await?;
    row.map(of_row).transpose()
}

/// What is armed, held or on its way, counted: while there is any, leases keep their length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// Armed accounts.
    pub armed: u64,
    /// Held accounts.
    pub held: u64,
    /// Operations that go on.
    pub operations: u64,
    /// When the oldest arming was made.
    pub armed_since: Option<DateTime<Utc>>,
}

/// Counts it.
///
/// # Errors
/// The database's.
pub async fn in_force_get(conn: &mut PgConnection) -> Result<InForce, Error> {
    let (armed, armed_since, held, operations): (i64, Option<DateTime<Utc>>, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM armings), (SELECT min(armed_at) FROM armings), (SELECT count(*) FROM holds),
            (SELECT count(*) FROM operations WHERE ended_at IS NULL)",
    )
    .fetch_one(conn)
    .await?;
    Ok(InForce {
        armed: armed.unsigned_abs(),
        held: held.unsigned_abs(),
        operations: operations.unsigned_abs(),
        armed_since,
    })
}

/// Records acknowledgements: of armings in force, of registered processes, applied at or after the arming and on our
/// chain. What names anything else is ignored. Returns the operations that are waiting for one of them.
///
/// # Errors
/// The database's.
pub async fn arming_ack_add(conn: &mut PgConnection, acks: &[Ack]) -> Result<Vec<OperationId>, Error> {
    let rows: Vec<(Uuid,)> = sqlx::query_as(
        "WITH said AS (SELECT DISTINCT ON (arming, instance) * FROM
                UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::bytea[]) AS s(arming, instance, revision, digest)
                ORDER BY arming, instance),
            added AS (INSERT INTO arming_acks (arming, instance, applied_revision, applied_digest)
                SELECT s.arming, s.instance, s.revision, s.digest FROM said s
                    JOIN armings a ON a.id = s.arming AND s.revision >= a.revision
                    JOIN nodes n ON n.instance = s.instance
                    JOIN revisions c ON c.revision = s.revision AND c.digest = s.digest
                ON CONFLICT (arming, instance) DO NOTHING RETURNING arming)
         SELECT DISTINCT o.id FROM added a JOIN operations o ON o.arming = a.arming AND o.ended_at IS NULL",
    )
    .bind(acks.iter().map(|ack| ack.arming.uuid()).collect::<Vec<_>>())
    .bind(acks.iter().map(|ack| ack.instance.uuid()).collect::<Vec<_>>())
    .bind(acks.iter().map(|ack| number(ack.applied.revision)).collect::<Vec<_>>())
    .bind(
        acks.iter()
            .map(|ack| *ack.applied.digest.as_bytes())
            .collect::<Vec<_>>(),
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|(operation,)| operation.into()).collect())
}

/// A registered process that has not acknowledged an arming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// Its node.
    pub node: String,
    /// The process.
    pub instance: InstanceId,
}

/// The registered processes that have not acknowledged every arming of these identifiers.
///
/// # Errors
/// The database's.
pub async fn arming_silent_list(
    conn: &mut PgConnection,
    identifiers: &[String],
) -> Result<Vec<Silent>, Error> {
    let rows: Vec<(String, Uuid)> = sqlx::query_as(
        "WITH asked AS (SELECT DISTINCT arming FROM armed_identifiers WHERE identifier = ANY($1)),
            said AS (SELECT m.instance, count(*) AS number FROM arming_acks m JOIN asked USING (arming)
                GROUP BY m.instance)
         SELECT n.name, n.instance FROM nodes n LEFT JOIN said s ON s.instance = n.instance
         WHERE COALESCE(s.number, 0) < (SELECT count(*) FROM asked) ORDER BY n.name, n.instance",
    )
    .bind(identifiers)
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(node, instance)| Silent {
            node,
            instance: instance.into(),
        })
        .collect())
}

/// For each of these armings the registered nodes that have not acknowledged it, by name.
///
/// # Errors
/// The database's.
pub async fn arming_unacknowledged(
    conn: &mut PgConnection,
    armings: &[ArmingId],
) -> Result<std::collections::HashMap<ArmingId, Vec<String>>, Error> {
    let rows: Vec<(Uuid, Vec<String>)> = sqlx::query_as(
        "SELECT a.id, array_agg(DISTINCT n.name ORDER BY n.name) FROM armings a CROSS JOIN nodes n
         WHERE a.id = ANY($1)
            AND NOT EXISTS (SELECT FROM arming_acks m WHERE m.arming = a.id AND m.instance = n.instance)
         GROUP BY a.id",
    )
    .bind(armings.iter().map(|arming| arming.uuid()).collect::<Vec<_>>())
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(arming, nodes)| (arming.into(), nodes))
        .collect())
}
