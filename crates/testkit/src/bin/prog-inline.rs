//! The test programs, calling by a `syscall` instruction of their own, as liburing does.
fn main() -> std::process::ExitCode {
    ringer_testkit::call::choose(ringer_testkit::call::inline);
    ringer_testkit::programs::main()
}
