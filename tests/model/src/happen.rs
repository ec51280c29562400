//! What follows from each act.

use mailswitch_admission::{Answer, Event, LastCheck};
use mailswitch_control_plane::cutover::operation::Hook;

use crate::fault::Fault;
use crate::fleet::{Act, Fleet};
use crate::scope::{Arming, Logins, Verified, Welcome};
use crate::table::Table;
use crate::world::{Dest, Driver, Link, Serving, World};

impl Fleet {
    /// An act happens.
    pub(crate) fn happens(&self, world: &mut World, act: Act) {
        let fault = self.fault;
        let spend = |left: &mut u8| *left -= 1;
        match act {
            Act::Login(n) => {
                let http = n == 1;
                let last = if http {
                    LastCheck::BeforeCredentials
                } else {
                    LastCheck::BeforeTelling
                };
                world.nodes[n].login(last, fault);
                if self.scope.logins == Logins::AtOnce {
                    world.nodes[n].goes_on(fault);
                }
            }
            Act::Look(n) => world.nodes[n].looks(fault),
            Act::Dialled(n) => world.nodes[n].happens(Event::Dialled, fault),
            Act::Answered(n) => world.nodes[n].happens(Event::BackendAnswered(Answer::Accepted), fault),
            Act::Recalled(n) => world.nodes[n].happens(Event::Recalled, fault),
            Act::BridgeEnds(n) => world.nodes[n].happens(Event::BridgeEnded, fault),
            Act::HoldEnded(n) => world.nodes[n].happens(Event::HoldEnded, fault),
            Act::WaitedTooLong(n) => world.nodes[n].happens(Event::WaitedTooLong, fault),
            Act::BackendEnds(n) => match world.nodes[n].lingering.take() {
                Some(_) => {}
                None => world.nodes[n].happens(Event::LegOver, fault),
            },
            Act::DialFails(n) => self.mishap(world, n, Event::DialFailed),
            Act::LegStuck(n) => self.mishap(world, n, Event::LegStuck),
            Act::ClientGoes(n) => self.mishap(world, n, Event::ClientGone),

            Act::Deliver(n) => {
                if let Some(entry) = world.db.log.after(world.nodes[n].table.revision) {
                    world.nodes[n].applies(entry, fault);
                }
            }
            Act::SayQuiesced(n) => {
                let node = &mut world.nodes[n];
                if fault != Some(Fault::AcknowledgeBeforeSync) {
                    node.disk = node.table;
                }
                world.words.quiesced.add(node.table.hold, n, node.instance);
            }
            Act::HearQuiesced(hold, n, instance) => world.hears_quiesced(hold, n, instance, fault),
            Act::Cut(n) => world.nodes[n].is_cut(),
            Act::Hello(n) => {
                world.hears_hello(n, fault);
                if self.scope.welcome == Welcome::AtOnce {
                    self.welcome(world, n);
                }
            }
            Act::Welcome(n) => self.welcome(world, n),
            Act::OldSnapshot(n, revision) => {
                let node = &mut world.nodes[n];
                node.link = Link::Up;
                node.serving = Serving::Yes;
                node.adopts(world.db.log.at(revision), fault);
            }
            Act::Restart(n, revision) => {
                spend(&mut world.left.crashes);
                let node = &world.nodes[n];
                let on = if revision == node.table.revision {
                    node.table
                } else if revision == node.disk.revision {
                    node.disk
                } else {
                    world.db.log.at(revision)
                };
                world.nodes[n].restarts(on);
            }

            Act::Ask(n) => {
                let lease = self.lease();
                world.nodes[n].asks(lease);
            }
            Act::Grant(n) => {
                if let Some(asked) = &mut world.nodes[n].asked {
                    asked.granted = true;
                }
            }
            Act::Granted(n) => {
                let lease = self.lease();
                world.nodes[n].is_granted(lease, fault);
            }
            Act::SayArmed(n) => {
                let node = &mut world.nodes[n];
                node.disk = node.table;
                world.words.armed.add(node.table.arming, n, node.instance);
            }
            Act::HearArmed(arming, n, instance) => world.hears_armed(arming, n, instance, fault),
            Act::Tick => {
                for driver in &mut world.drivers {
                    if let Some((_, left)) = &mut driver.saw {
                        *left = left.saturating_sub(1);
                    }
                }
                for node in &mut world.nodes {
                    node.ticks(fault);
                }
            }

            Act::Leave(n) => {
                spend(&mut world.left.leaves);
                world.nodes[n].serving = Serving::No;
                if world.nodes[n].session.is_some() {
                    world.nodes[n].happens(Event::Cancelled, fault);
                }
            }
            Act::Left(n) | Act::Fenced(n) => {
                let node = &mut world.nodes[n];
                node.resets(fault);
                if node.session.is_some() {
                    node.happens(Event::Cancelled, fault);
                }
                node.leaves(fault);
                world.words.goodbye[n] = Some(node.instance);
            }
            Act::Fence(n) => {
                spend(&mut world.left.fences);
                world.db.fenced[n] = true;
            }
            Act::Unfence(n) => world.db.fenced[n] = false,
            Act::HearGoodbye(n) => world.hears_goodbye(n, fault),

            Act::Begin(driver) => {
                spend(&mut world.left.cutovers);
                let verify = match self.scope.verify {
                    Verified::Asked => Hook::Wanted,
                    Verified::Not => Hook::None,
                };
                world.begins(driver, verify, self.scope.arming == Arming::ByCutover);
            }
            Act::Drive(driver, news) => world.drives(driver, news, fault),
            Act::Commit(driver) => world.commits(driver, fault),
            Act::SeeHold(driver) => world.drivers[driver].saw = Some((world.db.table.hold, self.scope.lease)),
            Act::TakeOver(driver) => {
                let fence = world.db.op.map(|op| op.fence);
                if world.drivers.iter().any(|driver| driver.fence == fence) {
                    spend(&mut world.left.takeovers);
                }
                world.takes_over(driver);
            }
            Act::DriverDies(driver) => {
                spend(&mut world.left.crashes);
                world.drivers[driver] = Driver::default();
            }
            Act::Verify => world.words.verified = Some(world.db.table.hold),
            Act::HearVerified => world.hears_verified(fault),
            Act::Tell => world.tells(),
            Act::Arm => {
                spend(&mut world.left.armings);
                world.arms();
            }
            Act::DomainMoves => {
                spend(&mut world.left.domain);
                world.domain_moves();
            }

            Act::Backup => {
                spend(&mut world.left.going_back);
                world.backup = Some(Box::new(world.db.clone()));
            }
            Act::GoBack => world.goes_back(fault),
            Act::TakeBack(n) => world.takes_back(n),
            Act::GiveUp(to) => world.gives_up(to, fault),
            Act::Settle => world.settles(),
        }
    }

    fn welcome(&self, world: &mut World, n: usize) {
        let node = &mut world.nodes[n];
        if let Link::Answered(from, newly) = node.link {
            node.is_welcomed(from, newly, self.fault);
            if !world.db.log.has(&node.table) {
                // Given up (D4): the hold on what they touched is in it, and finds its sessions.
                node.adopts(world.db.table, self.fault);
            }
        }
    }

    fn mishap(&self, world: &mut World, n: usize, event: Event<Dest>) {
        world.left.mishaps -= 1;
        world.nodes[n].happens(event, self.fault);
    }

    /// What nobody can ever look at again is the same in every state: less to search.
    pub(crate) fn forget_what_cannot_matter(&self, world: &mut World) {
        if self.fault.is_none()
            && world.backup.is_none()
            && world.left.going_back == 0
            && world.lost.is_none()
        {
            let Table { hold, arming, .. } = world.db.table;
            // A word on a hold that is over is never heard (Q4).
            world.words.quiesced.retain(|of| of == hold);
            world.words.armed.retain(|of| of == arming);
        }
        if world.db.op.is_none_or(|op| op.outcome.is_some()) {
            for driver in &mut world.drivers {
                driver.saw = None;
            }
        }
    }
}
