//! `import FILE`: the file of a proxy that runs alone becomes a node's file and the fleet's, and its mappings become the
//! fleet's. What is planned is shown before anything is done; what would change a fleet that has something else is
//! refused. Doing it twice does it once.

mod fleet;
mod halves;
mod source;

use std::path::PathBuf;

use mailswitch_config::Source;
use mailswitch_config::node::Alone;
use mailswitch_proto::identifier::{Identifier, Normalization};

use super::Context;
use crate::change::ChangeArguments;
use crate::exit::{Exit, Failure};
use crate::import::changes::changes;
use crate::import::mappings::{Sorted, Worlds};
use crate::import::split::{Link, Split, split};
use crate::import::view::{FleetState, Plan};
use crate::rows::text_of;
use crate::settings::Settings;
use halves::Halves;
use source::{Entries, Instead};

/// `import FILE --node NAME`
#[derive(Debug, clap::Args)]
#[command(after_help = WHAT_IT_DOES)]
pub struct ImportArguments {
    /// The file of the proxy that runs alone.
    file: PathBuf,
    /// The name of the node that it becomes: the one in its certificate.
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Where the node stands.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Completes logins without a domain: alice is alice@DOMAIN.
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    bare_domain: Option<String>,
    /// Read the mappings here, not where the file says: lines `identifier<TAB>destination`; `-` is stdin.
    #[arg(long, value_name = "FILE")]
    mappings: Option<PathBuf>,
    /// The statement that lists the logins of a database, in its first column. Needed when it cannot be made of
    /// mapping.sql.query, which is then asked for each.
    #[arg(long, value_name = "SQL", conflicts_with = "mappings")]
    list_query: Option<String>,
    /// The folder for node-NAME.toml, fleet.toml and mappings.tsv.
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
    /// Overwrite them.
    #[arg(long)]
    replace: bool,
    /// Only write the files: the control plane is not asked, and gets nothing.
    #[arg(long)]
    files_only: bool,
    /// Where ca.pem, node-NAME.pem and node-NAME.key are on the node.
    #[arg(long, value_name = "DIR", default_value = "/etc/mailswitch/pki")]
    node_pki: String,
    /// The node's own directory.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/mailswitch/node")]
    state_dir: String,
    #[command(flatten)]
    change: ChangeArguments,
}

const WHAT_IT_DOES: &str = "\
It shows what goes where and what is different for whom, writes the two halves and the mappings, applies the fleet's
half, and imports the mappings. --dry-run only shows it. Nothing is done when two entries become one identifier with two
destinations, or when the fleet has something else already: exit 3. The proxy goes on as it is; docs/
migrating-from-a-single-proxy.md says how it becomes the node.";

impl ImportArguments {
    /// Does it.
    ///
    /// # Errors
    /// A file cannot be used or is there already, entries conflict, or the control plane refuses.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let text = text_of(&self.file)?;
        let name = self.file.display().to_string();
        let split = split(&text, &name, &self.link(context)?, self.bare_domain.as_deref())?;
        let Source::Alone(alone) = &split.before.source else {
            return Err(Failure::usage(format!(
                "{name} is not the file of a proxy that runs alone"
            )));
        };
        let sorted = self.sorted(alone).await?;
        let halves = Halves::new(&self.into, &self.node, &split, &sorted);
        let mut plan = self.plan(name, &split, alone, sorted, &halves);
        if plan.refused() > 0 {
            context.output.print(&plan)?;
            return Err(conflicts(plan.refused()));
        }
        if self.files_only {
            plan.files.written = self.write(&halves, &text)?;
            context.output.print(&plan)?;
            return Ok(Exit::Done);
        }
        let mut fleet = fleet::Fleet::ask(context, &halves).await?;
        plan.fleet = fleet.lacks();
        if let Some(refusal) = fleet.refusal() {
            context.output.print(&plan)?;
            return Err(refusal);
        }
        plan.files.written = self.write(&halves, &text)?;
        let done = match self.change.dry_run {
            true => Ok(()),
            false => fleet.take(&self.change.context(), &mut plan.fleet).await,
        };
        context.output.print(&plan)?;
        done.map(|()| Exit::Done)
    }

    fn link(&self, context: &Context) -> Result<Link, Failure> {
        Ok(Link {
            endpoints: Settings::endpoints(&context.connection)?,
            node: self.node.clone(),
            site: self.site.clone(),
            pki: self.node_pki.trim_end_matches('/').to_owned(),
            state_dir: self.state_dir.clone(),
        })
    }

    async fn sorted(&self, alone: &Alone) -> Result<Sorted, Failure> {
        let instead = Instead {
            mappings: self.mappings.as_deref(),
            list_query: self.list_query.as_deref(),
        };
        let entries = Entries::of(alone, instead).await?;
        let names = alone.fleet.destinations.keys();
        let worlds = Worlds {
            before: &alone.fleet.identifier_rules(),
            after: Normalization::Fleet {
                bare_domain: self
                    .bare_domain
                    .clone()
                    .or(alone.fleet.routing.bare_domain.clone()),
            },
            keys: entries.keys,
            declared: names.map(mailswitch_config::DestinationName::as_str).collect(),
            default: alone
                .fleet
                .routing
                .default_destination
                .as_ref()
                .map(mailswitch_config::DestinationName::as_str),
        };
        entries.sorted(&worlds)
    }

    fn plan(&self, file: String, split: &Split, alone: &Alone, sorted: Sorted, halves: &Halves) -> Plan {
        let has_admin = split.parts.iter().any(|part| part.what == "[admin]");
        Plan {
            file,
            files: halves.files(),
            parts: split.parts.clone(),
            warnings: split.warnings.iter().map(ToString::to_string).collect(),
            changes: changes(alone, self.bare_domain.as_deref(), has_admin, Some(&sorted)),
            mappings: Some(sorted),
            fleet: FleetState::default(),
        }
    }

    /// False: not with `--dry-run`.
    fn write(&self, halves: &Halves, original: &str) -> Result<bool, Failure> {
        if self.change.dry_run {
            return Ok(false);
        }
        halves.write(&self.file, original, self.replace)?;
        Ok(true)
    }
}

fn conflicts(count: usize) -> Failure {
    let what = match count {
        1 => "1 conflict; nothing was done".to_owned(),
        many => format!("{many} conflicts; nothing was done"),
    };
    Failure::new(Exit::Precondition, what)
        .remedy("correct the entries that are named above, and repeat the command")
}

/// In its normal form.
fn domain(text: &str) -> Result<String, String> {
    let none = Normalization::Fleet { bare_domain: None };
    let entry =
        Identifier::normalized(&format!("@{text}"), &none).map_err(|_| "this is no domain".to_owned())?;
    match text.contains('@') {
        true => Err("write the domain without @".to_owned()),
        false => Ok(entry.as_str().trim_start_matches('@').to_owned()),
    }
}
