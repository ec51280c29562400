//! A node is upgraded in place: the sockets go from one process to the next, and nobody notices (decisions 0027, 0028).

mod overlap;
mod passed;
mod under_load;
