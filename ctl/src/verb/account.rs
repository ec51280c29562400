//! `account …`: the accounts, each with the identifiers that move together.

use std::path::PathBuf;

use futures::TryStreamExt as _;
use mailswitch_proto::control::v1::{Account, AccountImportRequest, AccountListRequest, Armed};
use serde::{Deserialize, Serialize};

use super::Context;
use super::arm::{ArmArguments, Way};
use crate::change::ChangeArguments;
use crate::exit::{Exit, Failure};
use crate::operation::to_the_second;
use crate::output::{Grid, Render, filled, identity, or_dash, time};
use crate::rows::{self, Imported, ROWS_A_MESSAGE, Wrong};

/// `account …`
#[derive(Debug, clap::Subcommand)]
pub enum AccountVerb {
    /// Add accounts, or identifiers to accounts, in one revision.
    Import(ImportArguments),
    /// The accounts.
    List(ListArguments),
    /// Admit accounts only under a lease, until they are disarmed: then they can be moved although a node is cut off.
    Arm(ArmArguments),
    /// Admit accounts as any other again.
    Disarm(ArmArguments),
}

/// `account import`
#[derive(Debug, clap::Args)]
#[command(after_help = FORMAT)]
pub struct ImportArguments {
    /// One account a line; `#` begins a comment; `-` is stdin.
    file: PathBuf,
    /// Also when an identifier that has sessions would go elsewhere, without the proof of a cutover.
    #[arg(long)]
    unproven: bool,
    #[command(flatten)]
    change: ChangeArguments,
}

const FORMAT: &str = "\
Each line is one account, as JSON or as text, also mixed in one file:
  {\"name\": \"alice@example.org\", \"identifiers\": [\"alice\"], \"addresses\": [\"alice@example.org\"], \"group\": \"sales\"}
  alice@example.org<TAB>alice,a.smith@example.org<TAB>sales
The name is an identifier too. Identifiers, addresses and group may be absent.";

/// `account list`
#[derive(Debug, clap::Args)]
pub struct ListArguments {
    /// Only those that are there.
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Only those of this group.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Only the one that has this identifier.
    #[arg(long, value_name = "IDENTIFIER")]
    identifier: Option<String>,
    /// Only those that are armed.
    #[arg(long)]
    armed: bool,
}

impl AccountVerb {
    /// Does it.
    ///
    /// # Errors
    /// It is refused, or the control plane does not answer.
    pub async fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self {
            Self::Import(arguments) => context.output.print(&arguments.run(context).await?)?,
            Self::List(arguments) => context.output.print(&arguments.run(context).await?)?,
            Self::Arm(arguments) => context.output.print(&arguments.run(context, Way::Arm).await?)?,
            Self::Disarm(arguments) => context
                .output
                .print(&arguments.run(context, Way::Disarm).await?)?,
        }
        Ok(Exit::Done)
    }
}

impl ImportArguments {
    async fn run(self, context: &Context) -> Result<Imported, Failure> {
        let text = rows::text_of(&self.file)?;
        let parsed = rows::parse(&text, &self.file, parse_account);
        let change = parsed.change(self.change.context());
        let first = AccountImportRequest {
            change: Some(change.clone()),
            accounts: Vec::new(),
            unproven: self.unproven,
        };
        let rest = parsed
            .rows
            .chunks(ROWS_A_MESSAGE)
            .map(|accounts| AccountImportRequest {
                change: None,
                accounts: accounts.to_vec(),
                unproven: false,
            });
        let messages: Vec<_> = std::iter::once(first).chain(rest).collect();
        let answer = async {
            let mut connection = context.connect().await?;
            connection
                .change(&change, async |mut control| {
                    control.account_import(tokio_stream::iter(messages.clone())).await
                })
                .await
        };
        let answer = answer.await;
        parsed.conclude(answer)
    }
}

impl ListArguments {
    async fn run(self, context: &Context) -> Result<Accounts, Failure> {
        let request = AccountListRequest {
            destination: self.destination.unwrap_or_default(),
            group: self.group.unwrap_or_default(),
            identifier: self.identifier.unwrap_or_default(),
            armed: self.armed,
        };
        let connection = context.connect().await?;
        let pages = connection
            .ask(async |mut control| control.account_list(request).await)
            .await?;
        let accounts = pages
            .map_ok(|page| page.accounts.into_iter().map(AccountView::from))
            .try_fold(Vec::new(), async |mut accounts, page| {
                accounts.extend(page);
                Ok(accounts)
            })
            .await;
        Ok(Accounts {
            accounts: accounts.map_err(|status| connection.refused(&status))?,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonAccount {
    name: String,
    #[serde(default)]
    identifiers: Vec<String>,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    group: String,
}

/// A line of JSON, or `name<TAB>identifier,identifier<TAB>group`.
fn parse_account(line: &str) -> Result<Account, Wrong> {
    let account = if line.trim_start().starts_with('{') {
        serde_json::from_str(line).map_err(|error: serde_json::Error| Wrong {
            value: String::new(),
            // The file's line is said before it: this one is always 1.
            message: error.to_string().replace(" at line 1 column ", " at column "),
            remedy: "write {\"name\": …, \"identifiers\": […], \"addresses\": […], \"group\": …} in one line"
                .to_owned(),
        })?
    } else {
        text_account(line)?
    };
    if account.name.trim().is_empty() {
        return Err(Wrong {
            value: format!("{:?}", line.trim()),
            message: "the name is empty".to_owned(),
            remedy: "begin with the account's name, which is a login too".to_owned(),
        });
    }
    // The name is an identifier too, and stands first.
    let others = account
        .identifiers
        .into_iter()
        .filter(|identifier| *identifier != account.name);
    Ok(Account {
        id: Vec::new(),
        identifiers: std::iter::once(account.name.clone()).chain(others).collect(),
        name: account.name,
        addresses: account.addresses,
        group: account.group,
        destination: String::new(),
        armed: None,
    })
}

fn text_account(line: &str) -> Result<JsonAccount, Wrong> {
    let fields: Vec<_> = line.split('\t').map(str::trim).collect();
    let wrong = |message: String, remedy: &str| Wrong {
        value: format!("{:?}", line.trim()),
        message,
        remedy: remedy.to_owned(),
    };
    let (name, identifiers, group) = match fields.as_slice() {
        [name] => (*name, "", ""),
        [name, identifiers] => (*name, *identifiers, ""),
        [name, identifiers, group] => (*name, *identifiers, *group),
        _ => {
            return Err(wrong(
                format!("there are {} fields", fields.len()),
                "write name<TAB>identifier,identifier<TAB>group",
            ));
        }
    };
    if fields.iter().any(|field| field.contains(char::is_whitespace)) {
        return Err(wrong(
            "a field has spaces in it".to_owned(),
            "separate fields by tabs, identifiers by commas",
        ));
    }
    Ok(JsonAccount {
        name: name.to_owned(),
        identifiers: identifiers
            .split(',')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
        addresses: Vec::new(),
        group: group.to_owned(),
    })
}

/// One account.
#[derive(Debug, Serialize)]
pub struct AccountView {
    id: Option<String>,
    name: String,
    identifiers: Vec<String>,
    addresses: Vec<String>,
    group: Option<String>,
    /// None: its identifiers disagree.
    destination: Option<String>,
    /// None: it is not.
    armed: Option<ArmedView>,
}

/// Admitted only under a lease.
#[derive(Debug, Serialize)]
pub struct ArmedView {
    since: Option<String>,
    by: String,
    /// The cutover that it ends with; none: it was armed ahead.
    operation: Option<String>,
    /// Nodes that have not acknowledged it: a lapse of theirs cannot be counted.
    unacknowledged: Vec<String>,
}

impl From<Armed> for ArmedView {
    fn from(armed: Armed) -> Self {
        Self {
            since: i64::try_from(armed.since_unix_millis).ok().and_then(time),
            by: armed.by,
            operation: identity(&armed.operation),
            unacknowledged: armed.unacknowledged,
        }
    }
}

impl ArmedView {
    fn words(&self) -> String {
        let since = self.since.as_deref().map(to_the_second).unwrap_or_default();
        match self.unacknowledged.is_empty() {
            true => since,
            false => format!("{since}, not on {}", self.unacknowledged.join(", ")),
        }
    }
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            id: identity(&account.id),
            name: account.name,
            identifiers: account.identifiers,
            addresses: account.addresses,
            group: filled(&account.group),
            destination: filled(&account.destination),
            armed: account.armed.map(ArmedView::from),
        }
    }
}

/// Some accounts.
#[derive(Debug, Serialize)]
pub struct Accounts {
    /// In the order in which they came.
    pub accounts: Vec<AccountView>,
}

impl Render for Accounts {
    fn table(&self) -> String {
        let mut grid = Grid::new(["ACCOUNT", "DESTINATION", "GROUP", "ARMED SINCE", "ALSO KNOWN AS"]);
        for account in &self.accounts {
            let others: Vec<_> = account
                .identifiers
                .iter()
                .filter(|id| **id != account.name)
                .cloned()
                .collect();
            grid.row([
                account.name.clone(),
                account
                    .destination
                    .clone()
                    .unwrap_or_else(|| "disagree".to_owned()),
                or_dash(&account.group),
                or_dash(&account.armed.as_ref().map(ArmedView::words)),
                or_dash(&filled(&others.join(", "))),
            ]);
        }
        grid.text_or("there are no accounts")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_line_give_the_same_account() {
        let json = r#"{"name":"alice@example.org","identifiers":["alice"],"group":"sales"}"#;
        let text = "alice@example.org\talice\tsales";
        assert_eq!(parse_account(json), parse_account(text));
        let account = parse_account(text).unwrap();
        assert_eq!(account.identifiers, ["alice@example.org", "alice"]);
        assert_eq!(account.group, "sales");
    }

    #[test]
    fn a_line_that_is_neither_is_refused() {
        for wrong in [
            "{",
            r#"{"name":"a","nmae":"b"}"#,
            "a\tb\tc\td",
            "a b",
            "\tb",
            r#"{"name":" "}"#,
        ] {
            assert!(parse_account(wrong).is_err(), "{wrong:?}");
        }
        let cut = parse_account("{\"name\": \"bob\"").unwrap_err();
        assert!(
            cut.message.contains("at column") && !cut.message.contains("line 1"),
            "{cut:?}"
        );
    }
}
