//! A checksummed copy with the `io-uring` crate: registered files, registered buffers, linked
//! read and write of each block, eight blocks in flight.

use io_uring::{IoUring, opcode, squeue::Flags, types::Fixed};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

const BLOCK: usize = 64 << 10;
const DEPTH: usize = 8;
const SIZE: usize = 16 << 20;

fn main() -> std::io::Result<()> {
    let dir = PathBuf::from(std::env::args().nth(1).expect("a folder"));
    let (from, to) = (dir.join("crate-copy.from"), dir.join("crate-copy.to"));
    std::fs::write(&from, ringer_clients::content(SIZE))?;
    let source = std::fs::File::open(&from)?;
    let target = std::fs::File::create(&to)?;
    let mut ring = IoUring::new(2 * DEPTH as u32)?;
    ring.submitter().register_files(&[source.as_raw_fd(), target.as_raw_fd()])?;
    // The set holds the files.
    drop((source, target));
    let mut blocks = vec![vec![0u8; BLOCK]; DEPTH];
    let vecs: Vec<libc::iovec> = blocks
        .iter_mut()
        .map(|b| libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: BLOCK })
        .collect();
    // SAFETY: the blocks live until after the ring's last completion.
    unsafe { ring.submitter().register_buffers(&vecs)? };
    for first in (0..SIZE / BLOCK).step_by(DEPTH) {
        for i in 0..DEPTH {
            let at = ((first + i) * BLOCK) as u64;
            let ptr = vecs[i].iov_base.cast::<u8>();
            let read = opcode::ReadFixed::new(Fixed(0), ptr, BLOCK as u32, i as u16)
                .offset(at)
                .build()
                .flags(Flags::IO_LINK)
                .user_data(2 * i as u64);
            let write = opcode::WriteFixed::new(Fixed(1), ptr, BLOCK as u32, i as u16)
                .offset(at)
                .build()
                .user_data(2 * i as u64 + 1);
            // SAFETY: block i is used by this pair only, which has completed before its next use.
            unsafe { ring.submission().push_multiple(&[read, write]).expect("room") };
        }
        ring.submit_and_wait(2 * DEPTH)?;
        for cqe in ring.completion() {
            assert_eq!(cqe.result(), BLOCK as i32, "request {}", cqe.user_data());
        }
    }
    let sync = opcode::Fsync::new(Fixed(1)).build();
    // SAFETY: an fsync points at nothing.
    unsafe { ring.submission().push(&sync).expect("room") };
    ring.submit_and_wait(1)?;
    assert_eq!(ring.completion().next().expect("a completion").result(), 0);
    ring.submitter().unregister_buffers()?;
    ring.submitter().unregister_files()?;
    println!("{}", ringer_clients::same(&from, &to));
    Ok(())
}
