//! How a file becomes typed tables. Steps: `document` keeps every value with its line; `table` hands out the values
//! of one table, checks each, and notes what nobody asked for; `report` gathers what was found, at its place.
//! Nothing here knows a table; the tables are in `crate::table`, the rules across tables in `crate::rule`.

mod document;
pub(crate) mod glob;
mod place;
mod report;
mod table;
pub(crate) mod url;
pub(crate) mod value;

pub(crate) use document::{Document, Node, Value, quoted};
pub(crate) use place::Place;
pub use report::Files;
pub(crate) use report::{Noted, Report, Show};
pub(crate) use table::TableReader;
pub(crate) use value::Wrong;
