#!/usr/bin/env bash
# mariadb.sh FOLDER: a MariaDB server writes, checksums, is killed, recovers and checksums again; then it is killed
# while four clients write, and has all that they were told is there.
#
# InnoDB reads and writes its pages through io_uring (--innodb-use-native-aio). Everything lives in
# FOLDER; whoever preloads something into this script preloads it into the server. Prints
# "rows N, checksums equal, nothing committed lost"; fails otherwise, and when InnoDB says that it fell back.
set -eu
dir=$1
data=$dir/data socket=$dir/socket log=$dir/log
user=$(id -un)
trap '[ -n "${server:-}" ] && kill -KILL "$server" 2>/dev/null || true' EXIT

mariadb-install-db --no-defaults --datadir="$data" --user="$user" --skip-test-db \
    --auth-root-authentication-method=normal >"$dir/install.log" 2>&1

start() {
    mariadbd --no-defaults --datadir="$data" --socket="$socket" --user="$user" --skip-networking \
        --pid-file="$dir/pid" --innodb-use-native-aio=1 --innodb-flush-method=O_DIRECT \
        --innodb-buffer-pool-size=16M >>"$log" 2>&1 &
    server=$!
    until mariadb-admin --no-defaults --socket="$socket" --user=root ping >/dev/null 2>&1; do
        kill -0 "$server" || { tail -20 "$log" >&2; exit 1; }
    done
}

sql() {
    mariadb --no-defaults --socket="$socket" --user=root --batch --skip-column-names test -e "$1"
}

start
mariadb --no-defaults --socket="$socket" --user=root -e 'CREATE DATABASE test'
sql 'CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a INT, b VARCHAR(400), KEY (a))'
sql "INSERT INTO t (a, b) SELECT seq * 7919 % 1000, REPEAT(MD5(seq), 10) FROM seq_1_to_60000"
for i in 1 2 3 4; do
    sql "UPDATE t SET b = REPEAT(MD5(a + $i), 9) WHERE id BETWEEN $((i * 9000)) AND $((i * 9000 + 5000))" &
    clients="${clients:-} $!"
done
for client in $clients; do wait "$client"; done
sql 'DELETE FROM t WHERE a > 900'
before=$(sql 'SELECT COUNT(*), SUM(CRC32(CONCAT(id, a, b))) FROM t')
kill -KILL "$server"
wait "$server" 2>/dev/null || true
start
after=$(sql 'SELECT COUNT(*), SUM(CRC32(CONCAT(id, a, b))) FROM t')
sql 'CHECK TABLE t EXTENDED' | grep -q 'status.*OK'

# Each says what it has written once it is committed; every page of the table is written again and again.
sql 'CREATE TABLE log (client INT, n INT, b VARCHAR(4000), PRIMARY KEY (client, n))'
writers=
for client in 1 2 3 4; do
    for n in $(seq 5000); do
        echo "INSERT INTO log VALUES ($client, $n, REPEAT(MD5($n), 100)); UPDATE t SET b = REPEAT(MD5(id + $n), 9) WHERE id BETWEEN $((n % 90 * 600)) AND $((n % 90 * 600 + 60)); SELECT $n;"
    done | mariadb --no-defaults --socket="$socket" --user=root --batch --skip-column-names --unbuffered test \
        >"$dir/told.$client" 2>/dev/null &
    writers="$writers $!"
done
for client in 1 2 3 4; do
    until [ "$(wc -l <"$dir/told.$client")" -ge 12 ]; do kill -0 "$server"; sleep 0.05; done
done
kill -KILL "$server"
wait "$server" 2>/dev/null || true
for writer in $writers; do wait "$writer" || true; done
start
for client in 1 2 3 4; do
    told=$(tail -n 1 "$dir/told.$client")
    there=$(sql "SELECT COUNT(*) FROM log WHERE client = $client AND CRC32(b) = CRC32(REPEAT(MD5(n), 100))")
    # One may have been committed and not told.
    [ "$there" -ge "$told" ] && [ "$there" -le $((told + 1)) ] || { echo "client $client: told $told, there $there" >&2; exit 1; }
done
sql 'CHECK TABLE t, log EXTENDED' | grep -c 'status.*OK' | grep -qx 2
mariadb-admin --no-defaults --socket="$socket" --user=root shutdown
wait "$server"
grep -qi 'falling back\|Linux Native AIO disabled' "$log" && { grep -i 'aio\|uring' "$log" >&2; exit 1; }
[ "$before" = "$after" ] || { echo "before: $before, after: $after" >&2; exit 1; }
echo "rows ${before%%	*}, checksums equal, nothing committed lost"
