//! What every change takes: why, once, and whether only to try.

use mailswitch_proto::control::v1::ChangeContext;
use uuid::Uuid;

/// The flags of every verb that changes something.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Change")]
pub struct ChangeArguments {
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// A UUID: done twice with the same one, it is done once. Without it, one is made for each run.
    #[arg(long, value_name = "UUID")]
    pub idempotency_key: Option<Uuid>,
    /// Check everything, change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

impl ChangeArguments {
    /// For one run: a lost answer is asked for again with the same key.
    #[must_use]
    pub fn context(&self) -> ChangeContext {
        ChangeContext {
            reason: self.reason.clone().unwrap_or_default(),
            idempotency_key: self
                .idempotency_key
                .unwrap_or_else(Uuid::new_v4)
                .as_bytes()
                .to_vec(),
            dry_run: self.dry_run,
        }
    }
}

/// The same change, only tried.
#[must_use]
pub fn rehearsed(context: &ChangeContext) -> ChangeContext {
    ChangeContext {
        reason: context.reason.clone(),
        idempotency_key: Vec::new(),
        dry_run: true,
    }
}

/// The key of a change, as it can be given to `--idempotency-key`.
#[must_use]
pub fn key_of(context: &ChangeContext) -> String {
    crate::output::identity(&context.idempotency_key).unwrap_or_default()
}
