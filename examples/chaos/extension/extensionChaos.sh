#!/bin/sh
# An extension that misbehaves as CHAOS says: silent, dies, slow, never, error, flood, daemon, stubborn.
exec python3 -u "$(dirname "$0")/chaos.py"
