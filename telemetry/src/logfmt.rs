//! Log lines as `key=value` pairs: `ts=… level=info target=… msg="…"`, the event's fields, then those of its spans
//! from the innermost outward. A value with a blank, a quotation mark, `=` or a control byte is quoted, so one event
//! is always one line, whatever a client sent.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// The line of an event.
pub(crate) struct Logfmt;

/// The fields of a span or an event.
pub(crate) struct LogfmtFields;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        line.write_str("ts=")?;
        SystemTime.format_time(&mut line)?;
        line.write_str(" level=")?;
        line.write_str(match *metadata.level() {
            tracing::Level::ERROR => "error",
            tracing::Level::WARN => "warn",
            tracing::Level::INFO => "info",
            tracing::Level::DEBUG => "debug",
            tracing::Level::TRACE => "trace",
        })?;
        write!(line, " target={}", metadata.target())?;
        let mut own = String::new();
        Pairs::record(&mut own, event);
        line.write_str(&own)?;
        for span in context.event_scope().into_iter().flatten() {
            let extensions = span.extensions();
            if let Some(fields) = extensions.get::<FormattedFields<N>>() {
                line.write_str(&fields.fields)?;
            }
        }
        line.write_char('\n')
    }
}

impl<'writer> FormatFields<'writer> for LogfmtFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = String::new();
        let mut pairs = Pairs(&mut text);
        fields.record(&mut pairs);
        writer.write_str(&text)
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        // Without the blank that the default would put between: each pair brings its own.
        let mut pairs = Pairs(&mut current.fields);
        fields.record(&mut pairs);
        Ok(())
    }
}

/// Writes ` key=value` for each field. Those that only steer OpenTelemetry are left out.
struct Pairs<'a>(&'a mut String);

impl Pairs<'_> {
    fn record(text: &mut String, event: &Event<'_>) {
        event.record(&mut Pairs(text));
    }

    fn pair(&mut self, field: &Field, value: &str) {
        let key = match field.name() {
            "message" => "msg",
            name if name.starts_with("otel.") => return,
            name => name.strip_prefix("r#").unwrap_or(name),
        };
        self.0.push(' ');
        self.0.push_str(key);
        self.0.push('=');
        push_value(self.0, value);
    }
}

impl Visit for Pairs<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.pair(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.pair(field, &format!("{value:?}"));
    }
}

fn push_value(text: &mut String, value: &str) {
    let plain = !value.is_empty()
        && !value.chars().any(|character| {
            character.is_whitespace() || character.is_control() || matches!(character, '"' | '=' | '\\')
        });
    if plain {
        text.push_str(value);
        return;
    }
    text.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => {
                text.push('\\');
                text.push(character);
            }
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            control if control.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines without the time.
    fn lines(work: impl FnOnce()) -> Vec<String> {
        let captured = Captured::default();
        let writer = captured.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .fmt_fields(LogfmtFields)
            .event_format(Logfmt)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .map(|line| {
                let (time, rest) = line.split_once(' ').unwrap();
                assert!(time.starts_with("ts=") && time.ends_with('Z'), "{time}");
                rest.to_owned()
            })
            .collect()
    }

    #[test]
    fn an_event_is_one_line_with_its_fields_and_those_of_its_spans() {
        let lines = lines(|| {
            let session =
                tracing::info_span!("session", session = "s-1", destination = tracing::field::Empty);
            session.record("destination", "new");
            session.in_scope(|| tracing::warn!(bytes = 7, "the backend is slow"));
        });
        assert_eq!(
            lines,
            [
                "level=warn target=mailswitch_telemetry::logfmt::tests msg=\"the backend is slow\" bytes=7 session=s-1 destination=new"
            ]
        );
    }

    #[test]
    fn what_a_client_sent_cannot_make_a_line_of_its_own() {
        let lines = lines(|| tracing::info!(helo = "a\r\nts=1 level=error \"x\"\u{1b}[2J", "hello"));
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].ends_with(r#"msg=hello helo="a\r\nts=1 level=error \"x\"\u001b[2J""#),
            "{}",
            lines[0]
        );
    }
}
