//! The protocol between the programs, and the few types that they must agree on to the letter.
//!
//! - `fleet`, `control`: the messages, generated from `mailswitch/*/v1/*.proto`.
//! - `identifier`: a login's one normal form, and the key under which tables hold it.
//! - `revision`: the number of a committed change, and the digest chain over the stored bytes.
//! - `channel`: mutual TLS between the programs, and who is at the other end.
//! - `problem`: a refusal in the details of a gRPC status.
//! - `trace_context`: W3C trace context over gRPC.
//! - `id`: holds, operations, instances, fleets: 128 random bits each, never mixed up.
//!
//! Nothing here decides anything: policy belongs to the programs.

pub mod channel;
pub mod id;
pub mod identifier;
pub mod problem;
pub mod revision;
pub mod trace_context;

/// The feed between a control plane and a node.
pub mod fleet {
    /// `mailswitch.fleet.v1`, generated.
    #[allow(missing_docs, clippy::all, clippy::unwrap_used, unreachable_pub)]
    pub mod v1 {
        tonic::include_proto!("mailswitch.fleet.v1");
    }
}

/// The operator's service.
pub mod control {
    /// `mailswitch.control.v1`, generated.
    #[allow(missing_docs, clippy::all, clippy::unwrap_used, unreachable_pub)]
    pub mod v1 {
        tonic::include_proto!("mailswitch.control.v1");
    }
}
