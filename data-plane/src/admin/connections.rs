//! `POST /connections/kick` and `POST /connections/delay`: the sessions of an account (management API 3.6).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

use super::Api;
use super::answer::{Refusal, line};
use super::parameters::Parameters;
use crate::sessions::Which;

/// The longest delay: a day. Longer ones are a slip, and would hold an account's logins for ever.
const LONGEST_DELAY: u64 = 86_400;
/// How long the answer to a kick waits for the ends of what was kicked: longer than a backend may take to close.
const ENDS_WITHIN: Duration = Duration::from_secs(4);

/// Of those that were kicked, how many have not ended: `mailswitchctl cutover` proves nothing before there are none.
const STILL_OPEN: HeaderName = HeaderName::from_static("mailswitch-still-open");

/// Ends the sessions of an identifier, and lets its logins in progress resolve anew. Answered when all that has ended: what
/// follows in a script finds nobody on the side that was left.
pub(super) async fn kick(State(api): State<Arc<Api>>, parameters: Parameters) -> Result<Response, Refusal> {
    let identifier = api.identifier(&parameters)?;
    let sessions = api.node.knowledge.sessions();
    let which = Which {
        keys: vec![sessions.with_table(|table| table.key_of(&identifier))],
        ..Which::default()
    };
    let kicked = sessions.kick_to_the_end(&which, ENDS_WITHIN).await;
    tracing::info!(
        user = api.redacted(&identifier),
        sessions = kicked.signalled,
        open = kicked.open,
        "management API: sessions are kicked"
    );
    let mut answer = line(format_args!("kicked {}", kicked.signalled));
    answer
        .headers_mut()
        .insert(STILL_OPEN, HeaderValue::from(kicked.open));
    Ok(answer)
}

/// Holds the logins of an identifier that begin within the time; 0 lets them go on.
pub(super) async fn delay(State(api): State<Arc<Api>>, parameters: Parameters) -> Result<Response, Refusal> {
    let identifier = api.identifier(&parameters)?;
    let seconds = parameters.need("seconds")?;
    let seconds = seconds_of(&seconds)?;
    api.node
        .knowledge
        .sessions()
        .delay(&identifier, Duration::from_secs(seconds));
    tracing::info!(
        user = api.redacted(&identifier),
        seconds,
        "management API: logins are delayed"
    );
    Ok(line("ok"))
}

fn seconds_of(text: &str) -> Result<u64, Refusal> {
    // `parse` alone would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(seconds) if digits && seconds <= LONGEST_DELAY => Ok(seconds),
        _ => Err(Refusal::invalid(
            "seconds",
            format_args!("write a whole number from 0 to {LONGEST_DELAY}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_a_number_of_seconds_of_at_most_a_day() {
        for (text, seconds) in [("0", 0), ("90", 90), ("86400", 86_400), ("007", 7)] {
            assert_eq!(seconds_of(text), Ok(seconds));
        }
        for wrong in ["-1", "+1", "1.5", "1s", "86401", "18446744073709551616", " 1"] {
            assert!(seconds_of(wrong).is_err(), "{wrong}");
        }
    }
}
