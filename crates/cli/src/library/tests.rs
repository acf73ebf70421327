//! Each line of SECURITY.md about the library's folder, on folders of a test.

use super::*;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const BYTES: &[u8] = b"not really a shared object, but it has bytes of its own";
const LIB: Library<'static> = Library::new(BYTES, "0123456789abcdef");

/// A folder whose ancestors are safe, and a place in it.
fn place() -> (TempDir, Place) {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().canonicalize().unwrap();
    (folder, Place { parent, name: "ringer".into(), mode: 0o755 })
}

fn suspicion(place: &Place) -> String {
    match install_in(place, LIB) {
        Err(Trouble::Suspicious(refusal)) => refusal.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

fn unsuitable(place: &Place) -> String {
    match install_in(place, LIB) {
        Err(Trouble::Unsuitable(why)) => why,
        other => panic!("not passed over: {other:?}"),
    }
}

#[test]
fn the_first_run_writes_and_the_second_compares() {
    let (_keep, place) = place();
    let path = install_in(&place, LIB).unwrap();
    let first = fs::metadata(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), BYTES);
    assert_eq!(install_in(&place, LIB).unwrap(), path);
    assert_eq!(fs::metadata(&path).unwrap().ino(), first.ino(), "the same file");
}

#[test]
fn modes_do_not_depend_on_the_umask_and_let_others_read() {
    let (_keep, place) = place();
    let path = install_in(&place, LIB).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn other_contents_have_another_name() {
    let (_keep, place) = place();
    let one = install_in(&place, Library::new(b"one", "1")).unwrap();
    let two = install_in(&place, Library::new(b"two", "2")).unwrap();
    assert_ne!(one, two);
    assert_eq!(fs::read(one).unwrap(), b"one", "a running program keeps its library");
    assert_eq!(fs::read(two).unwrap(), b"two");
}

#[test]
fn changed_bytes_are_refused() {
    let (_keep, place) = place();
    let path = install_in(&place, LIB).unwrap();
    let mut bytes = BYTES.to_vec();
    bytes[7] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(suspicion(&place).contains("not the library of this ringer"));
    fs::write(&path, &BYTES[..9]).unwrap();
    assert!(suspicion(&place).contains("not the library of this ringer"));
    bytes = [BYTES, b"more"].concat();
    fs::write(&path, &bytes).unwrap();
    assert!(suspicion(&place).contains("not the library of this ringer"));
    assert_eq!(fs::read(&path).unwrap(), bytes, "and left as found");
}

#[test]
fn a_symbolic_link_in_the_librarys_place_is_refused() {
    let (keep, place) = place();
    let path = install_in(&place, LIB).unwrap();
    let elsewhere = keep.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(suspicion(&place).contains("symbolic link"));
}

#[test]
fn a_symbolic_link_in_the_folders_place_is_refused() {
    let (keep, place) = place();
    let elsewhere = keep.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, place.parent.join(&place.name)).unwrap();
    assert!(suspicion(&place).contains("symbolic link"));
    assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0, "nothing was written through it");
}

#[test]
fn a_folder_that_others_can_write_to_is_refused() {
    let (_keep, place) = place();
    let path = install_in(&place, LIB).unwrap();
    for mode in [0o775, 0o757, 0o1777] {
        fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(mode)).unwrap();
        assert!(suspicion(&place).contains("others can write"), "{mode:o}");
    }
}

#[test]
fn a_file_that_others_can_write_to_is_refused() {
    let (_keep, place) = place();
    let path = install_in(&place, LIB).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
    assert!(suspicion(&place).contains("others can write"));
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    let (_keep, place) = place();
    let path = install_in(&place, LIB).unwrap();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root to give a file away");
        return;
    }
    std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
    assert!(suspicion(&place).contains("belongs to user 65534"));
    std::os::unix::fs::chown(path.parent().unwrap(), Some(65534), None).unwrap();
    assert!(suspicion(&place).contains("belongs to user 65534"));
}

#[test]
fn a_planted_fifo_does_not_hang_the_comparison() {
    let (_keep, place) = place();
    let path = install_in(&place, LIB).unwrap();
    fs::remove_file(&path).unwrap();
    let mode = Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(suspicion(&place).contains("not a regular file"));
}

#[test]
fn a_parent_that_others_can_write_to_is_passed_over_unless_sticky() {
    let (keep, place) = place();
    let set = |mode| fs::set_permissions(keep.path(), fs::Permissions::from_mode(mode)).unwrap();
    set(0o777);
    assert!(unsuitable(&place).contains("others can change"));
    assert!(!place.parent.join("ringer").exists(), "nothing was made there");
    set(0o1777);
    install_in(&place, LIB).unwrap();
}

#[test]
fn names_that_ld_preload_would_split_are_passed_over() {
    for name in ["with space", "with:colon", "with$ORIGIN", "with\ttab", "with\nline"] {
        let (keep, mut place) = place();
        place.parent = keep.path().join(name);
        fs::create_dir(&place.parent).unwrap();
        assert!(unsuitable(&place).contains("LD_PRELOAD"), "{name:?}");
    }
}

#[test]
fn a_symbolic_link_on_the_way_is_resolved_before_it_is_checked() {
    let (keep, mut place) = place();
    let real = place.parent.join("real");
    fs::create_dir(&real).unwrap();
    place.parent = keep.path().join("link");
    symlink(&real, &place.parent).unwrap();
    let path = install_in(&place, LIB).unwrap();
    assert!(path.starts_with(real.canonicalize().unwrap()), "{path:?}");
}

#[test]
fn a_missing_parent_is_passed_over_and_a_missing_cache_is_made() {
    let (keep, mut place) = place();
    place.parent = keep.path().join("missing");
    assert!(unsuitable(&place).contains("does not exist"));
    place.parent = keep.path().join(".cache");
    let path = install_in(&place, LIB).unwrap();
    assert!(path.exists());
    assert_eq!(fs::metadata(place.parent).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn a_left_over_of_a_killed_run_is_replaced() {
    let (_keep, place) = place();
    fs::create_dir(place.parent.join("ringer")).unwrap();
    let name = format!(".{}.{}", LIB.file_name(), std::process::id());
    fs::write(place.parent.join("ringer").join(&name), b"half").unwrap();
    let path = install_in(&place, LIB).unwrap();
    let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}
