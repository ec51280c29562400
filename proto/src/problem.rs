//! A refusal that says what happened and what to do, in the details of a gRPC status.
//!
//! The details are a `google.rpc.Status` with the `Problem` as an `Any`, the form that gRPC tools know how to show.
//! One side writes with [`Problem::into_status`], the other reads with [`Problem::of_status`]; nothing else knows it.

use prost::Message as _;
use tonic::{Code, Status};

use crate::control::v1::problem::Kind;
use crate::control::v1::{Finding, Problem};

const TYPE_URL: &str = "type.googleapis.com/mailswitch.control.v1.Problem";

/// So many findings travel with a problem; their number is said.
pub const FINDINGS: usize = 100;

/// And so many bytes: the details of a status are a header, which the other side reads up to
/// [`crate::channel::HEADERS`], in base64.
const BYTES: usize = 128 * 1024;

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

impl Problem {
    /// What happened to what, and what to do.
    #[must_use]
    pub fn new(kind: Kind, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            what: what.into(),
            remedy: remedy.into(),
            nodes: Vec::new(),
            findings: Vec::new(),
            passing: false,
            findings_total: 0,
        }
    }

    /// The same request may succeed in a moment, and does no harm when it is repeated: a node is between two streams.
    #[must_use]
    pub fn passing(mut self) -> Self {
        self.passing = true;
        self
    }

    /// With the nodes that it is about.
    #[must_use]
    pub fn on_nodes(mut self, nodes: impl IntoIterator<Item = String>) -> Self {
        self.nodes = nodes.into_iter().collect();
        self
    }

    /// With what is wrong with each part of what was given.
    #[must_use]
    pub fn with_findings(mut self, findings: Vec<Finding>) -> Self {
        self.findings_total = findings.len() as u64;
        self.findings = findings;
        self
    }

    /// With how many findings there are, when not all of them were given.
    #[must_use]
    pub fn of_findings(mut self, total: u64) -> Self {
        self.findings_total = total;
        self
    }

    /// As a refusal. Of many findings, the first are said, and their number.
    #[must_use]
    pub fn into_status(mut self) -> Status {
        self.findings.truncate(FINDINGS);
        while self.encoded_len() > BYTES && self.findings.pop().is_some() {}
        let code = match self.kind() {
            Kind::Unspecified => Code::Unknown,
            Kind::Invalid => Code::InvalidArgument,
            Kind::Precondition => Code::FailedPrecondition,
            Kind::Unproven => Code::Aborted,
            Kind::NotAllowed => Code::PermissionDenied,
            Kind::Unavailable => Code::Unavailable,
        };
        let message = self.what.clone();
        let details = RpcStatus {
            code: code.into(),
            message: message.clone(),
            details: vec![prost_types::Any {
                type_url: TYPE_URL.to_owned(),
                value: self.encode_to_vec(),
            }],
        };
        Status::with_details(code, message, details.encode_to_vec().into())
    }

    /// From a refusal; `None` when it carries none.
    #[must_use]
    pub fn of_status(status: &Status) -> Option<Self> {
        let details = RpcStatus::decode(status.details()).ok()?;
        let any = details.details.into_iter().find(|any| any.type_url == TYPE_URL)?;
        Self::decode(any.value.as_slice()).ok()
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        problem.into_status()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_survives_the_status() {
        let problem = Problem::new(Kind::Unproven, "alice is still held", "start fra-2, or forget it")
            .on_nodes(["fra-2".to_owned()]);
        let status = Status::from(problem.clone());
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(status.message(), "alice is still held");
        assert_eq!(Problem::of_status(&status), Some(problem));
    }

    #[test]
    fn of_many_findings_the_first_are_said_and_their_number() {
        let finding = |message: String| Finding {
            message,
            ..Finding::default()
        };
        let many = (0..1000).map(|number| finding(number.to_string())).collect();
        let status = Problem::new(Kind::Invalid, "x", "y")
            .with_findings(many)
            .into_status();
        let said = Problem::of_status(&status).unwrap();
        assert_eq!((said.findings.len(), said.findings_total), (FINDINGS, 1000));
        assert_eq!(said.findings[99].message, "99");
        let long = (0..10).map(|_| finding("x".repeat(BYTES / 4))).collect();
        let status = Problem::new(Kind::Invalid, "x", "y")
            .with_findings(long)
            .into_status();
        let said = Problem::of_status(&status).unwrap();
        assert_eq!((said.findings.len(), said.findings_total), (3, 10));
    }

    #[test]
    fn a_status_of_somebody_else_carries_none() {
        assert_eq!(Problem::of_status(&Status::unavailable("gone")), None);
        assert_eq!(
            Problem::of_status(&Status::with_details(Code::Internal, "x", vec![0xff, 1].into())),
            None
        );
    }
}
