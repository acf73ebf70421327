//! A process that installs ringer for itself. One test, because what it does is for good.

use std::io::Read;
use std::os::fd::FromRawFd;

const SETUP: libc::c_long = libc::SYS_io_uring_setup;

/// Sets up a ring by libc's `syscall`; answers its descriptor.
fn setup() -> std::io::Result<i32> {
    let mut params = [0u8; 120];
    // SAFETY: `params` is as large as the kernel's structure.
    let fd = unsafe { libc::syscall(SETUP, 8, params.as_mut_ptr()) };
    if fd < 0 { Err(std::io::Error::last_os_error()) } else { Ok(fd as i32) }
}

/// What the descriptor is, in the kernel's words.
fn what_is(fd: i32) -> String {
    std::fs::read_link(format!("/proc/self/fd/{fd}"))
        .expect("a descriptor")
        .to_string_lossy()
        .into_owned()
}

/// The same by the instruction, which this program therefore holds.
fn setup_inline() -> i64 {
    let mut params = [0u8; 120];
    let ret: i64;
    // SAFETY: as in `setup`.
    unsafe {
        std::arch::asm!("mov eax, 425", "syscall", out("rax") ret, in("rdi") 8,
            in("rsi") params.as_mut_ptr(), out("rcx") _, out("r11") _);
    }
    ret
}

#[test]
fn after_install_rings_are_ringers_by_both_ways() {
    assert!(ringer::available());
    let native = ringer::kernel_available();
    if native {
        assert_eq!(what_is(setup().expect("a ring")), "anon_inode:[io_uring]");
    }
    let ringer::Installed::Now { places } = ringer::install().unwrap() else {
        panic!("nobody installed it before")
    };
    assert!(places > 0);
    let fd = setup().expect("a ring");
    assert!(what_is(fd).starts_with("pipe:"), "{}", what_is(fd));
    let inline = setup_inline();
    assert!(inline > 0 && what_is(inline as i32).starts_with("pipe:"), "{inline}");
    assert_eq!(ringer::install().unwrap(), ringer::Installed::Before);

    // A descriptor that is closed through std is forgotten by the engine, too.
    // SAFETY: `setup` made it, and nobody else owns it.
    let mut ring = unsafe { std::fs::File::from_raw_fd(fd) };
    assert!(ring.read(&mut [0; 1]).is_err());
    drop(ring);
    // SAFETY: the call refuses the number.
    let ret = unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, 0, 0, 0, 0, 0) };
    assert_eq!((ret, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EBADF)));
}
