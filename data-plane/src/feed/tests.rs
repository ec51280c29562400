//! A node's feed against a control plane that a test plays, over real gRPC on this machine.

mod play;

mod acknowledging;
mod configuring;
mod leasing;
mod leaving;
mod requests;
mod retiring;
mod standing;
