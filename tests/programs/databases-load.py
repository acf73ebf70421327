#!/usr/bin/env python3
"""databases-load.py RINGER TARGET FOLDER: databases under load, on the kernel's io_uring and on ringer, in turns.

Two servers of each kind run side by side on copies of the same data, one on the kernel's ring and one under `RINGER run
--native never` with io_uring blocked; each work runs on both in turns, and what is printed are medians of ROUNDS and their
ratio, and the ratio of the best. PostgreSQL 18 is what postgres-fetch.sh put into TARGET/postgres-18; MariaDB is Debian's.
Needs root, which it leaves for PostgreSQL; listens on sockets in FOLDER only. What it does not do: judge.
"""
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

ROUNDS = 7
RINGER, TARGET, FOLDER = (os.path.abspath(path) for path in sys.argv[1:4])
BLOCKED = [f"{os.path.dirname(RINGER)}/blocked", "--profile", "eperm", "--", RINGER, "run", "--native", "never", "--"]
NOBODY = ["setpriv", "--reuid=nobody", "--regid=65534", "--clear-groups"]
POSTGRES = f"{TARGET}/postgres-18/usr/lib/postgresql/18/bin"
SIDES = {"kernel": [], "ringer": BLOCKED}


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


def until_it_answers(server, *ping):
    while subprocess.run(ping, capture_output=True).returncode != 0:
        if server.poll() is not None:
            sys.exit(f"{ping[0]}: the server ended")
        time.sleep(0.1)


def compare(name, work, better):
    """`work(side)` answers a figure; `better` is min or max."""
    seen = {side: [] for side in SIDES}
    for side in SIDES:
        work(side)
    for turn in range(ROUNDS):
        for side in list(SIDES)[:: 1 if turn % 2 else -1]:
            seen[side].append(work(side))
    kernel, ringer = (statistics.median(seen[side]) for side in SIDES)
    best = [better(seen[side]) for side in SIDES]
    # Above 1: ringer did more, or took less.
    ratio = [ringer / kernel, best[1] / best[0]] if better is max else [kernel / ringer, best[0] / best[1]]
    print(f"{name}: kernel {kernel:.1f}, ringer {ringer:.1f}: {ratio[0]:.2f}x (best {ratio[1]:.2f}x)", flush=True)


class Postgres:
    def __init__(self, side, direct):
        self.data, self.socket = f"{FOLDER}/pg-{side}/data", f"{FOLDER}/pg-{side}"
        settings = {
            "io_method": "io_uring", "listen_addresses": "", "shared_buffers": "16MB", "max_connections": "24",
            "debug_io_direct": direct, "autovacuum": "off", "dynamic_shared_memory_type": "mmap",
            "max_parallel_workers_per_gather": "0",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = SIDES[side] + NOBODY + [f"{POSTGRES}/postgres", "-D", self.data, "-k", self.socket] + options
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until_it_answers(self.server, *self.psql("SELECT 1"))

    def psql(self, text):
        return [f"{POSTGRES}/psql", "-XqtA", "-h", self.socket, "-U", "postgres", "-c", text, "postgres"]

    def scan(self):
        # One connection, of which the first scan is not counted.
        text = "\\timing on\nSELECT sum(abalance) FROM pgbench_accounts;\nSELECT sum(abalance) FROM pgbench_accounts;\n"
        said = run(*self.psql("SELECT 1")[:-3], "postgres", input=text)
        return float(re.findall(r"Time: ([0-9.]+) ms", said)[-1])

    def pgbench(self, *options):
        said = run(f"{POSTGRES}/pgbench", "-h", self.socket, "-U", "postgres", "-n", "-T", "3", *options, "postgres")
        return float(re.search(r"tps = ([0-9.]+)", said).group(1))

    def stop(self):
        with open(f"{self.data}/postmaster.pid", encoding="ascii") as file:
            os.kill(int(file.readline()), 2)
        self.server.wait()


def postgres():
    data = f"{FOLDER}/pg-kernel/data"
    for side in SIDES:
        os.makedirs(f"{FOLDER}/pg-{side}")
        shutil.chown(f"{FOLDER}/pg-{side}", "nobody")
    run(*NOBODY, f"{POSTGRES}/initdb", "--no-sync", "--auth=trust", "--username=postgres", "-D", data)
    first = Postgres("kernel", "")
    run(f"{POSTGRES}/pgbench", "-h", first.socket, "-U", "postgres", "-i", "-s", "20", "-q", "postgres")
    first.stop()
    run("cp", "-a", data, f"{FOLDER}/pg-ringer")
    for direct in ["", "data"]:
        pair = {side: Postgres(side, direct) for side in SIDES}
        how = "past the page cache" if direct else "from the page cache"
        compare(f"PostgreSQL, scan of 256 MB {how} [ms]", lambda side: pair[side].scan(), min)
        if not direct:
            compare("PostgreSQL, selects of 4 clients [1/s]", lambda side: pair[side].pgbench("-S", "-c4"), max)
            compare("PostgreSQL, updates of 4 clients [1/s]", lambda side: pair[side].pgbench("-c4"), max)
        for server in pair.values():
            server.stop()


class MariaDB:
    def __init__(self, side):
        self.socket = f"{FOLDER}/maria-{side}/socket"
        options = [
            "--no-defaults", f"--datadir={FOLDER}/maria-{side}/data", f"--socket={self.socket}", "--user=root",
            "--skip-networking", "--innodb-use-native-aio=1", "--innodb-flush-method=O_DIRECT",
            "--innodb-buffer-pool-size=16M", f"--pid-file={FOLDER}/maria-{side}/pid",
        ]
        command = SIDES[side] + ["mariadbd"] + options
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until_it_answers(self.server, *self.client("mariadb-admin", "ping"))

    def client(self, program, *more):
        return [program, "--no-defaults", f"--socket={self.socket}", "--user=root", *more]

    def slap(self, clients, count, text):
        options = [f"--concurrency={clients}", f"--number-of-queries={count}", f"--query={text}", "--delimiter=;"]
        said = run(*self.client("mariadb-slap", "--create-schema=test", "--no-drop", *options))
        return 1000 * float(re.search(r"Average number of seconds.*: ([0-9.]+)", said).group(1))

    def stop(self):
        run(*self.client("mariadb-admin", "shutdown"))
        self.server.wait()


def mariadb():
    for side in SIDES:
        os.makedirs(f"{FOLDER}/maria-{side}")
    run("mariadb-install-db", "--no-defaults", f"--datadir={FOLDER}/maria-kernel/data", "--user=root", "--skip-test-db",
        "--auth-root-authentication-method=normal")
    first = MariaDB("kernel")
    run(*first.client("mariadb"), input="""CREATE DATABASE test; USE test;
        CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a INT, b VARCHAR(400), KEY (a));
        INSERT INTO t (a, b) SELECT seq * 7919 % 1000, REPEAT(MD5(seq), 10) FROM seq_1_to_300000;""")
    first.stop()
    run("cp", "-a", f"{FOLDER}/maria-kernel/data", f"{FOLDER}/maria-ringer")
    pair = {side: MariaDB(side) for side in SIDES}
    some = "SET @x := FLOOR(RAND() * 299000);"
    works = [
        ("ranges of 400 rows, 4 clients", 4, 3000, some + "SELECT SUM(LENGTH(b)) FROM t WHERE id BETWEEN @x AND @x + 400;"),
        ("updates of 4 clients", 4, 8000, some + "UPDATE t SET b = REPEAT(MD5(@x), 9) WHERE id = @x;"),
        ("scan of 120 MB", 1, 2, "SELECT SUM(CRC32(b)) FROM t;"),
    ]
    for name, clients, count, text in works:
        compare(f"MariaDB, {name} [ms]", lambda side: pair[side].slap(clients, count, text), min)
    for server in pair.values():
        server.stop()


os.makedirs(FOLDER)
postgres()
mariadb()
shutil.rmtree(FOLDER)
