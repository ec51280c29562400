//! Keys that nobody knows: a warning in a proxy's file, and an error in what is applied to a fleet. They become comments.

use mailswitch_config::FleetFile;
use mailswitch_config::fleet::ReportedListener;
use toml_edit::{DocumentMut, Item};

use super::{Part, unusable, with_head};
use crate::exit::Failure;

/// The fleet's half as text, without them.
pub(super) fn without_unknown_keys(
    mut document: DocumentMut,
    file: &str,
    listeners: &[ReportedListener],
    parts: &mut Vec<Part>,
) -> Result<String, Failure> {
    let name = format!("the fleet's half of {file}");
    let mut comments = String::new();
    let text = |document: &DocumentMut, comments: &str| {
        let head = format!("# The fleet's half of {file}: apply it with mailswitchctl apply -f.\n{comments}");
        with_head(document, &head)
    };
    let unknown = match FleetFile::parse(&document.to_string(), &name, listeners) {
        Ok(_) => return Ok(text(&document, "")),
        Err(findings) => findings,
    };
    for finding in unknown
        .iter()
        .filter(|finding| finding.message.ends_with(" is unknown"))
    {
        // Without its value, which may be a secret under a misspelt name.
        if remove(document.as_item_mut(), &path_of(&finding.key)) {
            comments += &format!("# Left out, because nobody knows it: {}\n", finding.key);
            parts.push(Part {
                what: finding.key.clone(),
                line: None,
                to: None,
                note: "this key is unknown, and had no effect".to_owned(),
            });
        }
    }
    let fleet = text(&document, &comments);
    FleetFile::parse(&fleet, &name, listeners).map_err(|findings| unusable(&name, &findings))?;
    Ok(fleet)
}

/// One step of a key path.
enum Step {
    Key(String),
    Index(usize),
}

/// `http.route[0].metch`, and `destination."old one".prot`.
fn path_of(key: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for simple in toml_edit::Key::parse(&key.replace('[', ".").replace(']', "")).unwrap_or_default() {
        let text = simple.get();
        // Only what stood between brackets is an index: tables with numbers for names are tried as keys first.
        steps.push(match text.parse() {
            Ok(index) if key.contains(&format!("[{text}]")) => Step::Index(index),
            _ => Step::Key(text.to_owned()),
        });
    }
    steps
}

/// Takes a value out; false when there is none.
fn remove(item: &mut Item, path: &[Step]) -> bool {
    let Some((step, rest)) = path.split_first() else {
        return false;
    };
    let below = match step {
        Step::Index(index) => item.get_mut(*index),
        Step::Key(key) => match item.as_table_like_mut() {
            Some(table) if rest.is_empty() => return table.remove(key).is_some(),
            Some(table) => table.get_mut(key),
            None => None,
        },
    };
    below.is_some_and(|below| remove(below, rest))
}
