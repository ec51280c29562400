//! All that is wrong with what was asked, found in one run: the first hundred problems with the rows that they are
//! about, and how many there are. Bounded: a file of a million rows can be wrong in each.

use super::error::Detail;
use super::{Refusal, RefusalKind};

/// A refusal names so many of what is wrong.
const NAMED: usize = 100;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    first: Vec<Detail>,
    total: u64,
    invalid: u64,
}

/// Whose rows they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// How many rows there are.
    pub(super) rows: usize,
    /// What they are, in the plural.
    pub(super) what: &'static str,
}

impl Wrong {
    /// One thing that is wrong with the row at this index.
    pub(super) fn add(&mut self, row: usize, why: Refusal) {
        self.total += 1;
        if why.kind == RefusalKind::Invalid {
            self.invalid += 1;
        }
        if self.first.len() < NAMED {
            self.first.push(Detail {
                row: row as u64 + 1,
                what: why.what,
                remedy: why.remedy,
            });
        }
    }

    /// Refuses if anything is wrong. What is said of a single row that was asked for is said plainly.
    ///
    /// # Errors
    /// The refusal: that of what makes no sense, if anything does not.
    pub(super) fn refuse(mut self, asked: Asked, besides: Option<String>) -> Result<(), Refusal> {
        let invalid = self.invalid > 0;
        let kind = |what: String, remedy: String| match invalid {
            true => Refusal::invalid(what, remedy),
            false => Refusal::precondition(what, remedy),
        };
        self.first.sort_by_key(|detail| detail.row);
        let count = match self.total {
            0 => return Ok(()),
            1 if asked.rows == 1 => {
                let only = self.first.remove(0);
                return Err(kind(only.what, only.remedy));
            }
            1 => "one thing is".to_owned(),
            total => format!("{total} things are"),
        };
        let mut what = format!("{count} wrong with the {}", asked.what);
        if let Some(besides) = besides {
            what.push_str(&format!(" ({besides})"));
        }
        let remedy = "nothing was changed; correct them and try again".to_owned();
        Err(kind(what, remedy).with_details(self.first, self.total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked = Asked {
        rows: 1000,
        what: "mappings",
    };

    #[test]
    fn the_first_hundred_are_named_by_their_rows_and_all_are_counted() {
        let mut wrong = Wrong::default();
        for row in (0..500).rev() {
            wrong.add(row, Refusal::precondition("no", "otherwise"));
        }
        let refusal = wrong.refuse(ASKED, None).unwrap_err();
        assert_eq!(refusal.what, "500 things are wrong with the mappings");
        assert_eq!((refusal.details.len(), refusal.details_total), (100, 500));
        let rows: Vec<u64> = refusal.details.iter().map(|detail| detail.row).collect();
        assert!(rows.is_sorted(), "{rows:?}");
        assert_eq!(refusal.kind, RefusalKind::Precondition);
    }

    #[test]
    fn one_thing_that_makes_no_sense_makes_the_whole_invalid() {
        let mut wrong = Wrong::default();
        wrong.add(0, Refusal::precondition("no", "otherwise"));
        wrong.add(1, Refusal::invalid("what", "otherwise"));
        let refusal = wrong.refuse(ASKED, Some("2 move".to_owned())).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Invalid);
        assert_eq!(refusal.what, "2 things are wrong with the mappings (2 move)");
        assert!(Wrong::default().refuse(ASKED, None).is_ok());
    }
}
