//! Every input that is kept passes, on stable, in every test run.

use ringer_fuzz::{TARGETS, corpus, folder, named};

fn replay(name: &str) {
    let target = named(name).expect("a target");
    let inputs = corpus(name);
    assert!(!inputs.is_empty(), "{name} has no corpus in {}", folder(name).display());
    for (path, input) in inputs {
        let passed = std::panic::catch_unwind(|| (target.run)(&input)).is_ok();
        assert!(passed, "replay: cargo run -p ringer-fuzz -- --target {name} {}", path.display());
    }
}

macro_rules! replayed {
    ($($test:ident: $name:literal;)*) => {
        $(
            #[test]
            fn $test() {
                replay($name);
            }
        )*
        const REPLAYED: &[&str] = &[$($name),*];
    };
}

replayed! {
    entries_of_any_bytes_post_what_they_owe: "sqes";
    scribbled_ring_memory_is_survived: "ring_memory";
    ring_memory_written_by_another_thread_is_survived: "ring_race";
    calls_with_any_arguments_are_answered: "calls";
    the_filter_says_what_the_predicate_says: "filter";
    any_filter_program_is_refused_or_ends: "bpf";
    any_bytes_can_be_scanned: "scan";
    any_file_can_be_asked_for_its_loader: "elf";
    any_stats_file_is_read_or_refused: "stats";
    any_address_can_be_copied_from_and_to: "user_memory";
}

#[test]
fn no_target_is_left_out() {
    let all: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
    assert_eq!(all, REPLAYED);
}

#[test]
fn the_corpus_is_small_and_has_no_other_folders() {
    let root = folder("");
    let bytes: usize = TARGETS.iter().flat_map(|t| corpus(t.name)).map(|(_, b)| b.len()).sum();
    assert!(bytes < 400 << 10, "{bytes} bytes");
    for entry in std::fs::read_dir(root).expect("the corpus") {
        let name = entry.expect("an entry").file_name();
        assert!(named(&name.to_string_lossy()).is_some(), "{name:?} is no target");
    }
}
