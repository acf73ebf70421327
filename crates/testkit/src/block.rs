//! Hosts that refuse io_uring, as seccomp profiles: [`Profile::Eperm`] and [`Profile::Docker`].
//!
//! The second restates the default profile of the Docker engine (moby 25 and later, x86-64, none of
//! the rules that a capability adds): default `EPERM`, a list of allowed calls, `clone` without new
//! namespaces, `clone3` as `ENOSYS`, `socket` but for `AF_VSOCK`, five `personality` values. The
//! 32-bit and x32 entries of the real profile are left out: such calls get `EPERM` here.
//!
//! What it does not do: drop capabilities or make namespaces.

use crate::os::{self, Sys};
use libc::sock_filter;

/// Which refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The three io_uring calls answer `EPERM`; everything else is allowed.
    Eperm,
    /// Docker's default profile without capabilities.
    Docker,
}

impl Profile {
    /// Both, in the order the tests run them.
    pub const ALL: [Self; 2] = [Self::Eperm, Self::Docker];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Eperm => "eperm",
            Self::Docker => "docker",
        }
    }

    /// The profile of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    /// The filter's instructions.
    pub fn filter(self) -> Vec<sock_filter> {
        match self {
            Self::Eperm => refuse(&[425, 426, 427], libc::EPERM),
            Self::Docker => docker(),
        }
    }

    /// Puts the calling process under the profile, for good and across exec.
    ///
    /// # Errors
    /// prctl(2)'s and seccomp(2)'s.
    pub fn apply(self) -> Sys<()> {
        os::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)?;
        os::seccomp(&self.filter(), true)
    }
}

const NR: u32 = 0;
const ARCH: u32 = 4;
const ARG0: u32 = 16;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JEQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JGE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JSET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn op(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn allow() -> sock_filter {
    op(RET, libc::SECCOMP_RET_ALLOW)
}

fn fail(errno: i32) -> sock_filter {
    op(RET, libc::SECCOMP_RET_ERRNO | errno as u32)
}

/// Refuses the calls `nrs` of this architecture and allows the rest.
pub fn refuse(nrs: &[i64], errno: i32) -> Vec<sock_filter> {
    // if arch != x86-64: allow
    let mut f = vec![op(LOAD, ARCH), jump(JEQ, AUDIT_ARCH_X86_64, 1, 0), allow(), op(LOAD, NR)];
    for &nr in nrs {
        // if nr == this: refuse
        f.extend([jump(JEQ, nr as u32, 0, 1), fail(errno)]);
    }
    f.push(allow());
    f
}

fn docker() -> Vec<sock_filter> {
    let mut f = vec![
        // if arch != x86-64: EPERM
        op(LOAD, ARCH),
        jump(JEQ, AUDIT_ARCH_X86_64, 1, 0),
        fail(libc::EPERM),
        // if nr == clone3: ENOSYS, so that libc falls back to clone
        op(LOAD, NR),
        jump(JEQ, libc::SYS_clone3 as u32, 0, 1),
        fail(libc::ENOSYS),
        // if nr == clone: allowed without any CLONE_NEW* bit
        jump(JEQ, libc::SYS_clone as u32, 0, 4),
        op(LOAD, ARG0),
        jump(JSET, CLONE_NEW, 0, 1),
        fail(libc::EPERM),
        allow(),
        // if nr == socket: allowed but for AF_VSOCK
        jump(JEQ, libc::SYS_socket as u32, 0, 4),
        op(LOAD, ARG0),
        jump(JEQ, libc::AF_VSOCK as u32, 0, 1),
        fail(libc::EPERM),
        allow(),
        // if nr == personality: allowed for five values
        jump(JEQ, libc::SYS_personality as u32, 0, 2 + 2 * PERSONALITIES.len() as u8),
        op(LOAD, ARG0),
    ];
    for p in PERSONALITIES {
        f.extend([jump(JEQ, p, 0, 1), allow()]);
    }
    f.push(fail(libc::EPERM));
    for (first, last) in ranges(ALLOWED) {
        // if first <= nr <= last: allow
        f.extend([jump(JGE, first, 0, 2), jump(JGE, last + 1, 1, 0), allow()]);
    }
    f.push(fail(libc::EPERM));
    f
}

/// Sorted numbers as inclusive ranges.
fn ranges(nrs: &[i64]) -> Vec<(u32, u32)> {
    let mut sorted: Vec<u32> = nrs.iter().map(|&n| n as u32).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut out: Vec<(u32, u32)> = Vec::new();
    for n in sorted {
        match out.last_mut() {
            Some((_, last)) if *last + 1 == n => *last = n,
            _ => out.push((n, n)),
        }
    }
    out
}

/// NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NEW: u32 = 0x7e02_0000;
/// Linux, UNAME26, ADDR_NO_RANDOMIZE-free variants, and "what is it now?".
const PERSONALITIES: [u32; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

macro_rules! numbers {
    ($($name:ident)+) => { &[$(nr::$name),+] };
}

/// The numbers libc names, and the two it does not.
#[allow(non_upper_case_globals, reason = "named as libc names the others")]
mod nr {
    pub(super) use libc::*;
    pub(super) const SYS_io_pgetevents: i64 = 333;
    pub(super) const SYS_cachestat: i64 = 451;
}

/// The unconditional allow list, and the calls allowed since kernel 4.8 (tracing), on x86-64.
#[rustfmt::skip]
const ALLOWED: &[i64] = numbers!(
    // files and descriptors
    SYS_access SYS_close SYS_close_range SYS_copy_file_range SYS_creat SYS_dup SYS_dup2 SYS_dup3
    SYS_faccessat SYS_faccessat2 SYS_fadvise64 SYS_fallocate SYS_fchdir SYS_fchmod SYS_fchmodat
    SYS_fchmodat2 SYS_fchown SYS_fchownat SYS_fcntl SYS_fdatasync SYS_fgetxattr SYS_flistxattr SYS_flock
    SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futimesat
    SYS_getcwd SYS_getdents SYS_getdents64 SYS_getxattr SYS_chdir SYS_chmod SYS_chown SYS_ioctl
    SYS_lchown SYS_lgetxattr SYS_link SYS_linkat SYS_listxattr SYS_llistxattr SYS_lremovexattr
    SYS_lseek SYS_lsetxattr SYS_lstat SYS_mkdir SYS_mkdirat SYS_mknod SYS_mknodat
    SYS_name_to_handle_at SYS_newfstatat SYS_open SYS_openat SYS_openat2 SYS_pipe SYS_pipe2
    SYS_pread64 SYS_preadv SYS_preadv2 SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead
    SYS_readlink SYS_readlinkat SYS_readv SYS_removexattr SYS_rename SYS_renameat SYS_renameat2
    SYS_rmdir SYS_sendfile SYS_setxattr SYS_splice SYS_stat SYS_statfs SYS_statx SYS_symlink
    SYS_symlinkat SYS_sync SYS_sync_file_range SYS_syncfs SYS_tee SYS_truncate SYS_umask SYS_unlink
    SYS_unlinkat SYS_utime SYS_utimensat SYS_utimes SYS_vmsplice SYS_write SYS_writev
    SYS_fanotify_mark SYS_inotify_add_watch SYS_inotify_init SYS_inotify_init1 SYS_inotify_rm_watch
    // waiting
    SYS_epoll_create SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_ctl_old SYS_epoll_pwait
    SYS_epoll_pwait2 SYS_epoll_wait SYS_epoll_wait_old SYS_eventfd SYS_eventfd2 SYS_poll SYS_ppoll
    SYS_pselect6 SYS_select SYS_signalfd SYS_signalfd4 SYS_timerfd_create SYS_timerfd_gettime
    SYS_timerfd_settime
    // the older asynchronous interface
    SYS_io_cancel SYS_io_destroy SYS_io_getevents SYS_io_pgetevents SYS_io_setup SYS_io_submit
    SYS_ioprio_get SYS_ioprio_set
    // sockets
    SYS_accept SYS_accept4 SYS_bind SYS_connect SYS_getpeername SYS_getsockname SYS_getsockopt
    SYS_listen SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_sendmmsg SYS_sendmsg SYS_sendto
    SYS_setsockopt SYS_shutdown SYS_socketpair
    // memory
    SYS_brk SYS_cachestat SYS_madvise SYS_membarrier SYS_memfd_create SYS_memfd_secret SYS_mincore SYS_mlock SYS_mlock2
    SYS_mlockall SYS_mmap SYS_mprotect SYS_mremap SYS_mseal SYS_msync SYS_munlock SYS_munlockall SYS_munmap
    SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_process_mrelease SYS_remap_file_pages
    SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget
    // processes, threads, identity
    SYS_alarm SYS_arch_prctl SYS_capget SYS_capset SYS_execve SYS_execveat SYS_exit SYS_exit_group
    SYS_fork SYS_futex SYS_futex_waitv SYS_get_robust_list SYS_get_thread_area SYS_getcpu
    SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getpgid SYS_getpgrp SYS_getpid SYS_getppid
    SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_getrusage SYS_getsid
    SYS_gettid SYS_getuid SYS_kill SYS_landlock_add_rule SYS_landlock_create_ruleset
    SYS_landlock_restrict_self SYS_modify_ldt SYS_pause SYS_pidfd_open SYS_pidfd_send_signal
    SYS_prctl SYS_prlimit64 SYS_restart_syscall SYS_rseq SYS_sched_get_priority_max
    SYS_sched_get_priority_min SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam
    SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr
    SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_set_robust_list
    SYS_set_thread_area SYS_set_tid_address SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups
    SYS_setpgid SYS_setpriority SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid SYS_setrlimit
    SYS_setsid SYS_setuid SYS_sysinfo SYS_tgkill SYS_tkill SYS_uname SYS_vfork SYS_wait4 SYS_waitid
    // signals and time
    SYS_adjtimex SYS_clock_adjtime SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep
    SYS_getitimer SYS_gettimeofday SYS_nanosleep SYS_rt_sigaction SYS_rt_sigpending
    SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait
    SYS_rt_tgsigqueueinfo SYS_setitimer SYS_sigaltstack SYS_time SYS_timer_create SYS_timer_delete
    SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_times
    // queues
    SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend SYS_mq_unlink
    SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_semctl SYS_semget SYS_semop SYS_semtimedop
    // since kernel 4.8, where a tracer no longer slips past a filter
    SYS_process_vm_readv SYS_process_vm_writev SYS_ptrace
);

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(profile: Profile, nr: i64, arg0: u64) -> i32 {
        os::in_child(|| {
            if profile.apply().is_err() {
                return 100;
            }
            os::raw(nr, [arg0, 0, 0]).err().map_or(0, |e| e.0)
        })
        .expect("child")
    }

    #[test]
    fn both_profiles_refuse_the_three_calls() {
        for p in Profile::ALL {
            for nr in [425, 426, 427] {
                assert_eq!(allowed(p, nr, 0), libc::EPERM, "{p:?} {nr}");
            }
        }
    }

    #[test]
    fn docker_rules_with_arguments_hold() {
        let d = Profile::Docker;
        assert_eq!(allowed(d, libc::SYS_clone3, 0), libc::ENOSYS);
        assert_eq!(allowed(d, libc::SYS_clone, libc::CLONE_NEWUSER as u64), libc::EPERM);
        assert_eq!(allowed(d, libc::SYS_socket, libc::AF_VSOCK as u64), libc::EPERM);
        assert_eq!(allowed(d, libc::SYS_personality, 0xffff_ffff), 0);
        assert_eq!(allowed(d, libc::SYS_personality, 0x0040_0000), libc::EPERM);
        assert_eq!(allowed(d, libc::SYS_unshare, 0), libc::EPERM);
        assert_eq!(allowed(d, libc::SYS_pidfd_getfd, 0), libc::EPERM);
        assert_eq!(allowed(d, libc::SYS_getpid, 0), 0);
    }

    #[test]
    fn ranges_join_neighbours() {
        assert_eq!(ranges(&[5, 3, 4, 9]), [(3, 5), (9, 9)]);
    }
}
