//! The probes, a file each.

pub(crate) mod capabilities;
pub(crate) mod certificates;
pub(crate) mod control_plane;
pub(crate) mod egress;
pub(crate) mod leg;
pub(crate) mod logins;
pub(crate) mod mappings;
pub(crate) mod routing;
