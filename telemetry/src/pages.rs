//! `/metrics`, `/readyz` and `/healthz` over plain HTTP, for a scraper and a supervisor on the same machine.
//!
//! `/readyz`: may clients be sent here? `/healthz`: does the process work? It turns 503 only when the process is
//! stopping. Nothing here needs a login, so nothing here may name a person.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use opentelemetry_prometheus::PrometheusExporter;
use opentelemetry_sdk::error::OTelSdkError;
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;

/// What the process says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Clients may come.
    Ready,
    /// Clients may come, and should: somebody has to know this, in a sentence.
    ReadyBut(String),
    /// It works, and clients should go elsewhere: why, in a sentence.
    NotReady(String),
    /// It was told to stop.
    Stopping,
}

/// The instruments of this process as a Prometheus page.
#[derive(Debug, Clone)]
pub struct Page(Registry);

impl Page {
    /// In Prometheus' text format.
    ///
    /// # Errors
    /// When two instruments contradict each other.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.0.gather())
    }
}

pub(crate) fn page_and_reader() -> Result<(Page, PrometheusExporter), OTelSdkError> {
    let registry = Registry::new();
    let reader = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(false)
        .build()?;
    Ok((Page(registry), reader))
}

/// The bound socket: binding is part of a program's start, and a failure there ends it.
#[derive(Debug)]
pub struct Pages(TcpListener);

impl Pages {
    /// Binds.
    ///
    /// # Errors
    /// As the operating system says.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        TcpListener::bind(address).await.map(Self)
    }

    /// On a socket that listens already.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn on(socket: std::net::TcpListener) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Self)
    }

    /// The socket itself.
    #[must_use]
    pub const fn socket(&self) -> &TcpListener {
        &self.0
    }

    /// Where it listens, for port 0.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until `stop` ends. `health` is asked at each request.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn serve(
        self,
        page: Page,
        health: impl Fn() -> Health + Send + Sync + 'static,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let state = Served {
            page,
            health: Arc::new(health),
        };
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/readyz", get(readyz))
            .route("/healthz", get(healthz))
            .with_state(state);
        axum::serve(self.0, router).with_graceful_shutdown(stop).await
    }
}

#[derive(Clone)]
struct Served {
    page: Page,
    health: Arc<dyn Fn() -> Health + Send + Sync>,
}

async fn metrics(State(served): State<Served>) -> Response {
    match served.page.render() {
        Ok(text) => (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn readyz(State(served): State<Served>) -> Response {
    match (served.health)() {
        Health::Ready => (StatusCode::OK, "ready\n".to_owned()),
        Health::ReadyBut(what) => (StatusCode::OK, format!("ready, but {what}\n")),
        Health::NotReady(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        Health::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
    }
    .into_response()
}

async fn healthz(State(served): State<Served>) -> Response {
    match (served.health)() {
        Health::Ready | Health::ReadyBut(_) | Health::NotReady(_) => (StatusCode::OK, "ok\n"),
        Health::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
    .into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry::KeyValue;
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_pages_show_the_instruments_and_the_health_of_the_process() {
        let (page, reader) = page_and_reader().unwrap();
        let meters = SdkMeterProvider::builder().with_reader(reader).build();
        let logins = meters.meter("test").u64_counter("mail.logins").build();
        logins.add(3, &[KeyValue::new("outcome", "accepted")]);
        let held = meters
            .meter("test")
            .f64_histogram("mail.hold.duration")
            .with_unit("s")
            .build();
        held.record(0.02, &[]);

        let health = Arc::new(Mutex::new(Health::NotReady("it has not synced".to_owned())));
        let asked = health.clone();
        let pages = Pages::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = pages.address().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(pages.serve(page, move || asked.lock().unwrap().clone(), async {
            let _ = stopped.await;
        }));

        let metrics = fetch(address, "/metrics").await;
        assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
        assert!(
            metrics.contains("mail_logins_total{outcome=\"accepted\"} 3"),
            "{metrics}"
        );
        assert!(
            metrics.contains("mail_hold_duration_seconds_count 1"),
            "{metrics}"
        );

        let status = |answer: String| answer[..12].to_owned();
        assert!(
            fetch(address, "/readyz")
                .await
                .contains("not ready: it has not synced")
        );
        assert_eq!(status(fetch(address, "/readyz").await), "HTTP/1.1 503");
        assert_eq!(status(fetch(address, "/healthz").await), "HTTP/1.1 200");
        *health.lock().unwrap() = Health::ReadyBut("somebody should look".to_owned());
        let answer = fetch(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("ready, but somebody should look\n"), "{answer}");
        *health.lock().unwrap() = Health::Ready;
        assert_eq!(status(fetch(address, "/readyz").await), "HTTP/1.1 200");
        *health.lock().unwrap() = Health::Stopping;
        assert_eq!(status(fetch(address, "/healthz").await), "HTTP/1.1 503");
        assert_eq!(status(fetch(address, "/other").await), "HTTP/1.1 404");

        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    }
}
