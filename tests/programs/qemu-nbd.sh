#!/usr/bin/env bash
# qemu-nbd.sh FOLDER: an NBD server that reads and writes its image by io_uring, and clients of it.
#
# Everything lives in FOLDER; whoever preloads something into this script preloads it into the server.
# Prints "image M bytes, equal"; fails otherwise.
set -eu
dir=$1
socket=$dir/socket
size=$((24 << 20))
head -c "$size" /dev/urandom >"$dir/from"
truncate -s "$size" "$dir/image"
trap '[ -n "${server:-}" ] && kill "$server" 2>/dev/null || true' EXIT
qemu-nbd --aio=io_uring --format=raw --persistent --shared=4 --discard=unmap --socket="$socket" "$dir/image" \
    >"$dir/out" 2>&1 &
server=$!
until [ -S "$socket" ]; do
    kill -0 "$server" || { cat "$dir/out" >&2; exit 1; }
    sleep 0.05
done
uri="nbd+unix:///?socket=$socket"
qemu-img convert -n -f raw -O raw "$dir/from" "$uri"
cmp "$dir/from" "$dir/image"
for i in 0 1 2; do
    qemu-io -f raw "$uri" -c "write -P 0x5$i $((i * 5))M 2M" -c "write -z $((i * 5 + 2))M 1M" -c flush \
        -c "read -P 0x5$i $((i * 5))M 2M" -c "read -P 0 $((i * 5 + 2))M 1M" >>"$dir/io" &
    clients="${clients:-} $!"
done
for client in $clients; do wait "$client"; done
! grep -q 'failed\|error' "$dir/io"
qemu-img convert -f raw -O raw "$uri" "$dir/to"
cmp "$dir/to" "$dir/image"
kill "$server"
wait "$server" || true
server=
echo "image $size bytes, equal"
