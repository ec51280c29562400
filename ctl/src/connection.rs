//! The control plane: one of the endpoints, and another when it is lost.
//!
//! A question that gets no answer fails. A change that gets no answer is asked for again, with the same idempotency
//! key, until it is answered or patience ends: then its outcome is unknown, and nothing else is claimed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mailswitch_proto::channel::{Credentials, CredentialsError, Link, connect};
use mailswitch_proto::control::v1::control_client::ControlClient;
use mailswitch_proto::control::v1::{ChangeContext, Problem};
use mailswitch_proto::trace_context;
use tokio::time::Instant;
use tonic::codegen::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::change::key_of;
use crate::exit::{Exit, Failure};
use crate::settings::Settings;

/// A generated client that sends the trace context.
pub type Control = ControlClient<InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>>;

/// One answer; streams and waits have none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a lost change is asked for again: a control plane restarts, or another replica takes over, in less.
const PATIENCE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The answer to `export`, and `status` of a large fleet.
const LARGEST_MESSAGE: usize = 64 * 1024 * 1024;

/// A request that can be repeated, and still has no good answer.
#[derive(Debug)]
pub enum Unanswered {
    /// The control plane said no.
    Refused(Failure),
    /// The control plane could not be reached, or an answer of it was lost; what it did is unknown.
    Lost(Failure),
}

/// A connection to the control plane.
#[derive(Clone)]
pub struct Connection {
    endpoints: Arc<[String]>,
    credentials: Credentials,
    link: Link,
    patience: Duration,
}

impl Connection {
    /// Connects to the first endpoint that takes us.
    ///
    /// # Errors
    /// None does, or the files cannot be used.
    pub async fn open(settings: &Settings) -> Result<Self, Failure> {
        let credentials = Credentials::load(settings.files.clone()).map_err(unusable)?;
        let link = connect_any(&settings.endpoints, &credentials).await?;
        Ok(Self {
            endpoints: settings.endpoints.clone().into(),
            credentials,
            link,
            patience: PATIENCE,
        })
    }

    /// A lost change is asked for again for this long.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The generated client, for streams.
    #[must_use]
    pub fn control(&self) -> Control {
        let propagate: fn(Request<()>) -> Result<Request<()>, Status> = trace_context::propagate;
        ControlClient::with_interceptor(self.link.channel(), propagate)
            .max_decoding_message_size(LARGEST_MESSAGE)
            .max_encoding_message_size(LARGEST_MESSAGE)
    }

    /// Asks; changes nothing.
    ///
    /// # Errors
    /// The control plane refuses, or does not answer.
    pub async fn ask<T, F, A>(&self, question: F) -> Result<T, Failure>
    where
        F: FnOnce(Control) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        answer_of(question(self.control()))
            .await
            .map_err(|status| self.refused(&status))
    }

    /// Asks for a change; `context` is the one that the request carries.
    ///
    /// # Errors
    /// The control plane refuses, or its answer is lost and stays so.
    pub async fn change<T, F, A>(&mut self, context: &ChangeContext, request: F) -> Result<T, Failure>
    where
        F: Fn(Control) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        if context.dry_run {
            return self.ask(request).await;
        }
        self.repeat(request).await.map_err(|unanswered| match unanswered {
            Unanswered::Refused(failure) => failure,
            Unanswered::Lost(last) => unknown(&last, context),
        })
    }

    /// Asks again and again, on every endpoint, for what can be done twice. Once an answer was lost, a later refusal says
    /// nothing about what that attempt did: the operation may be recorded, and go on (promise F3).
    ///
    /// # Errors
    /// It is refused, or patience ends.
    pub async fn repeat<T, F, A>(&mut self, request: F) -> Result<T, Unanswered>
    where
        F: Fn(Control) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let until = Instant::now() + self.patience;
        let mut pause = FIRST_PAUSE;
        let mut in_doubt = false;
        loop {
            let status = match answer_of(request(self.control())).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            if !is_lost(&status) {
                let failure = self.refused(&status);
                // A request that makes no sense made none the first time.
                return Err(match in_doubt && failure.exit != Exit::Usage {
                    true => Unanswered::Lost(failure),
                    false => Unanswered::Refused(failure),
                });
            }
            in_doubt |= may_have_arrived(&status);
            if Instant::now() + pause >= until {
                return Err(Unanswered::Lost(self.refused(&status)));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // Whether it succeeds shows when the request is sent again.
            let _ = self.reconnect().await;
        }
    }

    /// To any endpoint, this one last.
    ///
    /// # Errors
    /// None takes us; the old link stays.
    pub async fn reconnect(&mut self) -> Result<(), Failure> {
        let mut endpoints = self.endpoints.to_vec();
        if let Some(at) = endpoints
            .iter()
            .position(|endpoint| endpoint == self.link.endpoint())
        {
            endpoints.rotate_left(at + 1);
        }
        self.link = connect_any(&endpoints, &self.credentials).await?;
        Ok(())
    }

    /// A refusal as a failure of the command.
    #[must_use]
    pub fn refused(&self, status: &Status) -> Failure {
        if let Some(problem) = Problem::of_status(status) {
            return problem.into();
        }
        if let Some(unreachable) = self.link.explain(status) {
            return Failure::new(Exit::Precondition, unreachable.to_string());
        }
        if std::error::Error::source(status).is_some() {
            let lost = format!("the connection to {} was lost", self.link.endpoint());
            return Failure::new(Exit::Precondition, lost);
        }
        let what = match status.message() {
            "" => format!("the control plane answered {}", status.code()),
            message => message.to_owned(),
        };
        let exit = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
            Code::PermissionDenied | Code::Unauthenticated => Exit::NotAllowed,
            Code::Internal | Code::Unknown | Code::DataLoss => Exit::Unknown,
            _ => Exit::Precondition,
        };
        match status.code() {
            Code::Unimplemented => Failure::new(exit, "this control plane cannot do that")
                .remedy("it is older than this mailswitchctl: update it first"),
            _ => Failure::new(exit, what),
        }
    }
}

/// Whether the answer got lost on the way, so that nobody knows what was done.
#[must_use]
pub fn is_lost(status: &Status) -> bool {
    Problem::of_status(status).is_none()
        && (std::error::Error::source(status).is_some()
            || matches!(
                status.code(),
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
            ))
}

/// False when there was no connection that the request could have gone over.
fn may_have_arrived(status: &Status) -> bool {
    let mut chain = std::iter::successors(std::error::Error::source(status), |error| error.source());
    !chain.any(|error| error.is::<tonic::ConnectError>())
}

async fn answer_of<T>(answer: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(
            "the control plane did not answer in time",
        )),
    }
}

async fn connect_any(endpoints: &[String], credentials: &Credentials) -> Result<Link, Failure> {
    let mut reasons = Vec::new();
    for endpoint in endpoints {
        match connect(endpoint, credentials).await {
            Ok(link) => return Ok(link),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(Failure::new(Exit::Precondition, reasons.join("\n       ")))
}

fn unusable(error: CredentialsError) -> Failure {
    Failure::usage(error.to_string())
}

fn unknown(last: &Failure, context: &ChangeContext) -> Failure {
    Failure::new(
        Exit::Unknown,
        format!(
            "an answer of the control plane was lost, and the outcome is unknown: {}",
            last.what
        ),
    )
    .remedy(format!(
        "run the same command again with --idempotency-key {}: it is done once, or found done",
        key_of(context)
    ))
}
