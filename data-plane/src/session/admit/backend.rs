//! What belongs to a protocol on the way of a login: how its leg is made, how it is authenticated, how it ends. Admission calls
//! it when its steps say so, and knows nothing else of a protocol.

use mailswitch_admission::LastCheck;

use crate::route::Route;

/// What admission needs of a protocol's path to its backends.
pub trait Backend: Send {
    /// A connection to a backend.
    type Leg: Send + 'static;
    /// What the backend answered the credentials, for the client.
    type Reply: Send;
    /// Why a leg could not be made, or gave no usable answer.
    type Failure: Send;
    /// Until when a hold may take back what was sent.
    const LAST_CHECK: LastCheck = LastCheck::BeforeTelling;

    /// Makes a leg up to the point where credentials could be sent: connect, secure, greet, forward the client's
    /// identity. Retries and breaker are inside. Dropping the future gives the dial up and resets its connection.
    fn dial(&mut self, route: &Route) -> impl Future<Output = Result<Self::Leg, Self::Failure>> + Send;

    /// Replays the client's credentials. May be called again, on another leg: the client has heard nothing, and must
    /// not hear anything here. Dropping the future leaves the leg to be ended.
    fn authenticate(
        &mut self,
        leg: &mut Self::Leg,
    ) -> impl Future<Output = Authenticated<Self::Reply, Self::Failure>> + Send;

    /// What stands for the backend's OK where the last check is before the credentials.
    #[must_use]
    fn unanswered() -> Option<Self::Reply> {
        None
    }

    /// Half-closes a leg and reads until the backend's own end (Q2), discarding. Dropping the future resets the leg.
    fn end(leg: Self::Leg) -> impl Future<Output = ()> + Send + 'static;
}

/// What the backend made of the credentials.
#[derive(Debug)]
pub enum Authenticated<R, F> {
    /// It let the client in; its answer is to be relayed.
    Accepted(R),
    /// It did not; its answer is to be relayed.
    Refused(R),
    /// It fell silent, closed, or sent what is no answer.
    Unusable(F),
}
