//! The end-to-end tests. Each file is one subject; the rig that they use is the library beside them.

mod alone;
mod armed;
mod check;
mod configured;
mod crash;
mod cut_off;
mod cutover;
mod http;
mod importing;
mod joining;
mod lapse;
mod leave;
mod master;
mod moving_alone;
mod one_node;
mod real;
mod reloading;
mod restore;
mod rig;
mod routing;
mod sight;
mod slots;
mod stuck;
mod troubleshooting;
mod upgrade;
mod wire;
