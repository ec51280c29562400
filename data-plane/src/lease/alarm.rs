//! The thread that ends what has lapsed (promise L1): a timer of the boot-time clock, which rings also behind a suspend,
//! and a look at real time, so that a jump between the two ends all leases. It waits for nothing else.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use parking_lot::Mutex;

use super::clock::{Boot, Offset};
use crate::sessions::Sessions;

/// Between two looks at real time: a jump that the system does not announce is noticed within this, and so is the end of
/// the process's sessions.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a ring ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lapse {
    /// What the clock says.
    WhatIsDue,
    /// Every lease: the clocks cannot be trusted.
    Everything,
}

/// When the thread looks.
#[derive(Debug, Clone)]
pub(crate) struct Alarm(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    timer: TimerFd,
    due: Mutex<Due>,
}

#[derive(Debug, Default)]
struct Due {
    lease: Option<Boot>,
    others: BTreeSet<Boot>,
}

impl Due {
    fn first(&self) -> Option<Boot> {
        self.lease.into_iter().chain(self.others.first().copied()).min()
    }

    /// Whether something is due, which it then is no longer.
    fn take(&mut self, now: Boot) -> bool {
        let lease = self.lease.take_if(|lease| *lease <= now).is_some();
        let later = self.others.split_off(&Boot(now.0.saturating_add(1)));
        lease | !std::mem::replace(&mut self.others, later).is_empty()
    }
}

impl Alarm {
    fn new() -> nix::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Self(Arc::new(Shared {
            timer: TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?,
            due: Mutex::default(),
        })))
    }

    /// The lease lapses then, and no longer when it would have before.
    pub(super) fn lease_ends(&self, at: Boot) {
        let mut due = self.0.due.lock();
        due.lease = Some(at);
        self.set(&due);
    }

    /// Something else does.
    pub(super) fn also_at(&self, at: Boot) {
        let mut due = self.0.due.lock();
        due.others.insert(at);
        self.set(&due);
    }

    fn is_due(&self) -> bool {
        // Not to be read is no ring.
        let _rang = self.0.timer.wait();
        let mut due = self.0.due.lock();
        let is_due = due.take(Boot::now());
        self.set(&due);
        is_due
    }

    fn set(&self, due: &Due) {
        let set = match due.first() {
            // The least that a timer takes: zero would unset it.
            Some(Boot(at)) => self.0.timer.set(
                Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(at.max(1)))),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            ),
            None => self.0.timer.unset(),
        };
        if let Err(error) = set {
            // The look of every chunk, and of the thread at each of its turns, does not need it.
            tracing::error!(%error, "the timer of the lease cannot be set");
        }
    }
}

/// Starts the thread. It ends some time after the sessions are gone.
///
/// # Errors
/// The system gives no timer, or no thread.
pub(crate) fn watch(sessions: &Arc<Sessions>) -> io::Result<()> {
    let alarm = Alarm::new()?;
    let set_clock = SetClock::new()?;
    if sessions.lease().alarm.set(alarm.clone()).is_err() {
        return Ok(());
    }
    let sessions = Arc::downgrade(sessions);
    std::thread::Builder::new()
        .name("lease".to_owned())
        .spawn(move || run(&alarm, &set_clock, &sessions))?;
    Ok(())
}

fn run(alarm: &Alarm, set_clock: &SetClock, sessions: &Weak<Sessions>) {
    let mut before = Offset::now();
    let patience = PollTimeout::try_from(LOOK_EVERY).unwrap_or(PollTimeout::MAX);
    loop {
        let mut ready = [
            PollFd::new(alarm.0.timer.as_fd(), PollFlags::POLLIN),
            PollFd::new(set_clock.0.as_fd(), PollFlags::POLLIN),
        ];
        // A signal, a ring or nothing: what there is to do is asked of the clocks.
        if let Err(error) = poll(&mut ready, patience)
            && error != Errno::EINTR
        {
            std::thread::sleep(LOOK_EVERY);
        }
        let Some(sessions) = sessions.upgrade() else {
            return;
        };
        set_clock.heard();
        let now = Offset::now();
        if let (Some(now), Some(before)) = (now, before)
            && let Some(jump) = now.jump_since(before)
        {
            tracing::warn!(
                millis = u64::try_from(jump.as_millis()).unwrap_or(u64::MAX),
                "real time and the boot-time clock jumped apart: every lease is over"
            );
            sessions.lapse(Lapse::Everything);
        }
        before = now.or(before);
        if alarm.is_due() {
            sessions.lapse(Lapse::WhatIsDue);
        }
    }
}

/// A timer of real time that never rings, and is heard when somebody sets the clock.
struct SetClock(TimerFd);

impl SetClock {
    fn new() -> nix::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = Self(TimerFd::new(ClockId::CLOCK_REALTIME, flags)?);
        timer.set()?;
        Ok(timer)
    }

    fn set(&self) -> nix::Result<()> {
        // In the year 2200 or so.
        let far = TimeSpec::from_duration(Duration::from_secs(1 << 33));
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        self.0.set(Expiration::OneShot(far), flags)
    }

    /// It is set again: it is heard once for each time.
    fn heard(&self) {
        if self.0.wait() == Err(Errno::ECANCELED)
            && let Err(error) = self.set()
        {
            tracing::error!(%error, "the timer that notices a clock that is set cannot be set");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_extended_is_not_due_when_it_was_and_what_is_frozen_is() {
        let mut due = Due {
            lease: Some(Boot(10)),
            ..Due::default()
        };
        due.others.insert(Boot(10));
        due.lease = Some(Boot(20));
        assert_eq!(due.first(), Some(Boot(10)));
        assert!(!due.take(Boot(9)));
        assert!(due.take(Boot(10)));
        assert!(!due.take(Boot(19)));
        assert_eq!(due.first(), Some(Boot(20)));
        assert!(due.take(Boot(25)));
        assert_eq!(due.first(), None);
    }
}
