//! Children of the process: waitid(2), on behalf of its requests.
//!
//! Children belong to the whole process, so that a thread of ours may wait for them. What it does not
//! do: `__WNOTHREAD`, which a thread of ours answers for itself.

use ringer_engine::host::{Child, HostResult};
use ringer_uapi::bytes::{i32_at, u32_at};

use crate::io::app_call;
use crate::raw::{fd_arg, general as g};

/// `sizeof(siginfo_t)` \[bytes\].
const SIGINFO: usize = 128;

/// `waitid(2)`: which child it was; `None`: none, with `WNOHANG`.
///
/// # Errors
/// The call's; `EINTR`.
pub fn waitid(which: i32, id: i32, options: i32) -> HostResult<Option<Child>> {
    let mut info = [0u64; SIGINFO / 8];
    let at = info.as_mut_ptr().expose_provenance();
    let (which, id, options) = (fd_arg(which), fd_arg(id), fd_arg(options));
    app_call(g::__NR_waitid, [which, id, at, options, 0, 0])?;
    // The kernel wrote it behind the compiler's back.
    let words = core::hint::black_box(&info).map(u64::to_ne_bytes);
    let b = words.as_flattened();
    // si_signo at 0, si_code at 8, si_pid, si_uid and si_status from 16 on.
    let child =
        Child { code: i32_at(b, 8), pid: i32_at(b, 16), uid: u32_at(b, 20), status: i32_at(b, 24) };
    Ok((i32_at(b, 0) != 0).then_some(child))
}
