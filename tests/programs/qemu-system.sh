#!/usr/bin/env bash
# qemu-system.sh FOLDER: a machine without KVM that boots from a disk, copies it to a second one and back.
#
# One disk is IDE and served by the main thread, the other virtio and served by a thread of its own, each by
# io_uring; one past the page cache, the other through it, then the other way round. The program that boots is
# qemu-boot.s. Everything lives in FOLDER; whoever preloads something into this script preloads it into QEMU.
# Prints "2 machines, N sectors read and written, sums equal"; fails otherwise.
set -eu
dir=$1
sectors=2048
size=$((sectors * 512))
as --32 --defsym COUNT=$sectors -o "$dir/boot.o" "$(dirname "$0")/qemu-boot.s"
ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o "$dir/boot" "$dir/boot.o"

# machine CACHE CACHE: the caches of the two disks.
machine() {
    local sum disk=format=raw,if=none,aio=io_uring
    head -c "$size" /dev/urandom >"$dir/from"
    dd if="$dir/boot" of="$dir/from" conv=notrunc status=none
    cp "$dir/from" "$dir/disk0"
    truncate -s $((2 * size)) "$dir/disk0"
    rm -f "$dir/disk1"
    truncate -s "$size" "$dir/disk1"
    timeout -k 2 20 qemu-system-x86_64 -machine pc -accel tcg -m 16 -nodefaults -no-user-config -display none -net none \
        -serial "file:$dir/serial" -object iothread,id=thread \
        -drive "$disk,id=disk0,file=$dir/disk0,cache=$1" -device ide-hd,drive=disk0,bootindex=0 \
        -drive "$disk,id=disk1,file=$dir/disk1,cache=$2" -device virtio-blk-pci,drive=disk1,bootindex=1,iothread=thread
    # Of what went in, and of what came back.
    sum=$(printf '%04x' "$((10#$(sum <"$dir/from" | cut -d' ' -f1)))")
    echo "sums $sum $sum" | diff - "$dir/serial"
    cmp "$dir/from" "$dir/disk1"
    cat "$dir/from" "$dir/from" | cmp - "$dir/disk0"
}

machine none writeback
machine writeback none
echo "2 machines, $((4 * sectors)) sectors read and written, sums equal"
