#!/usr/bin/env bash
# python-fetch.sh FOLDER: a wheel that has liburing inside, unpacked by pip and not installed.
#
# From the index that pip is set up for; the C library that it bundles makes its calls by instructions of its own. Does
# nothing where it is already there; fails with a reason where it cannot be had.
set -eu -o pipefail
root=$1
version=2026.3.30 python=/usr/bin/python3

# An object is made, too: the wheel was compiled for a processor with AVX-512, which not all have.
works() { PYTHONPATH=$root $python -c "import liburing; assert liburing.__version__ == '$version'; liburing.Ring()"; }
works 2>/dev/null && exit 0
$python -m pip --version >/dev/null 2>&1 || { echo "no pip for $python (Debian: python3-pip)"; exit 1; }
mkdir -p "$(dirname "$root")"
part=$root.part log=$root.log
rm -rf "$root" "$part"
timeout 60 $python -m pip install --quiet --no-cache-dir --no-deps --only-binary :all: --retries 1 --timeout 20 \
    --target "$part" "liburing==$version" >"$log" 2>&1 ||
    { echo "the liburing wheel could not be fetched: $(grep -m 1 '^ERROR' "$log")"; exit 1; }
mv "$part" "$root"
code=0
works >>"$log" 2>&1 || code=$?
[ $code -eq 0 ] && exit 0
# Left there it would be run.
rm -rf "$root"
[ $code -ne 132 ] || { echo "the liburing wheel has instructions that this processor has not"; exit 1; }
echo "what was fetched does not run: $(tail -n 1 "$log")"
exit 1
