#!/usr/bin/env bash
# python-fetch.sh FOLDER: a wheel that has liburing inside, unpacked by pip and not installed.
#
# From the index that pip is set up for; the C library that it bundles makes its calls by instructions of its own. Does
# nothing where it is already there; fails with a reason where it cannot be had.
set -eu -o pipefail
root=$1
version=2026.3.30 python=/usr/bin/python3

works() { PYTHONPATH=$root $python -c "import liburing; assert liburing.__version__ == '$version'"; }
works 2>/dev/null && exit 0
$python -m pip --version >/dev/null 2>&1 || { echo "no pip for $python (Debian: python3-pip)"; exit 1; }
mkdir -p "$(dirname "$root")"
part=$root.part log=$root.log
rm -rf "$root" "$part"
timeout 60 $python -m pip install --quiet --no-cache-dir --no-deps --only-binary :all: --retries 1 --timeout 20 \
    --target "$part" "liburing==$version" >"$log" 2>&1 ||
    { echo "the liburing wheel could not be fetched: $(grep -m 1 '^ERROR' "$log")"; exit 1; }
mv "$part" "$root"
works || { echo "what was fetched does not run"; exit 1; }
