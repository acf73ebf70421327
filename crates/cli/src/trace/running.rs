//! A process that runs already, as `ringer top` watches it, told of as any other.
//!
//! What it does not do: tell of requests that were taken before; their completions are none of its
//! requests'.

use std::time::Duration;

use super::{LATER, SOON, Session, slots};
use crate::os::signals;
use crate::top::watch::Attached;

impl Session<'_> {
    /// Follows it until it ends, or a signal comes.
    ///
    /// # Errors
    /// 125: it cannot be watched.
    pub(super) fn follow_running(&mut self, pid: u32) -> anyhow::Result<()> {
        let signals = signals::Held::hold();
        let (attached, source) = Attached::to(pid, slots(self.args))?;
        self.start_ns = Some(source.born_ns);
        let mut traced = self.begin(source, false);
        let mut pause = SOON;
        loop {
            // Asked before the look, so that nothing is written after it.
            let ends = attached.is_over() || self.broken.is_some();
            let stopped = !ends && signals.next(Duration::ZERO).is_some_and(signals::ends);
            let found = self.drain_one(&mut traced, ends);
            if ends || stopped {
                self.end(traced);
                return Ok(());
            }
            if let Err(e) = self.out.flush() {
                self.broken.get_or_insert(e);
            }
            pause = if found { SOON } else { (pause * 2).min(LATER) };
            std::thread::sleep(pause);
        }
    }
}
