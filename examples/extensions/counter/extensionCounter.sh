#!/bin/sh
# The start script of an extension: its file name, with .sh, is the extension's name.
exec python3 -u "$(dirname "$0")/counter.py"
