#!/usr/bin/env bash
# postgres.sh FOLDER BIN: PostgreSQL 18 with io_method=io_uring is loaded, loses a backend, recovers, and is checked.
#
# postgres-server.sh says how it runs. Its buffers are so few that every scan reads: from the page cache first, past
# it (debug_io_direct) once it was started again.
# Prints "accounts 500000, balances equal, nothing committed lost"; fails otherwise.
set -eu -o pipefail
dir=$1 bin=$2
. "$(dirname "$0")/postgres-server.sh"
ended() {
    local code=$?
    [ $code -eq 0 ] || grep -vE "checkpoint|recovery mode|not yet accepting|recovery state" "$log" | tail -n 20 >&2
    end_server
    exit $code
}
trap ended EXIT

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

initialise <<CONF
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
