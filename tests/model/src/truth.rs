//! The properties: what the promise says, of the backends' truth and of what was told.

use stateright::Property;

use crate::fleet::Fleet;
use crate::settle;
use crate::world::{Dest, World};

/// After success nobody is on the source.
pub const CLEARED: &str = "no session on the source after success";
/// Never on two destinations at once.
pub const ONE_SIDE: &str = "never on two destinations at once";
/// What is told is what happened.
pub const NO_LIE: &str = "no lie in the outcome";
/// Only a verification of this hold counts.
pub const VERIFIED: &str = "only what was verified under its hold is moved";
/// Whatever happened, everything can still come to its end.
pub const ENDS: &str = "every held account is released or moved, and nobody waits for ever";
/// Also when no node is ever heard again.
pub const ENDS_ALONE: &str = "a hold can be released without any node";

/// All of them.
#[must_use]
pub fn properties(fleet: &Fleet) -> Vec<Property<Fleet>> {
    let always = Property::<Fleet>::always;
    let mut properties = vec![
        always(CLEARED, |_, world: &World| {
            world.truth.cleared.is_none_or(|source| !on(world, source))
        }),
        always(ONE_SIDE, |_, world: &World| {
            !(on(world, Dest::Old) && on(world, Dest::New))
        }),
        always(NO_LIE, |_, world: &World| !world.truth.lied),
        always(VERIFIED, |_, world: &World| {
            !(world.truth.unverified && world.truth.flipped)
        }),
        always(ENDS, |fleet, world: &World| {
            settle::ends(fleet, world, settle::With::Everybody)
        }),
        always(ENDS_ALONE, |fleet, world: &World| {
            settle::ends(fleet, world, settle::With::Drivers)
        }),
        Property::sometimes("an account moves", |_, world: &World| {
            world.truth.cleared == Some(Dest::Old)
        }),
        Property::sometimes("somebody is on the new server", |_, world: &World| {
            on(world, Dest::New)
        }),
    ];
    if fleet.scope.lease > 0 {
        properties.push(Property::sometimes(
            "an account moves past a silent node",
            |_, world: &World| world.truth.past_silence,
        ));
    }
    properties
}

/// Whether a backend has a leg of the account, be it open or half-closed.
fn on(world: &World, dest: Dest) -> bool {
    world.nodes.iter().any(|node| node.legs().any(|on| on == dest))
}
