#!/usr/bin/env bash
# samba.sh FOLDER: a Samba server whose share reads and writes by io_uring, and clients that put and get.
#
# vfs_io_uring makes a ring in each connection's process, which acts for its client's user by raw calls.
# Everything lives in FOLDER; whoever preloads something into this script preloads it into the server.
# The server listens on the loopback interface. Prints "N files, bytes equal"; fails otherwise.
set -eu
dir=$1
clients=4 files=12
port=$((20000 + $$ % 20000))
mkdir -p "$dir"/{share,private,lock,state,cache,pid,rpc}
chmod 777 "$dir/share"
chmod 755 "$dir"
cat >"$dir/smb.conf" <<CONF
[global]
    server role = standalone server
    map to guest = bad user
    guest account = nobody
    bind interfaces only = yes
    interfaces = 127.0.0.1
    smb ports = $port
    private dir = $dir/private
    lock directory = $dir/lock
    state directory = $dir/state
    cache directory = $dir/cache
    pid directory = $dir/pid
    ncalrpc dir = $dir/rpc
    log file = $dir/log
    load printers = no
    disable spoolss = yes
    aio read size = 1
    aio write size = 1
[share]
    path = $dir/share
    guest ok = yes
    writeable = yes
    vfs objects = io_uring
CONF
trap '[ -n "${server:-}" ] && kill "$server" 2>/dev/null || true' EXIT
smbd --foreground --configfile="$dir/smb.conf" >"$dir/out" 2>&1 &
server=$!

client() {
    smbclient --configfile="$dir/smb.conf" --no-pass --port="$port" //127.0.0.1/share --command="$1" >>"$dir/clients" 2>&1
}
tries=0
until client ls; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ] || ! kill -0 "$server" 2>/dev/null; then
        tail -5 "$dir/out" "$dir/log" "$dir/clients" >&2
        exit 1
    fi
    sleep 0.1
done

for i in $(seq $clients); do
    commands=
    for k in $(seq $files); do
        head -c $((i * k * k * 7919)) /dev/urandom >"$dir/from.$i.$k"
        commands="$commands put $dir/from.$i.$k file.$i.$k; get file.$i.$k $dir/to.$i.$k;"
    done
    client "$commands" &
    waits="${waits:-} $!"
done
for wait in $waits; do wait "$wait"; done
for file in "$dir"/from.*; do
    name=${file##*/from.}
    cmp "$file" "$dir/to.$name"
    cmp "$file" "$dir/share/file.$name"
    [ "$(stat -c %U "$dir/share/file.$name")" = nobody ]
done
kill "$server"
wait "$server" || true
server=
echo "$((clients * files)) files, bytes equal"
