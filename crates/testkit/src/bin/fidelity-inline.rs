//! The fidelity matrix, calling by a `syscall` instruction of its own.
fn main() -> std::process::ExitCode {
    ringer_testkit::call::choose(ringer_testkit::call::inline);
    ringer_testkit::fidelity::main()
}
