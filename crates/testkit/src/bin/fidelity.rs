//! The fidelity matrix, calling through libc's `syscall`.
fn main() -> std::process::ExitCode {
    ringer_testkit::call::choose(ringer_testkit::call::through_libc);
    ringer_testkit::fidelity::main()
}
