//! A real OpenTelemetry collector (rotel), and the spans and metrics that it received.

use std::{net::SocketAddr, process::Command, time::Duration};

use anyhow::Result;

use crate::{dovecot::listens, place::Place, process::Process, tools};

pub struct Collector {
    process: Process,
    /// Where OTLP over gRPC goes.
    pub address: SocketAddr,
}

/// A span as the collector printed it.
#[derive(Debug, Clone, Default)]
pub struct Span {
    pub service: String,
    pub trace: String,
    pub id: String,
    /// Empty for the root of a trace.
    pub parent: String,
    pub name: String,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
    /// "key: Str(value)", as printed.
    pub attributes: Vec<String>,
}

impl Collector {
    pub fn start(place: &Place) -> Result<Self> {
        let program = tools::path("rotel-agent")?;
        let (grpc, http) = (place.port(place.server())?, place.port(place.server())?);
        let mut command = Command::new(program);
        command
            .arg("start")
            .args([
                "--otlp-grpc-endpoint",
                &grpc.to_string(),
                "--otlp-http-endpoint",
                &http.to_string(),
            ])
            .args([
                "--exporter",
                "blackhole",
                "--debug-log",
                "traces",
                "--debug-log",
                "metrics",
            ])
            .args(["--debug-log-verbosity", "detailed", "--pid-file"])
            .arg(place.path().join("collector.pid"))
            .arg("--log-file")
            .arg(place.path().join("collector.log"));
        let mut process = Process::start("collector", command, &place.path().join("collector.out"))?;
        process.wait_ready(Duration::from_secs(20), || listens(grpc))?;
        Ok(Self {
            process,
            address: grpc,
        })
    }

    /// Everything that it printed.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        parse_spans(&self.output())
    }
}

fn parse_spans(text: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut service = String::new();
    let (mut in_span, mut in_links, mut in_attributes) = (false, false, false);
    for line in text.lines() {
        let line = line.trim();
        if let Some((_, rest)) = line.split_once("-> service.name: Str(") {
            service = rest.trim_end_matches(')').to_owned();
        } else if line.starts_with("ResourceSpans #") || line.starts_with("ResourceMetrics #") {
            (in_span, in_links, in_attributes) = (false, false, false);
        } else if line.starts_with("Span #") {
            (in_span, in_links, in_attributes) = (true, false, false);
            spans.push(Span {
                service: service.clone(),
                ..Span::default()
            });
        }
        let Some(span) = spans.last_mut().filter(|_| in_span) else {
            continue;
        };
        if line == "Attributes:" && !in_links {
            in_attributes = true;
        } else if line == "Links:" || line == "Events:" {
            (in_links, in_attributes) = (line == "Links:", false);
        } else if let Some(id) = line.strip_prefix("-> Trace ID: ") {
            span.links.push((id.to_owned(), String::new()));
        } else if let Some(id) = line.strip_prefix("-> ID: ") {
            if let Some(link) = span.links.last_mut() {
                id.clone_into(&mut link.1);
            }
        } else if let Some(attribute) = line.strip_prefix("-> ").filter(|_| in_attributes) {
            span.attributes.push(attribute.to_owned());
        } else if let Some((key, value)) = line.split_once(':').filter(|_| !in_links && !in_attributes) {
            let value = value.trim().to_owned();
            match key.trim() {
                "Trace ID" => span.trace = value,
                "Parent ID" => span.parent = value,
                "ID" => span.id = value,
                "Name" => span.name = value,
                _ => {}
            }
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_its_parent_and_its_links_are_read() {
        let text = "ResourceSpans #0\nResource attributes:\n     -> service.name: Str(x)\nScopeSpans #0\nSpan #0\n    \
                    Trace ID       : aa\n    Parent ID      : bb\n    ID             : cc\n    Name           : cutover\n\
                    Attributes:\n     -> a: Int(3)\nLinks:\nSpanLink #0\n     -> Trace ID: dd\n     -> ID: ee\n\
                    ResourceMetrics #0\nName: other\n";
        let spans = parse_spans(text);
        assert_eq!(spans.len(), 1);
        let span = &spans[0];
        assert_eq!(
            (span.service.as_str(), span.trace.as_str(), span.parent.as_str()),
            ("x", "aa", "bb")
        );
        assert_eq!((span.id.as_str(), span.name.as_str()), ("cc", "cutover"));
        assert_eq!(span.links, [("dd".to_owned(), "ee".to_owned())]);
        assert_eq!(span.attributes, ["a: Int(3)"]);
    }
}
