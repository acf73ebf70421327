//! The test programs, calling through libc's `syscall`: this binary holds no `syscall` instruction.
fn main() -> std::process::ExitCode {
    ringer_testkit::call::choose(ringer_testkit::call::through_libc);
    ringer_testkit::programs::main()
}
