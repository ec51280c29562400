//! What a client hears when it gets no bridge.

use crate::rig::{Backend, Differences, Talk, node};

/// A login that the backend answers with `answer`: the client reads `heard`, and both legs end.
async fn refused(destination: &str, answer: &str, heard: &str) {
    let backend = Backend::new().await;
    let differences = Differences {
        destination,
        ..Differences::default()
    };
    let node = node(backend.address, differences).await;
    let mut client = Talk::client(&node).await;
    client.say("a1 LOGIN alice wrong\r\na2 LOGIN bob guess\r\n").await;
    let mut server = backend.greeted().await;
    server.expect("a1 AUTHENTICATE PLAIN").await;
    server.say(answer).await;
    client.expect(heard).await;
    client.expect("* BYE").await;
    client.expect_end().await;
    // Half-closed: nothing of the client's second login came.
    server.expect_end().await;
}

#[tokio::test]
async fn a_refusal_is_relayed_and_both_legs_are_closed_so_that_nobody_signs_in_as_somebody_else() {
    let answer = "a1 NO [AUTHENTICATIONFAILED] unknown user alice\r\n";
    refused("", answer, answer).await;
}

#[tokio::test]
async fn hidden_errors_show_the_generic_words() {
    refused(
        "hide_auth_errors = true",
        "* NO it is alice\r\na1 NO [AUTHENTICATIONFAILED] unknown user alice\r\n",
        "a1 NO [AUTHENTICATIONFAILED] Authentication failed.",
    )
    .await;
}

#[tokio::test]
async fn a_temporary_answer_of_the_backend_is_relayed_also_where_errors_are_hidden() {
    let answer = "a1 NO [UNAVAILABLE] try later\r\n";
    refused("hide_auth_errors = true", answer, answer).await;
}
