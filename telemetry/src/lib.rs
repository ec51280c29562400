//! Set-up of tracing, OTLP and /metrics, for all three programs.
