//! What a lease rests on, read in one statement: so that all of it is of one instant, after the requests that it answers
//! (promise L2).

use std::collections::HashSet;

use mailswitch_config::resource::{Resource, ResourceKey};
use mailswitch_proto::id::InstanceId;
use mailswitch_proto::revision::{Position, Revision};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Error;
use super::fleet::{Belief, position};

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Grounds {
    /// Where the log stands.
    pub position: Position,
    /// Whether it is believed (promise D3).
    pub belief: Belief,
    /// The last change of any armed account: what armed, disarmed, held, moved or released one.
    pub armed_change: Revision,
    /// Those of who asked that are registered, and not fenced.
    pub entitled: HashSet<InstanceId>,
    /// `[cutover]`, if it is written.
    pub cutover: Vec<Resource>,
}

/// Reads it, for these processes.
///
/// # Errors
/// The database's, or a row that cannot be read.
pub async fn lease_grounds_get(conn: &mut PgConnection, asked: &[InstanceId]) -> Result<Grounds, Error> {
    // Who stands before all that is kept of the log may have missed any change of an armed account.
    let (revision, digest, doubted, armed, entitled, cutover): (
        i64,
        Vec<u8>,
        bool,
        i64,
        Vec<Uuid>,
        Option<String>,
    ) = sqlx::query_as(
        "SELECT revision, digest, EXISTS (SELECT FROM doubts),
            GREATEST((SELECT COALESCE(max(revision), 0) FROM changes WHERE armed),
                (SELECT COALESCE(min(revision), 1) - 1 FROM changes WHERE revision IS NOT NULL)),
            ARRAY(SELECT instance FROM nodes n WHERE instance = ANY($1)
                AND NOT EXISTS (SELECT FROM fences f WHERE f.node = n.name)),
            (SELECT body FROM resources WHERE kind = 'cutover' AND name = '' AND site = '')
         FROM fleet",
    )
    .bind(asked.iter().map(|instance| instance.uuid()).collect::<Vec<_>>())
    .fetch_one(conn)
    .await?;
    let cutover = cutover.into_iter().map(|body| Resource {
        key: ResourceKey {
            kind: "cutover".to_owned(),
            name: String::new(),
            site: String::new(),
        },
        body,
    });
    Ok(Grounds {
        position: position("the counter row", revision, &digest)?,
        belief: match doubted {
            true => Belief::Doubted,
            false => Belief::Believed,
        },
        armed_change: Revision(armed.unsigned_abs()),
        entitled: entitled.into_iter().map(Into::into).collect(),
        cutover: cutover.collect(),
    })
}
