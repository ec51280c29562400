//! Who did what: a row for every write, in the transaction that made it.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Error;

/// What is the same for every row of one change.
#[derive(Debug, Clone)]
pub struct Author<'a> {
    /// The change's row in the log, or none.
    pub change: Option<Uuid>,
    /// Who.
    pub who: &'a str,
    /// From which address.
    pub from: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Trace id.
    pub trace: &'a str,
}

/// What was done to one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `mapping set`, `cutover flip`, …
    pub verb: String,
    /// The identifier, the table's name, the node.
    pub subject: String,
    /// What it was; empty: absent.
    pub before: String,
    /// What it is; empty: absent.
    pub after: String,
    /// Whether the operator waived the proof (promise F4).
    pub proof: Proof,
}

/// Whether a write rests on a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proof {
    /// Nothing had to be proven, or it was.
    #[default]
    Standing,
    /// `--unproven`.
    Waived,
}

/// A row as it is read.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its number; newer is higher.
    pub id: u64,
    /// The revision; 0: none.
    pub revision: u64,
    /// When.
    pub at: chrono::DateTime<chrono::Utc>,
    /// Who.
    pub who: String,
    /// From which address.
    pub from: String,
    /// What was done.
    pub entry: Entry,
    /// Why.
    pub reason: String,
    /// Trace id.
    pub trace: String,
}

/// Writes the rows of one change.
///
/// # Errors
/// The database's.
pub async fn audit_add(conn: &mut PgConnection, author: &Author<'_>, entries: &[Entry]) -> Result<(), Error> {
    for chunk in entries.chunks(50_000) {
        sqlx::query(
            "INSERT INTO audit (change, who, from_addr, reason, trace, verb, subject, before, after, unproven)
             SELECT $1, $2, $3, $4, $5, e.* FROM UNNEST($6::text[], $7::text[], $8::text[], $9::text[], $10::bool[]) AS e",
        )
        .bind(author.change)
        .bind(author.who)
        .bind(author.from)
        .bind(author.reason)
        .bind(author.trace)
        .bind(chunk.iter().map(|entry| entry.verb.as_str()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|entry| entry.subject.as_str()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|entry| entry.before.as_str()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|entry| entry.after.as_str()).collect::<Vec<_>>())
        .bind(chunk.iter().map(|entry| entry.proof == Proof::Waived).collect::<Vec<_>>())
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

type Row = (
    i64,
    Option<i64>,
    chrono::DateTime<chrono::Utc>,
    String,
    String,
    String,
    String,
    String,
    String,
    String,
    String,
    bool,
);

/// The newest rows first, up to `limit`, older than `before_id`; of one subject, or of all.
///
/// # Errors
/// The database's.
pub async fn audit_list(
    conn: &mut PgConnection,
    subject: Option<&str>,
    before_id: Option<u64>,
    limit: u64,
) -> Result<Vec<Recorded>, Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT a.id, r.revision, a.at, who, from_addr, verb, subject, before, after, reason, trace, unproven FROM audit a
         LEFT JOIN revisions r ON r.change = a.change WHERE ($1::text IS NULL OR subject = $1) AND ($2::bigint IS NULL OR a.id < $2)
         ORDER BY a.id DESC LIMIT $3",
    )
    .bind(subject)
    .bind(before_id.map(|id| i64::try_from(id).unwrap_or(i64::MAX)))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(
            |(id, revision, at, who, from, verb, subject, before, after, reason, trace, unproven)| Recorded {
                id: id.unsigned_abs(),
                revision: revision.unwrap_or(0).unsigned_abs(),
                at,
                who,
                from,
                entry: Entry {
                    verb,
                    subject,
                    before,
                    after,
                    proof: if unproven { Proof::Waived } else { Proof::Standing },
                },
                reason,
                trace,
            },
        )
        .collect())
}

/// Forgets rows, and the numbers of changes, older than this. The change that the log stands at stays.
///
/// # Errors
/// The database's.
pub async fn audit_trim(conn: &mut PgConnection, keep_seconds: u64) -> Result<u64, Error> {
    let keep = keep_seconds as f64;
    let done = sqlx::query("DELETE FROM audit WHERE at < now() - make_interval(secs => $1)")
        .bind(keep)
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "DELETE FROM revisions r WHERE at < now() - make_interval(secs => $1)
           AND revision < (SELECT revision FROM fleet) AND NOT EXISTS (SELECT 1 FROM changes c WHERE c.id = r.change)",
    )
    .bind(keep)
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
