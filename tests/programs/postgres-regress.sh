#!/usr/bin/env bash
# postgres-regress.sh FOLDER BIN TESTS [all]: PostgreSQL 18's own regression tests, with io_method=io_uring.
#
# TESTS is what postgres-regress-fetch.sh made; postgres-server.sh says how the server runs. Its buffers are fewer than
# the tests' larger tables have pages: with those that initdb chooses, hardly anything is read twice. In order, grouped
# and expected as their own schedule says, those run that read most for their time, after those that they depend on,
# from the page cache; with "all", every test, and every test again on a second server, which reads past the page
# cache (debug_io_direct) and, having more buffers, several pages at once.
# Says for each server "N of N tests passed", and which took another expected file than their first (that of a build or
# a machine that lacks something); fails with the names of those that did not pass. What they wrote stays in FOLDER.
set -eu -o pipefail
dir=$1 bin=$2 tests=$3 form=${4:-brief}
. "$(dirname "$0")/postgres-server.sh"
trap end_server EXIT

# create_misc, create_aggregate and create_index are there for what others need of them.
brief='test_setup polygon create_misc create_index create_aggregate subselect union join btree_index hash_index brin
    gist groupingsets join_hash tidscan select_parallel cluster bitmapops window indexing partition_aggregate
    memoize oidjoins tablespace'

# schedule FORM: its groups, without the tests that are not wanted.
schedule() {
    awk -v form="$1" -v wanted="$brief" 'BEGIN { for (n = split(wanted, name); n; n--) keep[name[n]] }
        $1 == "test:" {
            group = ""
            for (i = 2; i <= NF; i++) if (form == "all" || $i in keep) group = group " " $i
            if (group) print "test:" group
        }' "$tests/parallel_schedule"
}

# pass NAME SECONDS <CONFIGURATION: the tests of the schedule, on a server of their own.
pass() {
    local name=$1 seconds=$2 wanted test passed=0 failed='' other=''
    local out=$dir/$name
    data=$out.data log=$out.log
    # As pg_regress configures a server that it starts itself, and their encoding.
    initialise --encoding=UTF8 --locale=C < <(cat; printf '%s\n' 'fsync = off' 'max_prepared_transactions = 2')
    start
    "${user[@]}" mkdir "$out"
    timeout "$seconds" "${user[@]}" "$tests/pg_regress" --host="$dir" --user=postgres --bindir="$bin" \
        --inputdir="$tests" --expecteddir="$tests" --outputdir="$out" --dlpath="$tests" --schedule="$dir/schedule" \
        >"$out.said" 2>&1 || echo "pg_regress ended with $?" >>"$out.said"
    stop
    wanted=$(sed 's/^test://' "$dir/schedule")
    for test in $wanted; do
        if grep -qE "^ok [0-9]+ +[-+] $test " "$out.said"; then
            passed=$((passed + 1))
            cmp -s "$tests/expected/$test.out" "$out/results/$test.out" || other="$other $test"
        else
            failed="$failed $test"
        fi
    done
    [ -z "$other" ] || echo "$name: another expected file than the first:$other"
    echo "$name: $passed of $(wc -w <<<"$wanted") tests passed"
    if grep -E 'PANIC|TRAP|was terminated by signal|invalid page|checksum' "$log" >&2; then
        die "$name: the server's log says so; failed:${failed:- none}"
    fi
    if [ -n "$failed" ]; then
        grep -m 4 '^[-+][^-+]' "$out/regression.diffs" >&2 || true
        die "$name: failed:$failed; $(tail -n 1 "$out.said")"
    fi
    grep -q "^# All $passed tests passed" "$out.said" || die "$name: $(tail -n 1 "$out.said")"
}

schedule "$form" >"$dir/schedule"
# 30 connections: a group has 20 tests at most, some of which connect twice.
seconds=50
[ "$form" = brief ] || seconds=600
pass cached $seconds <<CONF
max_connections = 30
shared_buffers = 2MB
CONF
[ "$form" = all ] || exit 0
pass direct $seconds <<CONF
max_connections = 30
shared_buffers = 16MB
debug_io_direct = data
CONF
