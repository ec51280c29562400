//! The name of every span, metric and attribute that the programs use. `docs/telemetry.md` lists the same names, and a
//! test compares the two. Semantic conventions where they exist, `mail.*` for the rest. No name and no value of a
//! metric's attribute is ever chosen by a client.
//!
//! They are constants, so that a span can be made with them: `info_span!(name::span::DIAL, { name::DESTINATION } = …)`.

/// The instrumentation scope of all of them.
pub const SCOPE: &str = "mailswitch";

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        $($(#[$doc])* pub const $name: &str = $text;)+

        /// All of them.
        pub const ALL: &[&str] = &[$($text,)+];
    };
}

/// Spans.
pub mod span {
    names! {
        /// A client connection from its first byte until its bridge starts, or until it ends without one.
        SESSION = "session";
        /// HTTP: a request until the head of its answer.
        REQUEST = "request";
        /// The client's TLS handshake.
        CLIENT_TLS = "client tls";
        /// The dialogue until the login is read.
        DIALOGUE = "dialogue";
        /// Looking up where the account is.
        RESOLVE = "resolve";
        /// Waiting while the account is held; linked to the cutover that holds it.
        HOLD = "hold";
        /// Connecting to the destination, retries included.
        DIAL = "dial";
        /// The backend's TLS handshake.
        BACKEND_TLS = "backend tls";
        /// Replaying the login, until the backend's answer.
        REPLAY = "replay";
        /// The whole time of a bridge, made at its end and linked to its session.
        BRIDGE = "bridge";
        /// A node applies a revision; under the span of the commit.
        APPLY = "apply revision";
        /// A node ends the sessions of a held account, until it says that none is left; linked to each of them.
        QUIESCE = "quiesce";
        /// One verb of `mailswitchctl`: the root of an operator's trace.
        COMMAND = "command";
        /// One call of a program to another.
        CALL = "call";
        /// One step of a cutover, in the control plane.
        CUTOVER_STEP = "cutover step";
        /// One transaction that makes a revision.
        COMMIT = "commit";
    }
}

/// Metrics.
pub mod metric {
    names! {
        /// Sessions that are open now.
        SESSIONS = "mail.sessions";
        /// Logins by outcome.
        LOGINS = "mail.logins";
        /// From the login's last byte to its answer, holds not counted.
        LOGIN_DURATION = "mail.login.duration";
        /// How long logins waited on a hold.
        HOLD_WAIT = "mail.hold.wait";
        /// Logins that wait on a hold now.
        HOLD_WAITING = "mail.hold.waiting";
        /// Logins that asked the mappings of a node that runs alone.
        MAPPING_LOOKUPS = "mail.mapping.lookups";
        /// Answers that it keeps.
        MAPPING_ENTRIES = "mail.mapping.cache.entries";
        /// From connect to the end of the handshake.
        DIAL_DURATION = "mail.backend.dial.duration";
        /// 1 while a destination is marked down.
        BREAKER_OPEN = "mail.backend.breaker.open";
        /// Connections that a listener took.
        CONNECTIONS = "mail.connections";
        /// Connections that a listener closed at once because it was full.
        CONNECTIONS_REFUSED = "mail.connections.refused";
        /// The last second of a certificate, as seconds since 1970.
        CERTIFICATE_NOT_AFTER = "mail.tls.certificate.not_after";
        /// Bytes that were bridged.
        BRIDGE_IO = "mail.bridge.io";
        /// The revision that a node has applied, or that a control plane has committed.
        REVISION = "mail.revision";
        /// 1 while a node is connected to a control plane.
        CONNECTED = "mail.feed.connected";
        /// Armings in force on a node.
        ARMINGS = "mail.armings";
        /// 1 while a node's lease is live.
        LEASE_LIVE = "mail.lease.live";
        /// How long ago a node asked for the lease that it was granted last.
        LEASE_AGE = "mail.lease.age";
        /// Nodes that are connected to this replica now.
        NODES = "mail.nodes";
        /// Cutovers by outcome.
        CUTOVERS = "mail.cutovers";
        /// From the hold's commit to the flip's or the release's.
        CUTOVER_HOLD = "mail.cutover.hold";
        /// A writing transaction, until it is committed.
        COMMIT_DURATION = "mail.commit.duration";
    }
}

names! {
    /// `imap`, `submission`, …
    PROTOCOL = "mail.protocol";
    /// A destination's name.
    DESTINATION = "mail.destination";
    /// A listener's name.
    LISTENER = "mail.listener";
    /// The name of a certificate in the configuration.
    CERTIFICATE = "mail.certificate";
    /// `accepted`, `refused`, `temporary_failure`, `client_gone`; of cutovers `done`, `released`, `unproven`;
    /// of lookups `hit`, `miss`, `failed`.
    OUTCOME = "mail.outcome";
    /// `to_backend`, `to_client`.
    DIRECTION = "mail.direction";
    /// The session's id, as in both sides' logs.
    SESSION = "mail.session.id";
    /// The account, as a keyed hash.
    USER_HASH = "user.hash";
    /// Which rule decided: `mapping`, `domain`, `default`, `held`, `refused`.
    RULE = "mail.rule";
    /// The number of a committed change.
    REVISION = "mail.revision";
    /// A cutover's id.
    CUTOVER = "mail.cutover.id";
    /// A cutover's step.
    CUTOVER_STEP = "mail.cutover.step";
    /// The term of the replica that drives it.
    CUTOVER_TERM = "mail.cutover.term";
    /// A hold's id.
    HOLD = "mail.hold.id";
    /// A node's name.
    NODE = "mail.node";
    /// A node's site.
    SITE = "mail.site";
    /// A verb of `mailswitchctl`.
    VERB = "mail.verb";
    /// Why something failed: a short word of ours, or the error's kind.
    ERROR = "error.type";
    /// The client's address.
    CLIENT_ADDRESS = "client.address";
    /// The client's port.
    CLIENT_PORT = "client.port";
    /// The backend's name.
    SERVER_ADDRESS = "server.address";
    /// The backend's port.
    SERVER_PORT = "server.port";
    /// The address that was dialled.
    PEER_ADDRESS = "network.peer.address";
    /// `1.2`, `1.3`.
    TLS_VERSION = "tls.protocol.version";
    /// IANA's name of the suite.
    TLS_CIPHER = "tls.cipher";
    /// `GET`, `POST`, …; what is no known method is `_OTHER`.
    HTTP_METHOD = "http.request.method";
    /// What the client was answered.
    HTTP_STATUS = "http.response.status_code";
    /// Which `[[http.route]]` it was, counted from 0.
    HTTP_ROUTE = "http.route";
    /// The service and method that was called.
    RPC_METHOD = "rpc.method";
}
