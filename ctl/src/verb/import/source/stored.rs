//! The entries of Redis and of a database, as the proxy's own settings reach them: the store says who has an entry, and is
//! asked where each of them goes exactly as a login asks.

use mailswitch_config::node::Alone;
use mailswitch_config::table::mapping::{Redis, Sql};
use mailswitch_sources::StoreError;
use mailswitch_sources::list::{Goes, Listed, of_redis, of_sql};

use super::Entries;
use crate::exit::{Exit, Failure};
use crate::import::mappings::{At, Entry, Keys, LeftOut};
use crate::output::printable;

pub(super) async fn in_redis(table: &Redis, alone: &Alone) -> Result<Entries, Failure> {
    eprintln!(
        "listing the keys \"{}*\" of {}",
        printable(&table.key_prefix),
        table.url
    );
    let listed = of_redis(table, alone.mapping.lookup_timeout).await;
    let place = |written: &str| format!("key {}{written}", table.key_prefix);
    Ok(entries(
        &listed.map_err(unlisted)?,
        place,
        "Redis has nothing for",
    ))
}

pub(super) async fn in_sql(table: &Sql, alone: &Alone, given: Option<&str>) -> Result<Entries, Failure> {
    let Some(statement) = given.map(str::to_owned).or_else(|| listing(&table.query)) else {
        return Err(Failure::new(
            Exit::Precondition,
            "the mappings are in a database, and mapping.sql.query does not show how to list its logins",
        )
        .remedy(
            "give the statement that has every login in its first column: --list-query 'SELECT login FROM …'; \
             mapping.sql.query is asked for each of them",
        ));
    };
    eprintln!("listing the logins of {}: {}", table.url, printable(&statement));
    let normalization = &alone.fleet.normalization;
    let listed = of_sql(table, &statement, normalization, alone.mapping.lookup_timeout).await;
    let place = |written: &str| format!("row {written}");
    Ok(entries(
        &listed.map_err(unlisted)?,
        place,
        "mapping.sql.query finds nothing for",
    ))
}

fn entries(listed: &[Listed], place: impl Fn(&str) -> String, nothing: &str) -> Entries {
    let mut all = Entries {
        entries: Vec::new(),
        keys: Keys::Exact,
        left_out: Vec::new(),
    };
    for one in listed {
        let mut entry = Entry {
            written: one.login.clone(),
            destination: String::new(),
            at: At::Stored(place(&one.written)),
        };
        let why = match &one.goes {
            Goes::To(destination) => {
                entry.destination = destination.as_str().to_owned();
                all.entries.push(entry);
                continue;
            }
            Goes::Nowhere => format!("{nothing} {}", one.login),
            Goes::Unreadable(why) => why.clone(),
        };
        all.left_out.push(LeftOut {
            entry,
            why: format!("{why}, so it goes to the default destination today"),
        });
    }
    all
}

fn unlisted(error: StoreError) -> Failure {
    Failure::new(
        Exit::Precondition,
        format!("the mappings cannot be listed; nothing was done: {error}"),
    )
    .remedy("run it where the store can be reached; or write identifier<TAB>destination into a file, and give it with --mappings FILE")
}

/// The statement that lists what `query` finds, when that is a plain look into one table. Nothing is guessed: in any other
/// statement a row may be found in another way than by standing there.
fn listing(query: &str) -> Option<String> {
    let words: Vec<&str> = query.trim().trim_end_matches(';').split_whitespace().collect();
    let [select, found, from, table, r#where, key, "=", "$1" | "?" | "?1"] = words.as_slice() else {
        return None;
    };
    let keywords = [(select, "select"), (from, "from"), (r#where, "where")];
    let names = [found, table, key];
    (keywords
        .iter()
        .all(|(word, keyword)| word.eq_ignore_ascii_case(keyword))
        && names.iter().all(|name| is_a_name(name)))
    .then(|| format!("SELECT {key} FROM {table}"))
}

/// Of a column or a table, quoted or not, with or without its schema.
fn is_a_name(word: &str) -> bool {
    word.chars()
        .all(|char| char.is_alphanumeric() || matches!(char, '_' | '.' | '"' | '`' | '$'))
        && !word.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_look_into_one_table_can_be_listed() {
        for (query, statement) in [
            (
                "SELECT node FROM placement WHERE login = $1",
                "SELECT login FROM placement",
            ),
            (
                " select `node` from mail.placement\n where `login` = ? ;",
                "SELECT `login` FROM mail.placement",
            ),
            ("SELECT n FROM p WHERE \"Login\" = ?1", "SELECT \"Login\" FROM p"),
        ] {
            assert_eq!(listing(query).as_deref(), Some(statement));
        }
    }

    #[test]
    fn nothing_is_guessed_of_a_statement_that_does_more() {
        for query in [
            "SELECT node FROM placement WHERE lower(login) = $1",
            "SELECT node FROM placement WHERE login = $1 AND active",
            "SELECT coalesce(node, 'n1') FROM placement WHERE login = $1",
            "SELECT node FROM placement, site WHERE login = $1",
            "SELECT DISTINCT node FROM placement WHERE login = $1",
            "SELECT node FROM placement WHERE login LIKE $1",
            "SELECT route($1)",
            "",
        ] {
            assert_eq!(listing(query), None, "{query}");
        }
    }
}
