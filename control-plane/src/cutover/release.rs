//! The release: the hold ends without a flip, and the account goes to the source, written explicitly (promise F2). An
//! operation that was armed and not held has nothing to write but that its arming is over.

use mailswitch_proto::fleet::v1::{self, change::Kind};
use mailswitch_proto::id::OperationId;

use super::arm::disarm_own;
use super::flip::{end, ended, fenced, ours};
use super::operation::{Fence, Operation, Step};
use super::steps::{Event, step};
use crate::change::{Change, Draft, Error};
use crate::store::audit::Proof;

/// Ends the hold of an operation that is releasing.
pub struct Release {
    id: OperationId,
    fence: Fence,
    traceparent: String,
}

impl Release {
    /// Of this operation, as its driver under this fence.
    #[must_use]
    pub fn new(id: OperationId, fence: Fence, traceparent: String) -> Self {
        Self {
            id,
            fence,
            traceparent,
        }
    }
}

impl Change for Release {
    type Output = ();

    fn verb(&self) -> &'static str {
        "cutover release"
    }

    fn request(&self) -> String {
        self.id.to_string()
    }

    async fn make(&self, draft: &mut Draft<'_>) -> Result<(), Error> {
        let was = fenced(draft, self.id, self.fence, Step::Releasing).await?;
        let before = match was.hold {
            Some(_) => "held",
            None => "armed",
        };
        let ended = match was.hold {
            Some(_) => self.released(draft).await?,
            None => {
                let (moved, _) = step(was, &Event::Released);
                ended(draft, moved, Step::Releasing).await?
            }
        };
        disarm_own(draft, ended.id).await?;
        draft.trace(&self.traceparent);
        let after = format!("{} ({})", ended.source, ended.cause);
        draft.audit(self.verb(), &ended.subject.name, before, &after, Proof::Standing);
        Ok(())
    }
}

impl Release {
    async fn released(&self, draft: &mut Draft<'_>) -> Result<Operation, Error> {
        let (operation, hold) = ours(draft, self.id, self.fence, Step::Releasing).await?;
        let (moved, _) = step(operation, &Event::Released);
        let source = moved.source.clone();
        let ended = end(draft, moved, hold, &source, Step::Releasing).await?;
        let released = v1::Released {
            hold: hold.to_vec(),
            operation: ended.id.to_vec(),
            destination: source,
        };
        draft.push(&ended.subject.keys, Kind::Released(released));
        Ok(ended)
    }
}
