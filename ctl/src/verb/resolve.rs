//! `resolve LOGIN [--all-nodes]`: what would be done with a login now, by which rule, at which revision.

use mailswitch_proto::control::v1::{ResolveRequest, ResolveResponse};
use mailswitch_proto::fleet::v1::{Resolution, Rule};
use serde::Serialize;

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Grid, Render, filled, identity, or_dash};

/// `resolve LOGIN`
#[derive(Debug, clap::Args)]
pub struct ResolveArguments {
    /// As a client would present it.
    login: String,
    /// Ask every node. Exit 7 when one does not answer, or disagrees with the control plane.
    #[arg(long)]
    all_nodes: bool,
}

/// What one of them would do.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ResolutionView {
    identifier: String,
    destination: Option<String>,
    rule: &'static str,
    revision: u64,
    hold: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct NodeView {
    node: String,
    site: String,
    resolution: Option<ResolutionView>,
    error: Option<String>,
    /// It would do what the control plane would do.
    agrees: bool,
}

/// What all of them would do.
#[derive(Debug, Serialize)]
pub struct ResolveView {
    control_plane: Option<ResolutionView>,
    nodes: Vec<NodeView>,
}

impl ResolveArguments {
    pub(crate) fn login(&self) -> &str {
        &self.login
    }

    /// Prints it.
    ///
    /// # Errors
    /// The login cannot be an identifier, or the control plane does not answer.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let request = ResolveRequest {
            login: self.login,
            all_nodes: self.all_nodes,
        };
        let connection = context.connect().await?;
        let answer = connection
            .ask(async |mut control| control.resolve(request).await)
            .await?;
        let view = ResolveView::from(answer);
        context.output.print(&view)?;
        Ok(if view.nodes.iter().all(|node| node.agrees) {
            Exit::Done
        } else {
            Exit::Unproven
        })
    }
}

impl From<Resolution> for ResolutionView {
    fn from(resolution: Resolution) -> Self {
        Self {
            rule: rule_words(resolution.rule()),
            identifier: resolution.identifier,
            destination: filled(&resolution.destination),
            revision: resolution.revision,
            hold: identity(&resolution.hold),
            reason: filled(&resolution.reason),
        }
    }
}

impl From<ResolveResponse> for ResolveView {
    fn from(response: ResolveResponse) -> Self {
        let control_plane = response.control_plane.map(ResolutionView::from);
        let nodes = response
            .nodes
            .into_iter()
            .map(|node| {
                let resolution = node.resolution.map(ResolutionView::from);
                NodeView {
                    agrees: agree(resolution.as_ref(), control_plane.as_ref()),
                    node: node.node,
                    site: node.site,
                    resolution,
                    error: filled(&node.error),
                }
            })
            .collect();
        Self { control_plane, nodes }
    }
}

/// The revision may differ: a change elsewhere in the table does not concern this login.
fn agree(node: Option<&ResolutionView>, control_plane: Option<&ResolutionView>) -> bool {
    let of = |view: &ResolutionView| {
        (
            view.identifier.clone(),
            view.destination.clone(),
            view.rule,
            view.hold.clone(),
        )
    };
    node.map(of)
        .is_some_and(|node| Some(node) == control_plane.map(of))
}

/// A rule, as it is shown everywhere.
#[must_use]
pub const fn rule_words(rule: Rule) -> &'static str {
    match rule {
        Rule::Mapping => "mapping",
        Rule::Domain => "domain",
        Rule::Default => "default",
        Rule::Held => "held",
        Rule::Refused => "refused",
        Rule::Unspecified => "unknown",
    }
}

impl Render for ResolveView {
    fn table(&self) -> String {
        let mut grid = Grid::new([
            "WHERE",
            "SITE",
            "IDENTIFIER",
            "DESTINATION",
            "RULE",
            "REVISION",
            "REMARK",
        ])
        .numbers(&[5]);
        let mut add = |place: &str, site: &str, view: Option<&ResolutionView>, remark: String| {
            grid.row([
                place.to_owned(),
                site.to_owned(),
                view.map_or_else(|| "-".to_owned(), |view| or_dash(&filled(&view.identifier))),
                view.map_or_else(|| "-".to_owned(), |view| or_dash(&view.destination)),
                view.map_or("-", |view| view.rule).to_owned(),
                view.map_or_else(|| "-".to_owned(), |view| view.revision.to_string()),
                remark,
            ]);
        };
        let reason = |view: Option<&ResolutionView>| {
            view.and_then(|view| {
                view.reason
                    .clone()
                    .or_else(|| view.hold.as_ref().map(|hold| format!("hold {hold}")))
            })
        };
        let control_plane = self.control_plane.as_ref();
        add(
            "control plane",
            "-",
            control_plane,
            reason(control_plane).unwrap_or_default(),
        );
        for node in &self.nodes {
            let view = node.resolution.as_ref();
            let remarks = [
                node.error
                    .as_ref()
                    .map(|error| format!("did not answer: {error}")),
                (node.error.is_none() && !node.agrees).then(|| "disagrees".to_owned()),
                reason(view),
            ];
            let remark: Vec<_> = remarks.into_iter().flatten().collect();
            add(&node.node, &node.site, view, remark.join("; "));
        }
        grid.text()
    }
}
