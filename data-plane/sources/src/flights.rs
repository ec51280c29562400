//! One lookup for all who miss the same identifier at the same time (behaviour 10). Who comes after an invalidation does
//! not join a lookup that began before it: the epoch is part of what makes two lookups one.
//!
//! A lookup is a task of its own: the client that asked first may leave.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use mailswitch_proto::identifier::Key;
use parking_lot::Mutex;

use crate::cache::Entry;
use crate::epochs::Epoch;

type Flight = Shared<BoxFuture<'static, Option<Entry>>>;

/// The lookups that are under way.
#[derive(Default)]
pub(crate) struct Flights {
    flying: Mutex<HashMap<(Key, Epoch), Flight>>,
}

impl Flights {
    /// Joins the lookup of this key and epoch, or starts it. None: it was lost with its task.
    pub(crate) async fn join<F>(
        self: &Arc<Self>,
        key: Key,
        epoch: Epoch,
        start: impl FnOnce() -> F,
    ) -> Option<Entry>
    where
        F: Future<Output = Entry> + Send + 'static,
    {
        let flight = {
            let mut flying = self.flying.lock();
            match flying.get(&(key, epoch)) {
                Some(flight) => flight.clone(),
                None => {
                    let lookup = start();
                    let landing = Landing {
                        flights: Arc::clone(self),
                        of: (key, epoch),
                    };
                    let task = tokio::spawn(async move {
                        let _landing = landing;
                        lookup.await
                    });
                    let flight = task.map(Result::ok).boxed().shared();
                    flying.insert((key, epoch), flight.clone());
                    flight
                }
            }
        };
        flight.await
    }
}

impl std::fmt::Debug for Flights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Flights({})", self.flying.lock().len())
    }
}

/// Takes a flight off the list, however its task ends.
struct Landing {
    flights: Arc<Flights>,
    of: (Key, Epoch),
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.flying.lock().remove(&self.of);
    }
}
