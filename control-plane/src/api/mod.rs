//! What an operator can do (the Control service), a file per noun. This file is its table of contents: for each call
//! the role that it needs, and the function that answers.
//!
//! `caller` knows who asks and what it may do; `problem` turns refusals into answers that say what to do. Nothing here
//! writes: changes are structs of `change` and `cutover`, committed by the one writer.

mod account;
mod arming;
mod audit;
mod backup;
mod breaker;
mod caller;
mod config;
mod destination;
mod fence;
mod mapping;
mod node;
mod operation;
mod pages;
mod problem;
mod resolve;
mod session;
mod status;

use std::sync::Arc;

use mailswitch_config::table::telemetry::Identifiers;
use mailswitch_proto::control::v1::{self as wire, control_server::Control};
use mailswitch_proto::trace_context;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use self::caller::{Caller, Needs};
use self::pages::Pages;
use crate::process::ControlPlane;

/// An answer, or a refusal with its remedy.
type Answer<T> = Result<T, wire::Problem>;

/// The `Control` service of this replica.
#[derive(Clone)]
pub struct Api {
    plane: Arc<ControlPlane>,
    /// In the log.
    identifiers: Identifiers,
}

impl Api {
    /// Answers operators from this replica.
    #[must_use]
    pub fn new(plane: Arc<ControlPlane>) -> Self {
        Self {
            plane,
            identifiers: Identifiers::Redacted,
        }
    }

    /// `[telemetry] identifiers`: whether the log says whom a refusal was about.
    #[must_use]
    pub fn with_identifiers(self, identifiers: Identifiers) -> Self {
        Self { identifiers, ..self }
    }

    /// Every call goes through here: the role first, then the work, in a span that continues the caller's trace.
    async fn call<T, R, W>(
        &self,
        method: &'static str,
        needs: Needs,
        request: Request<T>,
        work: impl FnOnce(Arc<ControlPlane>, Caller, T) -> W,
    ) -> Result<Response<R>, Status>
    where
        W: Future<Output = Answer<R>>,
    {
        let caller = Caller::of(&request, method, needs)?;
        let span = tracing::info_span!(
            "control", otel.name = format!("mailswitch.control.v1.Control/{method}"), otel.kind = "server",
            rpc.system = "grpc", rpc.service = "mailswitch.control.v1.Control", rpc.method = method,
            client.address = %caller.from, enduser.id = caller.who,
        );
        trace_context::adopt(&span, trace_context::extract(request.metadata()));
        let plane = Arc::clone(&self.plane);
        let identifiers = self.identifiers;
        async move {
            plane.has_read_its_writes().await;
            work(plane, caller, request.into_inner())
                .await
                .map(Response::new)
                .map_err(|problem| {
                    let kind = problem.kind().as_str_name();
                    match identifiers {
                        Identifiers::Plain => tracing::info!(kind, what = problem.what, "refused"),
                        // Its words may name people: they are in the answer (design section 6).
                        Identifiers::Redacted => tracing::info!(kind, "refused"),
                    }
                    problem.into_status()
                })
        }
        .instrument(span)
        .await
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Control for Api {
    async fn status(&self, request: Request<wire::StatusRequest>) -> Reply<wire::StatusResponse> {
        self.call("Status", Needs::View, request, status::status).await
    }

    async fn apply(&self, request: Request<wire::ApplyRequest>) -> Reply<wire::ApplyResponse> {
        self.call("Apply", Needs::Operate, request, config::apply).await
    }

    async fn diff(&self, request: Request<wire::DiffRequest>) -> Reply<wire::DiffResponse> {
        self.call("Diff", Needs::View, request, config::diff).await
    }

    async fn export(&self, request: Request<wire::ExportRequest>) -> Reply<wire::ExportResponse> {
        self.call("Export", Needs::View, request, config::export).await
    }

    async fn mapping_get(
        &self,
        request: Request<wire::MappingGetRequest>,
    ) -> Reply<wire::MappingGetResponse> {
        self.call("MappingGet", Needs::View, request, mapping::get).await
    }

    async fn mapping_set(&self, request: Request<wire::MappingSetRequest>) -> Reply<wire::Committed> {
        self.call("MappingSet", Needs::Operate, request, mapping::set)
            .await
    }

    async fn mapping_unset(&self, request: Request<wire::MappingUnsetRequest>) -> Reply<wire::Committed> {
        self.call("MappingUnset", Needs::Operate, request, mapping::unset)
            .await
    }

    type MappingListStream = Pages<wire::MappingPage>;

    async fn mapping_list(
        &self,
        request: Request<wire::MappingListRequest>,
    ) -> Reply<Self::MappingListStream> {
        self.call("MappingList", Needs::View, request, mapping::list)
            .await
    }

    async fn mapping_import(
        &self,
        request: Request<Streaming<wire::MappingImportRequest>>,
    ) -> Reply<wire::ImportResponse> {
        self.call("MappingImport", Needs::Operate, request, mapping::import)
            .await
    }

    async fn account_import(
        &self,
        request: Request<Streaming<wire::AccountImportRequest>>,
    ) -> Reply<wire::ImportResponse> {
        self.call("AccountImport", Needs::Operate, request, account::import)
            .await
    }

    type AccountListStream = Pages<wire::AccountPage>;

    async fn account_list(
        &self,
        request: Request<wire::AccountListRequest>,
    ) -> Reply<Self::AccountListStream> {
        self.call("AccountList", Needs::View, request, account::list)
            .await
    }

    async fn account_arm(
        &self,
        request: Request<Streaming<wire::AccountArmRequest>>,
    ) -> Reply<wire::AccountArmResponse> {
        self.call("AccountArm", Needs::Operate, request, arming::arm)
            .await
    }

    async fn resolve(&self, request: Request<wire::ResolveRequest>) -> Reply<wire::ResolveResponse> {
        self.call("Resolve", Needs::View, request, resolve::resolve).await
    }

    async fn cutover_start(&self, request: Request<wire::CutoverStartRequest>) -> Reply<wire::Operation> {
        self.call("CutoverStart", Needs::Operate, request, operation::cutover)
            .await
    }

    async fn rollback_start(&self, request: Request<wire::RollbackStartRequest>) -> Reply<wire::Operation> {
        self.call("RollbackStart", Needs::Operate, request, operation::rollback)
            .await
    }

    async fn operation_get(&self, request: Request<wire::OperationRef>) -> Reply<wire::Operation> {
        self.call("OperationGet", Needs::View, request, operation::get)
            .await
    }

    async fn operation_list(
        &self,
        request: Request<wire::OperationListRequest>,
    ) -> Reply<wire::OperationListResponse> {
        self.call("OperationList", Needs::View, request, operation::list)
            .await
    }

    type OperationWatchStream = Pages<wire::Operation>;

    async fn operation_watch(
        &self,
        request: Request<wire::OperationRef>,
    ) -> Reply<Self::OperationWatchStream> {
        self.call("OperationWatch", Needs::View, request, operation::watch)
            .await
    }

    async fn operation_abort(&self, request: Request<wire::OperationAbortRequest>) -> Reply<wire::Operation> {
        self.call("OperationAbort", Needs::Operate, request, operation::abort)
            .await
    }

    async fn hook_renew(&self, request: Request<wire::HookRenewRequest>) -> Reply<wire::HookLease> {
        self.call("HookRenew", Needs::Operate, request, operation::hook_renew)
            .await
    }

    async fn hook_finish(&self, request: Request<wire::HookFinishRequest>) -> Reply<wire::Operation> {
        self.call("HookFinish", Needs::Operate, request, operation::hook_finish)
            .await
    }

    async fn node_drain(&self, request: Request<wire::NodeDrainRequest>) -> Reply<wire::NodeDrainResponse> {
        self.call("NodeDrain", Needs::Operate, request, node::drain).await
    }

    async fn node_forget(&self, request: Request<wire::NodeForgetRequest>) -> Reply<wire::Committed> {
        self.call("NodeForget", Needs::Administer, request, node::forget)
            .await
    }

    async fn node_fence(&self, request: Request<wire::NodeFenceRequest>) -> Reply<wire::NodeFenceResponse> {
        self.call("NodeFence", Needs::Administer, request, fence::fence)
            .await
    }

    async fn session_list(
        &self,
        request: Request<wire::SessionListRequest>,
    ) -> Reply<wire::SessionListResponse> {
        self.call("SessionList", Needs::View, request, session::list)
            .await
    }

    async fn session_kick(
        &self,
        request: Request<wire::SessionKickRequest>,
    ) -> Reply<wire::SessionKickResponse> {
        self.call("SessionKick", Needs::Operate, request, session::kick)
            .await
    }

    async fn breaker_reset(
        &self,
        request: Request<wire::BreakerResetRequest>,
    ) -> Reply<wire::BreakerResetResponse> {
        self.call("BreakerReset", Needs::Operate, request, breaker::reset)
            .await
    }

    type AuditStream = Pages<wire::AuditPage>;

    async fn audit(&self, request: Request<wire::AuditRequest>) -> Reply<Self::AuditStream> {
        self.call("Audit", Needs::View, request, audit::list).await
    }

    type BackupStream = Pages<wire::Chunk>;

    async fn backup(&self, request: Request<wire::BackupRequest>) -> Reply<Self::BackupStream> {
        self.call("Backup", Needs::Administer, request, backup::backup)
            .await
    }

    async fn restore(
        &self,
        request: Request<Streaming<wire::RestoreRequest>>,
    ) -> Reply<wire::RestoreResponse> {
        self.call("Restore", Needs::Administer, request, backup::restore)
            .await
    }
}
