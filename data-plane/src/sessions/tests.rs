//! The registry: what a hold finds, who waits and for how long, and what blocks.

mod world;

mod armed;
mod holds;
mod waiting;
