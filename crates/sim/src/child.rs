//! Children of the application: numbers that end with a status, some time.
//!
//! What it does not do: stop and continue, groups, pidfds.

use crate::host::SimHost;
use crate::sched::lock;
use crate::world::World;
use ringer_engine::host::{Child, HostResult};
use ringer_uapi::Errno;

const P_ALL: i32 = 0;
const P_PID: i32 = 1;
const WNOHANG: i32 = 1;
const WEXITED: i32 = 4;
const WNOWAIT: i32 = 0x0100_0000;
const CLD_EXITED: i32 = 1;
/// The user that every child has.
const UID: u32 = 7;

impl World {
    /// A child ends, if there is one of that number that has not.
    pub(crate) fn end_child(&mut self, pid: i32, status: i32) {
        if let Some(child) = self.children.get_mut(&pid) {
            child.get_or_insert(status);
        }
    }

    /// Who it is that ended; `None`: none yet.
    fn ended(&self, which: i32, id: i32) -> HostResult<Option<(i32, i32)>> {
        let mut mine =
            self.children.iter().filter(|(pid, _)| which == P_ALL || **pid == id).peekable();
        if mine.peek().is_none() {
            return Err(Errno::ECHILD);
        }
        Ok(mine.find_map(|(pid, status)| status.map(|s| (*pid, s))))
    }
}

impl SimHost {
    pub(crate) fn wait_for_child(
        &self,
        which: i32,
        id: i32,
        options: i32,
    ) -> HostResult<Option<Child>> {
        self.app_call("waitid", id)?;
        if !matches!(which, P_ALL | P_PID)
            || which == P_PID && id <= 0
            || options & !(WNOHANG | WEXITED | WNOWAIT) != 0
            || options & WEXITED == 0
        {
            return Err(Errno::EINVAL);
        }
        let look = || {
            let mut w = lock(&self.world);
            let found = match w.ended(which, id) {
                Ok(None) if options & WNOHANG == 0 => return None,
                Ok(Some((pid, status))) => {
                    if options & WNOWAIT == 0 {
                        w.children.remove(&pid);
                    }
                    Ok(Some(Child { code: CLD_EXITED, pid, uid: UID, status }))
                }
                Ok(None) => Ok(None),
                Err(e) => Err(e),
            };
            Some(found)
        };
        let found = self.sched.wait_for(None, look)?;
        self.sched.changed();
        found
    }
}
