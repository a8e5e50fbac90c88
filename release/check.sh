#!/bin/bash
# Builds the release of the last commit twice and compares the checksums: clones at two paths of different lengths, with
# another umask and time zone, once with the compiler's cache and once from nothing. Takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -z "$(git status --porcelain)" ] || echo "changes that are not committed are not part of this check" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# build FOLDER: the release of a clone in that folder. VERSION and other variables of the caller's make count.
build() {
  git clone -q . "$1/checkout"
  make --no-print-directory -C "$1/checkout" release DIST=dist >"$1/log" 2>&1 || { cat "$1/log" >&2; exit 1; }
}

mkdir -p "$work/one" "$work/another/and longer"
(umask 022 && TZ=UTC build "$work/one")
(umask 077 && TZ=Asia/Shanghai GOCACHE=$work/cache build "$work/another/and longer")
diff "$work/one/checkout/dist/SHA256SUMS" "$work/another/and longer/checkout/dist/SHA256SUMS" || {
  echo "the two builds differ in the files above" >&2
  exit 1
}
cat "$work/one/checkout/dist/SHA256SUMS"
echo "both builds have the same bytes"
