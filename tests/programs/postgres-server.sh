# postgres-server.sh, sourced with $dir and $bin set: a PostgreSQL 18 server with io_method=io_uring in $dir.
#
# The postmaster makes a ring for each process that there may be and forks; a backend submits on its own and reaps
# any. It refuses root, who therefore runs $bin's programs as nobody. Everything lives in $dir; whoever preloads
# something into the script preloads it into the server, which listens on a socket there only.
data=$dir/data log=$dir/log
export LC_ALL=C PGHOST=$dir PGUSER=postgres PGDATABASE=postgres PGCONNECT_TIMEOUT=10
user=()
if [ "$(id -u)" -eq 0 ]; then
    user=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups)
    chown nobody "$dir"
    # What counts there must be the server's own.
    [ -z "${RINGER_STATS:-}" ] || chown nobody "$RINGER_STATS" "$(dirname "$RINGER_STATS")"
fi

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

# initialise OPTION... <CONFIGURATION
initialise() {
    local more
    more=$(cat)
    run initdb --no-sync --no-instructions --auth=trust --username=postgres -D "$data" "$@" >"$dir/initdb" 2>&1 ||
        { cat "$dir/initdb" >&2; exit 1; }
    "${user[@]}" tee -a "$data/postgresql.conf" >/dev/null <<CONF
io_method = io_uring
listen_addresses = ''
unix_socket_directories = '$dir'
$more
CONF
}
# start OPTION...
start() {
    "${user[@]}" "$bin/postgres" -D "$data" "$@" >>"$log" 2>&1 &
    server=$!
    until_true "answered" sql 'SELECT 1'
    [ "$(sql 'SHOW io_method')" = io_uring ] || die "not by io_uring"
}
stop() {
    kill -INT "$server"
    wait "$server" || die "it ended with $?"
    server=
}
# For an exit: no server is left behind.
end_server() { [ -z "${server:-}" ] || { kill -QUIT "$server" 2>/dev/null && wait "$server"; } || true; }
