#!/usr/bin/env bash
# postgres.sh FOLDER BIN: PostgreSQL 18 with io_method=io_uring is loaded, loses a backend, recovers, and is checked.
#
# The postmaster makes a ring for each process that there may be and forks; a backend submits on its own and reaps
# any. It refuses root, who therefore runs BIN's programs as nobody. Everything lives in FOLDER; whoever preloads
# something into this script preloads it into the server, which listens on a socket there only. Its buffers are so
# few that every scan reads: from the page cache first, past it (debug_io_direct) once it was started again.
# Prints "accounts 500000, balances equal, nothing committed lost"; fails otherwise.
set -eu -o pipefail
dir=$1 bin=$2
data=$dir/data log=$dir/log
export LC_ALL=C PGHOST=$dir PGUSER=postgres PGDATABASE=postgres PGCONNECT_TIMEOUT=10
user=()
if [ "$(id -u)" -eq 0 ]; then
    user=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups)
    chown nobody "$dir"
    # What counts there must be the server's own.
    [ -z "${RINGER_STATS:-}" ] || chown nobody "$RINGER_STATS" "$(dirname "$RINGER_STATS")"
fi
ended() {
    local code=$?
    [ $code -eq 0 ] || grep -vE "checkpoint|recovery mode|not yet accepting|recovery state" "$log" | tail -n 20 >&2
    [ -n "${server:-}" ] && kill -QUIT "$server" 2>/dev/null && wait "$server"
    exit $code
}
trap ended EXIT

run() {
    local program=$1
    shift
    timeout 30 "${user[@]}" "$bin/$program" "$@"
}
sql() { run psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --command="$1"; }
die() { echo "$*" >&2; exit 1; }

# until_true WHAT COMMAND...: waits for a state, for at most 20 s.
until_true() {
    local what=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -le 200 ] && kill -0 "$server" 2>/dev/null || die "it never $what"
        sleep 0.1
    done
}

start() {
    "${user[@]}" "$bin/postgres" -D "$data" "$@" >>"$log" 2>&1 &
    server=$!
    until_true "answered" sql 'SELECT 1'
}
stop() {
    kill -INT "$server"
    wait "$server" || die "it ended with $?"
    server=
}

# The balances of accounts, tellers, branches and the history of all that was committed, which are the same number.
balances() {
    sql 'SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
        (SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)'
}
consistent() {
    local all
    all=$(balances)
    [ "$(tr '|' '\n' <<<"$all" | sort -u | wc -l)" -eq 1 ] || die "balances differ: $all"
}
accounts() { sql "SELECT count(*), sum(hashint8(aid)), sum(length(filler)) FROM pgbench_accounts WHERE aid > $1"; }
# scans N: so many at once, each of which joins the reads of those before it; all must see the same.
scans() {
    local clients='' client
    rm -f "$dir"/scan.*
    for client in $(seq "$1"); do
        accounts 0 >"$dir/scan.$client" &
        clients="$clients $!"
    done
    for client in $clients; do wait "$client"; done
    [ "$(cat "$dir"/scan.* | sort -u)" = "$whole" ] || die "scans differ: $(cat "$dir"/scan.*)"
}
committed() { sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$1"; }

run initdb --no-sync --no-instructions --auth=trust --username=postgres -D "$data" >"$dir/initdb" 2>&1 ||
    { cat "$dir/initdb" >&2; exit 1; }
"${user[@]}" tee -a "$data/postgresql.conf" >/dev/null <<CONF
io_method = io_uring
listen_addresses = ''
unix_socket_directories = '$dir'
shared_buffers = 16MB
max_connections = 24
max_wal_size = 64MB
min_wal_size = 32MB
dynamic_shared_memory_type = mmap
min_parallel_table_scan_size = 1MB
statement_timeout = 25s
restart_after_crash = on
CONF
start
[ "$(sql 'SHOW io_method')" = io_uring ] || die "not by io_uring"
run pgbench --initialize --scale=5 --quiet >"$dir/load" 2>&1 || { cat "$dir/load" >&2; exit 1; }
whole=$(accounts 0)
[ "${whole%%|*}" -eq 500000 ] || die "loaded: $whole"
scans 6
run pgbench --select-only --client=4 --transactions=500 --no-vacuum >"$dir/selects" 2>&1 || cat "$dir/selects" >&2
[ "$(committed "$dir/selects")" -eq 2000 ] || die "$(cat "$dir/selects")"
run pgbench --client=4 --transactions=250 --no-vacuum >"$dir/updates" 2>&1 || cat "$dir/updates" >&2
[ "$(committed "$dir/updates")" -eq 1000 ] || die "$(cat "$dir/updates")"
[ "$(sql 'SELECT count(*) FROM pgbench_history')" -eq 1000 ] || die "updates without their history"
consistent

stop

start -c debug_io_direct=data
scans 6
# One that reads is killed among others that write: all are thrown out, and what they were told is committed is there.
run pgbench --client=4 --time=25 --no-vacuum >"$dir/killed" 2>&1 &
writers=$!
for reader in 1 2; do
    (while accounts 0; do :; done) >/dev/null 2>&1 &
    readers="${readers:-} $!"
done
in_flight() {
    victim=$(sql "SELECT pid FROM pg_aios JOIN pg_stat_activity USING (pid) WHERE operation = 'readv'
        AND query LIKE '%hashint8%' AND (SELECT count(*) > 1100 FROM pgbench_history) LIMIT 1")
    [ -n "$victim" ] && "${user[@]}" kill -KILL "$victim"
}
until_true "had a read in flight" in_flight
wait "$writers" && die "pgbench did not lose its server"
for reader in $readers; do wait "$reader" || true; done
told=$((1000 + $(committed "$dir/killed")))
until_true "recovered" sql 'SELECT 1'
grep -q 'was terminated by signal 9' "$log" || die "no backend was killed"
there=$(sql 'SELECT count(*) FROM pgbench_history')
# A commit may have been carried out and not told, one of each client.
[ "$there" -ge "$told" ] && [ "$there" -le $((told + 4)) ] || die "$told transactions were committed, $there are there"
consistent
scans 6
sql 'VACUUM (FREEZE, ANALYZE) pgbench_accounts'
run pg_amcheck --install-missing --heapallindexed --jobs=2 >"$dir/amcheck" 2>&1 || { cat "$dir/amcheck" >&2; exit 1; }
consistent
[ "$(sql "SELECT sum(reads) > 1000 FROM pg_stat_io WHERE object = 'relation'")" = t ] || die "hardly a read"
stop
! grep -E 'PANIC|could not read|invalid page|checksum' "$log" >&2
echo "accounts ${whole%%|*}, balances equal, nothing committed lost"
