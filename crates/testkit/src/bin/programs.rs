//! The tier of real programs: each runs natively, then under ringer under both blockers, and is
//! judged by its own result and by `--stats`.
//!
//! `programs --ringer PATH --clients FOLDER [--only NAME] [--here]`. A program that is not installed is
//! skipped and said; the last line counts. `--here`: something else refuses io_uring (a container), and
//! ringer is all that is put around the programs.
#![allow(clippy::print_stdout, reason = "the report is the purpose")]

use ringer_testkit::block::Profile;
use ringer_testkit::harness::{self, Ran, Scratch, Under};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

/// How a program is run in a scratch folder, and how its result is judged.
struct Program {
    name: &'static str,
    argv: fn(&Scene<'_>) -> Vec<String>,
    judge: fn(&Ran, &Scene<'_>) -> Result<(), String>,
    opcodes: &'static [&'static str],
    /// Whether it runs on the kernel's ring as well, where its variables change nothing.
    kernel: bool,
    /// Other programs that it starts, and files; what has a slash may be in the target folder.
    needs: &'static [&'static str],
}

struct Scene<'a> {
    dir: &'a Path,
    clients: &'a str,
    /// The target folder.
    target: &'a Path,
}

impl Scene<'_> {
    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn fio(scene: &Scene<'_>, more: &str) -> Vec<String> {
    let file = scene.path("fio.data");
    words(&format!(
        "fio --name=job --filename={file} --size=16m --bs=4k --ioengine=io_uring --iodepth=16 \
         --output-format=json {more}"
    ))
}

const VERIFY: &str = "--verify=crc32c --do_verify=1 --verify_state_save=0 --verify_fatal=1";

/// fio's own account: no error, and every byte of the job moved.
fn fio_result(ran: &Ran, _: &Scene<'_>) -> Result<(), String> {
    let start = ran.stdout.find('{').ok_or("no report")?;
    let report: serde_json::Value =
        serde_json::from_str(&ran.stdout[start..]).map_err(|e| e.to_string())?;
    let job = &report["jobs"][0];
    let moved = ["read", "write"].iter().filter_map(|d| job[d]["total_ios"].as_u64()).sum::<u64>();
    match (job["error"].as_u64(), moved) {
        (Some(0), 4096..) => Ok(()),
        (error, moved) => Err(format!("error {error:?}, {moved} requests")),
    }
}

fn image(scene: &Scene<'_>, name: &str, len: usize) -> String {
    let bytes: Vec<u8> = (0..len).map(|i| (i / 512 * 31 + i % 251) as u8).collect();
    let path = scene.path(name);
    std::fs::write(&path, bytes).expect("an image");
    path
}

fn convert(scene: &Scene<'_>) -> Vec<String> {
    let from = image(scene, "from.raw", 16 << 20);
    let to = scene.path("to.raw");
    std::fs::File::create(&to).and_then(|f| f.set_len(16 << 20)).expect("a target");
    let options =
        |f: &str| format!("driver=raw,file.driver=file,file.filename={f},file.aio=io_uring");
    let mut argv = words("qemu-img convert -n --image-opts");
    argv.extend([options(&from), "--target-image-opts".to_owned(), options(&to)]);
    argv
}

fn same_images(_: &Ran, scene: &Scene<'_>) -> Result<(), String> {
    let [a, b] = ["from.raw", "to.raw"].map(|f| std::fs::read(scene.path(f)));
    match (a, b) {
        (Ok(a), Ok(b)) if a == b => Ok(()),
        _ => Err("the images differ".to_owned()),
    }
}

fn qemu_io(scene: &Scene<'_>) -> Vec<String> {
    let file = image(scene, "io.raw", 4 << 20);
    let mut argv = words("qemu-io -i io_uring -f raw");
    for command in [
        "write -P 0x5a 0 1M",
        "aio_write -P 0x5b 1M 1M",
        "aio_flush",
        "flush",
        "read -P 0x5a 0 1M",
        "read -P 0x5b 1M 1M",
        "aio_read -P 0x5b 1M 64k",
        "aio_flush",
    ] {
        argv.extend(["-c".to_owned(), command.to_owned()]);
    }
    argv.push(file);
    argv
}

fn patterns(ran: &Ran, scene: &Scene<'_>) -> Result<(), String> {
    let bytes = std::fs::read(scene.path("io.raw")).map_err(|e| e.to_string())?;
    let right = bytes[..1 << 20].iter().all(|&b| b == 0x5a)
        && bytes[1 << 20..2 << 20].iter().all(|&b| b == 0x5b);
    match (right, ran.stdout.contains("failed")) {
        (true, false) => Ok(()),
        _ => Err("a pattern is not there".to_owned()),
    }
}

fn node(scene: &Scene<'_>) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/programs/node-files.mjs");
    let mut argv = words("env UV_USE_IO_URING=1 node");
    argv.extend([script.to_owned(), scene.dir.to_string_lossy().into_owned()]);
    argv
}

fn script(scene: &Scene<'_>, name: &str) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/programs/");
    vec![format!("{script}{name}"), scene.dir.to_string_lossy().into_owned()]
}

fn plocate(scene: &Scene<'_>) -> Vec<String> {
    let (tree, db) = (scene.path("tree"), scene.path("db"));
    for i in 0..300 {
        let folder = format!("{tree}/{}", i % 17);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(format!("{folder}/needle{i}"), "").expect("a file");
    }
    let mut build = std::process::Command::new("updatedb.plocate");
    build.args(["-l", "0", "--prunepaths", "", "--prune-bind-mounts", "no"]);
    let _ = build.args(["-o", &db, "-U", &tree]).status();
    // Debian's is setgid, and so refused: a copy is not.
    let copy = scene.path("plocate");
    if std::fs::copy("/usr/bin/plocate", &copy).is_ok() {
        let plain = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&copy, plain).expect("a file of ours");
    }
    words(&format!("{copy} --database {db} needle27"))
}

fn musl(scene: &Scene<'_>) -> Vec<String> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/programs/musl-uring.c");
    let program = scene.path("musl-uring");
    // musl-gcc knows musl's headers alone; the kernel's come after them.
    let line = format!(
        "-O2 -Wall -Wextra -Werror -idirafter /usr/include \
         -idirafter /usr/include/x86_64-linux-gnu -o {program} {source}"
    );
    if let Ok(built) = std::process::Command::new("musl-gcc").args(words(&line)).status() {
        assert!(built.success(), "{source} does not build");
    }
    vec![program, scene.dir.to_string_lossy().into_owned()]
}

fn python(scene: &Scene<'_>) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/programs/python-liburing.py");
    let wheel = scene.target.join(WHEEL).to_string_lossy().into_owned();
    let mut argv = vec!["env".to_owned(), format!("PYTHONPATH={wheel}")];
    argv.extend(["/usr/bin/python3".to_owned(), script.to_owned()]);
    argv.push(scene.dir.to_string_lossy().into_owned());
    argv
}

fn says(what: &str, ran: &Ran) -> Result<(), String> {
    if ran.stdout.contains(what) { Ok(()) } else { Err(format!("it said {:?}", ran.stdout)) }
}

fn echoed_and_copied(ran: &Ran, _: &Scene<'_>) -> Result<(), String> {
    says("echoed 1600", ran)?;
    says("copied 463ff509c247c3e8c118b642", ran)
}

fn client(scene: &Scene<'_>, name: &str) -> Vec<String> {
    vec![format!("{}/{name}", scene.clients), scene.dir.to_string_lossy().into_owned()]
}

/// What `tests/programs/postgres-fetch.sh` fetched, in the target folder.
const POSTGRES: &str = "postgres-18/usr/lib/postgresql/18/bin/postgres";

/// What `tests/programs/postgres-regress-fetch.sh` added there: its own tests.
const POSTGRES_TESTS: &str = "postgres-18/regress/pg_regress";

/// What `tests/programs/python-fetch.sh` fetched, in the target folder.
const WHEEL: &str = "python-liburing";

/// Has completions come late and in another order, under ringer.
const SHUFFLED: &str = "RINGER_SHUFFLE=20261127";

fn shuffled(argv: Vec<String>) -> Vec<String> {
    [vec!["env".into(), SHUFFLED.into()], argv].concat()
}

fn postgres(scene: &Scene<'_>) -> Vec<String> {
    let bin = scene.target.join(POSTGRES).with_file_name("");
    [script(scene, "postgres.sh"), vec![bin.to_string_lossy().into_owned()]].concat()
}

fn postgres_tests(scene: &Scene<'_>) -> Vec<String> {
    let [bin, tests] =
        [POSTGRES, POSTGRES_TESTS].map(|file| scene.target.join(file).with_file_name(""));
    let folders = [bin, tests].map(|folder| folder.to_string_lossy().into_owned());
    [script(scene, "postgres-regress.sh"), folders.to_vec()].concat()
}

/// A third of a minute each time, which the tier of containers does not have.
const UNCONTAINED: &str = "PostgreSQL 18, 24 of its own tests";

/// Among what a program needs: the right to become another user.
const USERS: &str = "the right to become another user";

const PROGRAMS: &[Program] = &[
    Program {
        name: "fio randwrite, verified",
        argv: |s| fio(s, &format!("--rw=randwrite {VERIFY}")),
        judge: fio_result,
        opcodes: &["READ", "WRITE"],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "fio randread",
        argv: |s| fio(s, "--rw=randread"),
        judge: fio_result,
        opcodes: &["READ"],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "fio randrw in a thread, synced",
        argv: |s| fio(s, &format!("--rw=randrw --thread --fsync=64 --io_size=32m {VERIFY}")),
        judge: fio_result,
        opcodes: &["READ", "WRITE"],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "fio registerfiles, fixedbufs, verified",
        argv: |s| fio(s, &format!("--rw=randwrite --registerfiles --fixedbufs {VERIFY}")),
        judge: fio_result,
        opcodes: &["READ_FIXED", "WRITE_FIXED"],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "fio direct, verified",
        argv: |s| fio(s, &format!("--rw=randwrite --direct=1 {VERIFY}")),
        judge: fio_result,
        opcodes: &["READ", "WRITE"],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "fio sqthread_poll",
        argv: |s| fio(s, "--rw=randread --registerfiles --sqthread_poll"),
        judge: fio_result,
        opcodes: &["READ"],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "qemu-img convert",
        argv: convert,
        judge: same_images,
        opcodes: &["READV", "WRITEV"],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "qemu-io",
        argv: qemu_io,
        judge: patterns,
        opcodes: &["READV", "WRITEV", "FSYNC"],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "qemu-nbd and its clients",
        argv: |s| script(s, "qemu-nbd.sh"),
        judge: |ran, _| says("image 25165824 bytes, equal", ran),
        opcodes: &["READV", "WRITEV", "FSYNC"],
        kernel: true,
        needs: &["qemu-nbd", "qemu-io"],
    },
    Program {
        name: "qemu-system, booted from a disk",
        argv: |s| script(s, "qemu-system.sh"),
        judge: |ran, _| says("2 machines, 8192 sectors read and written, sums equal", ran),
        opcodes: &["READV", "WRITEV", "FSYNC"],
        kernel: true,
        needs: &["qemu-system-x86_64", "as", "ld"],
    },
    Program {
        name: "node, 200 files",
        argv: node,
        judge: |ran, _| {
            says("30b4bd12c492b2cf7984513b9c1ebefae823a2b3dfe58b094f4cb1415bdfbf33", ran)
        },
        opcodes: &["READV", "WRITEV", "FSYNC", "OPENAT", "STATX", "CLOSE", "RENAMEAT", "EPOLL_CTL"],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "mariadbd, killed and recovered",
        argv: |s| script(s, "mariadb.sh"),
        judge: |ran, _| says("rows 54060, checksums equal, nothing committed lost", ran),
        opcodes: &["READV", "WRITEV"],
        kernel: true,
        needs: &["mariadbd", "mariadb-install-db", "mariadb-admin"],
    },
    Program {
        name: "mariadbd, completions shuffled",
        argv: |s| shuffled(script(s, "mariadb.sh")),
        judge: |ran, _| says("rows 54060, checksums equal, nothing committed lost", ran),
        opcodes: &["READV", "WRITEV"],
        kernel: false,
        needs: &["mariadbd", "mariadb-install-db", "mariadb-admin"],
    },
    Program {
        name: "PostgreSQL 18, killed and recovered",
        argv: postgres,
        judge: |ran, _| says("accounts 500000, balances equal, nothing committed lost", ran),
        opcodes: &["READ", "READV"],
        kernel: true,
        needs: &[POSTGRES, USERS],
    },
    Program {
        name: "PostgreSQL 18, completions shuffled",
        argv: |s| shuffled(postgres(s)),
        judge: |ran, _| says("accounts 500000, balances equal, nothing committed lost", ran),
        opcodes: &["READ", "READV"],
        kernel: false,
        needs: &[POSTGRES, USERS],
    },
    Program {
        name: UNCONTAINED,
        argv: postgres_tests,
        judge: |ran, _| says("24 of 24 tests passed", ran),
        opcodes: &["READ"],
        kernel: true,
        needs: &[POSTGRES, POSTGRES_TESTS, USERS],
    },
    Program {
        name: "samba, vfs_io_uring",
        argv: |s| {
            // Its server signals its process group.
            [words("setsid --wait"), script(s, "samba.sh")].concat()
        },
        judge: |ran, _| says("48 files, bytes equal", ran),
        opcodes: &["READV", "WRITEV"],
        kernel: true,
        needs: &["smbd", "smbclient", "/usr/lib/x86_64-linux-gnu/samba/vfs/io_uring.so", USERS],
    },
    Program {
        name: "plocate",
        argv: plocate,
        judge: |ran, _| match ran.stdout.lines().count() {
            11 => Ok(()),
            n => Err(format!("{n} names")),
        },
        opcodes: &["READV"],
        kernel: true,
        needs: &["updatedb.plocate"],
    },
    Program {
        name: "stress-ng --io-uring --verify",
        argv: |s| {
            // It names its file by where it is.
            let stress = "exec stress-ng --io-uring 1 --io-uring-ops 400 --verify";
            let script = format!("cd {} && {stress}", s.dir.to_string_lossy());
            ["sh", "-c", &script].map(str::to_owned).to_vec()
        },
        judge: |ran, _| match ran.stderr.contains("successful run completed") {
            true => Ok(()),
            false => Err(format!("it said {:?}", ran.stderr)),
        },
        opcodes: &["FALLOCATE", "FADVISE", "MADVISE", "SYNC_FILE_RANGE", "READV", "WRITEV"],
        kernel: true,
        needs: &["stress-ng"],
    },
    Program {
        name: "C with musl, syscall(2) and instructions",
        argv: musl,
        judge: |ran, _| says("musl: 8 parts, twice", ran),
        opcodes: &[
            "READ",
            "WRITE",
            "FSYNC",
            "RECV",
            "SEND",
            "POLL_ADD",
            "READ_FIXED",
            "WRITE_FIXED",
        ],
        kernel: true,
        needs: &["musl-gcc"],
    },
    Program {
        name: "Python, a wheel with liburing inside",
        argv: python,
        judge: |ran, _| {
            says("files bbfd149944e076250a8315da 566cc4c85bc7deae0a813ec0, echoed 1456", ran)
        },
        opcodes: &[
            "OPENAT", "WRITE", "FSYNC", "READ", "STATX", "CLOSE", "RENAMEAT", "ACCEPT", "CONNECT",
            "SEND", "RECV",
        ],
        kernel: true,
        needs: &["python-liburing/liburing/liburing.so"],
    },
    Program {
        name: "io-uring crate, fixed files and buffers",
        argv: |s| client(s, "crate-copy"),
        judge: |ran, _| says("eff0fd60890045883e8aab72ace77d67", ran),
        opcodes: &["READ_FIXED", "WRITE_FIXED", "FSYNC"],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "tokio-uring, echo and copy",
        argv: |s| client(s, "tokio-echo"),
        judge: echoed_and_copied,
        opcodes: &["ACCEPT", "CONNECT", "READ", "WRITE", "CLOSE"],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "tokio with its io_uring, files",
        argv: |s| client(s, "tokio-files"),
        judge: |ran, _| says("files 40, bytes 15557960", ran),
        opcodes: &["OPENAT", "STATX", "READ", "WRITE"],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "monoio, echo and copy",
        argv: |s| client(s, "monoio-echo"),
        judge: echoed_and_copied,
        opcodes: &[
            "ACCEPT", "CONNECT", "SEND", "RECV", "OPENAT", "READ", "WRITE", "FSYNC", "CLOSE",
        ],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "compio, echo and copy",
        argv: |s| client(s, "compio-echo"),
        judge: echoed_and_copied,
        opcodes: &["SOCKET", "BIND", "LISTEN", "ACCEPT", "CONNECT", "SEND", "RECV", "POLL_ADD"],
        kernel: true,
        needs: &[],
    },
    Program {
        name: "glommio, echo, copy and O_DIRECT",
        argv: |s| client(s, "glommio-echo"),
        judge: |ran, scene| {
            echoed_and_copied(ran, scene)?;
            says("direct 35b463798719ead504c86e69", ran)
        },
        opcodes: &[
            "ACCEPT",
            "CONNECT",
            "POLL_ADD",
            "TIMEOUT",
            "READ_FIXED",
            "WRITE_FIXED",
            "STATX",
        ],
        kernel: true,
        needs: &[],
    },
];

/// What one run came to.
enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
}

fn installed(program: &str, target: &Path) -> bool {
    if program == USERS {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--clear-groups", "true"]);
        return command.output().is_ok_and(|out| out.status.success());
    }
    if program.contains('/') {
        return Path::new(program).exists() || target.join(program).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|d| d.join(program).exists())
}

fn run(p: &Program, ringer: &str, built: (&str, &Path), under: Under) -> Verdict {
    let scratch = Scratch::new();
    let dir = scratch.path("");
    let (clients, target) = built;
    let scene = Scene { dir: &dir, clients, target };
    let argv = (p.argv)(&scene);
    let program = argv.iter().find(|w| *w != "env" && !w.contains('=')).expect("a program");
    for needed in p.needs.iter().chain([&program.as_str()]) {
        if !installed(needed, target) {
            return Verdict::Skipped(format!("{needed} is not there"));
        }
    }
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let ran = harness::run_within(60, ringer, under, &argv);
    let tail = |s: &str| s.lines().rev().take(6).collect::<Vec<_>>().join(" | ");
    if ran.code != 0 {
        let words = tail(&ran.stderr);
        return Verdict::Failed(format!("exit code {}: {words} {}", ran.code, tail(&ran.stdout)));
    }
    if let Err(why) = (p.judge)(&ran, &scene) {
        return Verdict::Failed(format!("{why}: {}", tail(&ran.stderr)));
    }
    if under == Under::Kernel {
        return Verdict::Passed;
    }
    for op in p.opcodes {
        if ran.stats.requests(op) == 0 {
            return Verdict::Failed(format!("no {op} was counted: {:?}", ran.stats.processes));
        }
    }
    match ran.stats.native_calls() {
        0 => Verdict::Passed,
        n => Verdict::Failed(format!("{n} calls went to the kernel's io_uring")),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| {
        let at = args.iter().position(|a| a == flag)?;
        args.get(at + 1).cloned()
    };
    let Some(ringer) = value("--ringer") else {
        println!("usage: programs --ringer PATH --clients FOLDER [--only NAME] [--here]");
        return ExitCode::from(2);
    };
    let exe = std::env::current_exe().expect("a name");
    let folder = exe.parent().expect("a folder");
    harness::prebuilt(folder);
    let target = folder.parent().unwrap_or(folder);
    let clients = value("--clients").unwrap_or_default();
    let only = value("--only").unwrap_or_default();
    let here = args.iter().any(|a| a == "--here");
    let mut places = if here { vec![Under::Ringer] } else { Under::BLOCKED.to_vec() };
    match harness::kernel_lacks() {
        None if here => {
            println!("io_uring is not refused here");
            return ExitCode::FAILURE;
        }
        None => places.insert(0, Under::Kernel),
        Some(why) => println!("no native runs to compare with: {why}"),
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let everywhere = |p: &Program| p.kernel && p.name != UNCONTAINED;
    let wanted = PROGRAMS.iter().filter(|p| p.name.contains(&only) && (everywhere(p) || !here));
    for p in wanted {
        for &under in places.iter().filter(|under| runs_there(p, **under)) {
            let before = std::time::Instant::now();
            let verdict = run(p, &ringer, (&clients, target), under);
            let ms = before.elapsed().as_millis();
            let said = match verdict {
                Verdict::Passed => {
                    passed += 1;
                    "ok".to_owned()
                }
                Verdict::Skipped(why) => {
                    skipped += 1;
                    format!("skipped: {why}")
                }
                Verdict::Failed(why) => {
                    failed += 1;
                    format!("FAILED: {why}")
                }
            };
            println!("{:42} {:18} {ms:6} ms  {said}", p.name, place(under));
        }
    }
    println!("programs: {passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What is only another way to run ringer does not change with who refuses io_uring: it runs in one
/// profile, and so do databases, which take long and which the tier of containers has in Docker's.
fn runs_there(p: &Program, under: Under) -> bool {
    match under {
        Under::Kernel => p.kernel,
        Under::Blocked(Profile::Docker) => {
            p.kernel && !p.needs.iter().any(|needed| ["mariadbd", POSTGRES].contains(needed))
        }
        Under::Ringer | Under::Blocked(_) => true,
    }
}

fn place(under: Under) -> String {
    match under {
        Under::Kernel => "kernel".to_owned(),
        Under::Ringer => "ringer".to_owned(),
        Under::Blocked(p) => format!("ringer in {}", p.name()),
    }
}
