//! A process says in its Hello which ones it replaces: the last one that was welcomed with its state directory, which is
//! gone, because the directory is locked; and those that handed the directory over and have died since, of whom it got the
//! lock (decision 0027). Unless somebody copied the directory (a cloned machine): a process that still has a stream here is
//! not gone, all are registered, and a flip waits for all (promise N1).

use std::time::Duration;

use mailswitch_proto::id::InstanceId;
use tokio::time::{Instant, sleep};

use super::accept::{AcceptError, Hello};
use crate::nodes::Nodes;

/// A process that was killed is gone before the end of its stream is seen here. Waiting longer would leave a copy uncounted
/// for longer: it may be serving from its state file already.
const STREAM_OUTLIVES: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The Hello, without the claim to replace a process that still serves.
///
/// # Errors
/// Another process serves under its very instance: what one of them acknowledges would count for both.
pub async fn settled(nodes: &Nodes, hello: Hello) -> Result<Hello, AcceptError> {
    if !gone(|| nodes.serves_another_process(hello.instance, hello.process)).await {
        return Err(AcceptError::Copy {
            node: hello.node,
            instance: hello.instance,
        });
    }
    Ok(unclaimed(nodes, hello).await)
}

async fn unclaimed(nodes: &Nodes, hello: Hello) -> Hello {
    let others = hello.replaces.iter().copied();
    let named: Vec<InstanceId> = others.filter(|replaced| *replaced != hello.instance).collect();
    gone(|| named.iter().any(|replaced| nodes.serves(*replaced))).await;
    let (not_replaced, replaces): (Vec<_>, Vec<_>) =
        named.into_iter().partition(|replaced| nodes.serves(*replaced));
    for replaced in &not_replaced {
        tracing::warn!(
            %replaced, instance = %hello.instance,
            "the process that this one says it replaces is still connected: was its state directory copied? Both count. \
             Give each a name, a certificate and a state directory of its own"
        );
    }
    Hello {
        replaces,
        not_replaced,
        ..hello
    }
}

async fn gone(serves: impl Fn() -> bool) -> bool {
    let until = Instant::now() + STREAM_OUTLIVES;
    while serves() {
        if Instant::now() >= until {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
    true
}
