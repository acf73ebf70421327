#!/usr/bin/env bash
# postgres-fetch.sh FOLDER: Debian's PostgreSQL 18, with the libraries it needs, so that it runs on this machine.
#
# Releases before forky have none with io_method=io_uring: the packages come from the suites below of this machine's
# own archive, are unpacked and never installed. Its programs are told (patchelf) where their loader and
# libraries are, so that no chroot is needed to run them, and they run in containers too. Does nothing where they
# already run; fails with a reason where they cannot be had.
set -eu -o pipefail
root=$1
bin=usr/lib/postgresql/18/bin
lib=usr/lib/x86_64-linux-gnu

works() { [ -x "$root/$bin/postgres" ] && "$root/$bin/postgres" --version | grep -q ' 18\.'; }
works 2>/dev/null && exit 0
for tool in mmdebstrap patchelf apt-get; do
    command -v $tool >/dev/null || { echo "$tool is not installed"; exit 1; }
done

# Of whatever format apt's sources are; mmdebstrap finds the key.
uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/$') ||
    { echo "no Debian archive among this machine's apt sources"; exit 1; }
mkdir -p "$(dirname "$root")"
part=$root.part log=$root.log
rm -rf "$root" "$part"
: >"$log"
for suite in sid testing; do
    # A copy of the archive may be older than its index allows; it is signed nevertheless.
    source="deb [arch=amd64 check-valid-until=no] $uri $suite main"
    timeout 150 mmdebstrap --variant=extract --include=postgresql-18 --aptopt='Acquire::Retries "1"' \
        --aptopt='Acquire::http::Timeout "20"' --format=directory "$suite" "$part" "$source" >>"$log" 2>&1 && break
    rm -rf "$part"
done
[ -d "$part" ] || { echo "PostgreSQL 18 could not be fetched: $(grep -m 1 '^E:' "$log")"; exit 1; }

mkdir -p "$root/usr/lib" "$root/usr/share"
mv "$part/$lib" "$part/usr/lib/postgresql" "$root/usr/lib"
mv "$part/usr/share/postgresql" "$root/usr/share"
rm -rf "$part"
root=$(realpath "$root")
for program in "$root/$bin"/*; do
    # DT_RPATH, as what the libraries need themselves is looked for there too.
    patchelf --set-interpreter "$root/$lib/ld-linux-x86-64.so.2" --force-rpath --set-rpath "$root/$lib" "$program"
done
works || { echo "what was fetched does not run"; exit 1; }
