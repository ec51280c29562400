//! The sans-io mail dialogues and SASL. No runtime, no TLS, no sockets.
