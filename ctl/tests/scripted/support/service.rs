//! The service of the scripted control plane: cutovers and their hooks, and what is asked of nodes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use mailswitch_proto::control::v1::control_server::Control;
use mailswitch_proto::control::v1::*;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Script, at};

pub(super) struct Scripted(pub(super) Arc<Script>);

type Answers<T> = BoxStream<'static, Result<T, Status>>;
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'a>>;

impl Scripted {
    fn operation(&self) -> Operation {
        self.0.operation.borrow().clone()
    }
}

macro_rules! unscripted {
    ($($name:ident($request:ty) -> $response:ty;)*) => {
        $(
            fn $name<'a, 'b>(&'a self, _: Request<$request>) -> Answer<'b, $response>
            where
                'a: 'b,
                Self: 'b,
            {
                Box::pin(std::future::ready(Err(Status::unimplemented("not in the script"))))
            }
        )*
    };
}

#[tonic::async_trait]
impl Control for Scripted {
    type MappingListStream = Answers<MappingPage>;
    type AccountListStream = Answers<AccountPage>;
    type OperationWatchStream = Answers<Operation>;
    type AuditStream = Answers<AuditPage>;
    type BackupStream = Answers<Chunk>;

    async fn cutover_start(
        &self,
        request: Request<CutoverStartRequest>,
    ) -> Result<Response<Operation>, Status> {
        let traceparent = request
            .metadata()
            .get("traceparent")
            .map(|value| value.to_str().unwrap().to_owned());
        self.0.traceparents.lock().unwrap().push(traceparent);
        let request = request.into_inner();
        self.0.operation.send_modify(|operation| {
            (operation.has_copy, operation.has_verify) = (request.has_copy, request.has_verify);
        });
        self.0.started.lock().unwrap().push(request);
        let mut lost = self.0.lost_answers.lock().unwrap();
        if *lost > 0 {
            *lost -= 1;
            return Err(Status::unavailable("shutting down"));
        }
        if let Some(problem) = self.0.refusal.lock().unwrap().clone() {
            return Err(problem.into());
        }
        Ok(Response::new(self.operation()))
    }

    async fn operation_get(&self, _: Request<OperationRef>) -> Result<Response<Operation>, Status> {
        Ok(Response::new(self.operation()))
    }

    async fn operation_watch(
        &self,
        _: Request<OperationRef>,
    ) -> Result<Response<Self::OperationWatchStream>, Status> {
        let states = WatchStream::new(self.0.operation.subscribe()).map(Ok);
        let mut short = self.0.short_watches.lock().unwrap();
        Ok(Response::new(if *short > 0 {
            *short -= 1;
            states.take(1).boxed()
        } else {
            states.boxed()
        }))
    }

    async fn operation_abort(
        &self,
        _: Request<OperationAbortRequest>,
    ) -> Result<Response<Operation>, Status> {
        let aborted = at(self.operation(), Step::Aborted, Outcome::Released);
        self.0.operation.send_replace(aborted);
        Ok(Response::new(self.operation()))
    }

    async fn hook_renew(&self, request: Request<HookRenewRequest>) -> Result<Response<HookLease>, Status> {
        self.0.renewed.lock().unwrap().push(request.into_inner());
        let lease = *self.0.lease.lock().unwrap();
        match lease {
            Some(lease) => Ok(Response::new(lease)),
            None => std::future::pending().await,
        }
    }

    async fn hook_finish(&self, request: Request<HookFinishRequest>) -> Result<Response<Operation>, Status> {
        let finished = request.into_inner();
        let next = self.0.after_copy.lock().unwrap().clone();
        let next = match (finished.succeeded, next) {
            (true, Some(next)) => next,
            (true, None) => at(self.operation(), Step::Done, Outcome::Done),
            (false, _) => at(self.operation(), Step::Aborted, Outcome::Released),
        };
        self.0.finished.lock().unwrap().push(finished);
        self.0.operation.send_replace(next);
        Ok(Response::new(self.operation()))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(self.0.status.lock().unwrap().clone()))
    }

    async fn mapping_import(
        &self,
        request: Request<Streaming<MappingImportRequest>>,
    ) -> Result<Response<ImportResponse>, Status> {
        let mut requests = request.into_inner();
        while let Some(request) = requests.message().await? {
            self.0.imported.lock().unwrap().push(request);
        }
        match self.0.refusal.lock().unwrap().clone() {
            Some(problem) => Err(problem.into()),
            None => Ok(Response::new(ImportResponse::default())),
        }
    }

    async fn node_drain(
        &self,
        request: Request<NodeDrainRequest>,
    ) -> Result<Response<NodeDrainResponse>, Status> {
        self.0.drained.lock().unwrap().push(request.into_inner());
        let mut answers = self.0.drains.lock().unwrap();
        let answer = match answers.len() {
            0 => Ok(0),
            1 => answers[0].clone(),
            _ => answers.remove(0),
        };
        match answer {
            Ok(sessions) => Ok(Response::new(NodeDrainResponse { sessions })),
            Err(problem) => Err(problem.into()),
        }
    }

    async fn session_list(
        &self,
        _: Request<SessionListRequest>,
    ) -> Result<Response<SessionListResponse>, Status> {
        let nodes = self.0.sessions.lock().unwrap().clone();
        Ok(Response::new(SessionListResponse { nodes }))
    }

    async fn session_kick(
        &self,
        _: Request<SessionKickRequest>,
    ) -> Result<Response<SessionKickResponse>, Status> {
        if let Some(problem) = self.0.refusal.lock().unwrap().clone() {
            return Err(problem.into());
        }
        let nodes = self.0.kicks.lock().unwrap().clone();
        Ok(Response::new(SessionKickResponse { nodes }))
    }

    unscripted! {
        apply(ApplyRequest) -> ApplyResponse;
        diff(DiffRequest) -> DiffResponse;
        export(ExportRequest) -> ExportResponse;
        mapping_get(MappingGetRequest) -> MappingGetResponse;
        mapping_set(MappingSetRequest) -> Committed;
        mapping_unset(MappingUnsetRequest) -> Committed;
        mapping_list(MappingListRequest) -> Self::MappingListStream;
        account_list(AccountListRequest) -> Self::AccountListStream;
        account_import(Streaming<AccountImportRequest>) -> ImportResponse;
        resolve(ResolveRequest) -> ResolveResponse;
        rollback_start(RollbackStartRequest) -> Operation;
        operation_list(OperationListRequest) -> OperationListResponse;
        node_fence(NodeFenceRequest) -> NodeFenceResponse;
        node_forget(NodeForgetRequest) -> Committed;
        account_arm(Streaming<AccountArmRequest>) -> AccountArmResponse;
        breaker_reset(BreakerResetRequest) -> BreakerResetResponse;
        audit(AuditRequest) -> Self::AuditStream;
        backup(BackupRequest) -> Self::BackupStream;
        restore(Streaming<RestoreRequest>) -> RestoreResponse;
    }
}
