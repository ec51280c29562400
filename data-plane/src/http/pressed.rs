//! What others want of a request while its leg stands: the orders of the registry, as moments and reasons (promise Q3).

use std::time::Instant;

use crate::session::bridge::EndReason;
use crate::sessions::{DrainCause, Order, Registered};

/// When a request is broken off, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Instant,
    pub(super) reason: EndReason,
}

/// None: it may go on. A drain waits for the answer: no quiet moment is in the middle of a request.
pub(super) fn breaks_off(order: Order) -> Option<Moment> {
    let now = Instant::now();
    let (at, reason) = match order {
        Order::Stay | Order::Recall => return None,
        Order::Drain { cause, deadline } => (deadline, drained(cause)),
        Order::Kick => (now, EndReason::Kick),
        Order::Shutdown => (now, EndReason::Shutdown),
        Order::Reset => (now, EndReason::Reset),
    };
    Some(Moment { at, reason })
}

/// As in the log.
pub(super) fn drained(cause: DrainCause) -> EndReason {
    match cause {
        DrainCause::Hold(_) => EndReason::Hold,
        DrainCause::Node => EndReason::Drain,
    }
}

/// Ends when the request is to be broken off.
pub(super) async fn broken_off(registered: &Registered) -> EndReason {
    let mut order = registered.order();
    loop {
        let Some(Moment { at, reason }) = breaks_off(order) else {
            order = registered.order_other_than(order).await;
            continue;
        };
        if at <= Instant::now() {
            return reason;
        }
        tokio::select! {
            changed = registered.order_other_than(order) => order = changed,
            () = tokio::time::sleep_until(at.into()) => return reason,
        }
    }
}
