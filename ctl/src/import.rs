//! `import FILE`, without its I/O: a single proxy's file becomes a node's file and the fleet's file, and the entries of
//! its mapping source become rows of the fleet.
//!
//! Nothing is lost silently: whatever does not stand in one of the two files, and whatever entry does not become a row,
//! is in the plan with the reason. And nothing routes otherwise than before without being named (`changes`).

pub mod changes;
pub mod mappings;
pub mod split;
pub mod view;

pub use self::changes::Change;
pub use self::mappings::{Entry, Sorted};
pub use self::split::{Link, Part, Split};
pub use self::view::Plan;
