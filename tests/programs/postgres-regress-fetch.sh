#!/usr/bin/env bash
# postgres-regress-fetch.sh FOLDER: PostgreSQL's own regression tests, for what postgres-fetch.sh put into FOLDER.
#
# FOLDER/regress becomes src/test/regress of Debian's source package of that very version, with the pg_regress that
# Debian built and with regress.so, the tests' functions in C, built here. apt checks what it fetches from this
# machine's own archive; its lists and cache are of this folder only. Does nothing where they are already; fails with
# a reason where they cannot be had.
set -eu -o pipefail
root=$(realpath -m "$1")
bin=$root/usr/lib/postgresql/18/bin
lib=$root/usr/lib/x86_64-linux-gnu
part=$root/regress.part log=$root/regress.log

[ -x "$root/regress/pg_regress" ] && exit 0
[ -x "$bin/postgres" ] || { echo "no PostgreSQL in $root to test"; exit 1; }
for tool in apt-get dpkg-source dpkg-deb gcc patchelf; do
    command -v $tool >/dev/null || { echo "$tool is not installed"; exit 1; }
done
uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 '/debian/$') ||
    { echo "no Debian archive among this machine's apt sources"; exit 1; }
version=$("$bin/postgres" --version | sed -n 's/.*(Debian \(.*\))$/\1/p')

rm -rf "$part"
mkdir -p "$part"/{lists/partial,archives/partial,parts}
cd "$part"
: >"$log"
options=(-qq -o Dir::State::lists="$part/lists" -o Dir::Cache="$part" -o Dir::Etc::sourceparts="$part/parts"
    -o Dir::Etc::sourcelist=/dev/null -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none
    -o Acquire::Retries=1 -o Acquire::http::Timeout=20)
own_apt() { timeout 150 apt-get "${options[@]}" "$@" >>"$log" 2>&1; }
for suite in sid testing; do
    # As in postgres-fetch.sh: older than its index allows, and signed.
    for type in 'deb [arch=amd64' 'deb-src ['; do
        echo "$type signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no] $uri $suite main"
    done >parts/suite.list
    own_apt update && own_apt source "postgresql-18=$version" &&
        own_apt download "postgresql-server-dev-18=$version" && break
done
tests=$(echo "$part"/postgresql-18-*/src/test/regress)
[ -d "$tests" ] || { echo "the source of PostgreSQL $version could not be fetched: $(grep -m 1 '^E:' "$log")"; exit 1; }

dpkg-deb -x postgresql-server-dev-18_*.deb headers
gcc -O2 -fPIC -shared -fwrapv -fno-strict-aliasing -I headers/usr/include/postgresql/18/server -o "$tests/regress.so" \
    "$tests/regress.c" >>"$log" 2>&1 || { echo "regress.c does not build: $(grep -m 1 error "$log")"; exit 1; }
cp "$bin/../lib/pgxs/src/test/regress/pg_regress" "$tests/"
patchelf --set-interpreter "$lib/ld-linux-x86-64.so.2" --force-rpath --set-rpath "$lib" "$tests/pg_regress"
rm -rf "$root/regress"
mv "$tests" "$root/regress"
cd /
rm -rf "$part"
