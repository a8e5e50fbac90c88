#!/bin/sh
# Becomes the program for this machine. npm starts this file by a link, so its real path leads to the programs.
case $(uname -s)/$(uname -m) in
  Linux/x86_64) arch=amd64 ;;
  Linux/aarch64) arch=arm64 ;;
  *)
    echo "gantry: this package has programs for Linux on x86_64 and aarch64; this is $(uname -s) on $(uname -m)" >&2
    exit 2
    ;;
esac
exec "$(dirname "$(readlink -f "$0")")/../lib/linux-$arch/gantry" "$@"
