//! The model of the promise (`docs/promise.md`): nodes, drivers, links, disks and a database in every order that the
//! bounds of a scope allow. It calls what the programs call: the steps of admission and those of a cutover.
//!
//! `world` is what is looked at; `session`, `node`, `control` and `doubt` say what each part does; `fleet` what can happen next,
//! and `happen` what follows; `truth` what must never be; `fault` what can be put in to see that the model would notice.

pub mod control;
mod doubt;
pub mod fault;
pub mod fleet;
mod happen;
pub mod node;
pub mod rules;
pub mod scope;
pub mod search;
pub mod session;
pub mod settle;
pub mod story;
pub mod table;
pub mod truth;
pub mod world;
