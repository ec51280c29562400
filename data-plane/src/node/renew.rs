//! Certificates that are renewed on the disk, taken up while the node runs: those that listeners present, and those that
//! backends are shown. Connections that stand go on; what cannot be used changes nothing, and is said once.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::MissedTickBehavior;

use super::Node;
use crate::report::OfCertificate;
use crate::tls::{Replaced, Validity};

/// Between two looks. A change is taken at the second look that finds it the same.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks, for as long as the node lives.
pub(super) async fn look_again(node: Arc<Node>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let node = Arc::clone(&node);
        // It fails only when the runtime ends.
        let _ = tokio::task::spawn_blocking(move || look(&node)).await;
    }
}

fn look(node: &Node) {
    for replaced in node.tls.look_again() {
        match replaced {
            Replaced::Taken { name, validity } => {
                tracing::info!(certificate = %name, "the certificate was replaced on disk: new connections are shown it");
                if let Some(odd) = out_of_time(validity) {
                    tracing::warn!(certificate = %name, "the new certificate {odd}: clients refuse it");
                }
            }
            Replaced::Refused { name, error } => tracing::warn!(
                certificate = %name,
                error = crate::error_chain(&error),
                "the certificate on disk cannot be used: the one before stays"
            ),
        }
    }
    node.backends().look_again();
    let report = node.knowledge.sessions().report();
    for (name, validity) in node.tls.validities() {
        report.certificate(OfCertificate::Presented(&name), validity.not_after);
    }
    for (destination, validity) in node.backends().validities() {
        report.certificate(OfCertificate::ShownTo(&destination), validity.not_after);
    }
}

fn out_of_time(validity: Validity) -> Option<&'static str> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > validity.not_after {
        Some("has expired")
    } else if now < validity.not_before {
        Some("is not valid yet")
    } else {
        None
    }
}
