#!/bin/sh
# An extension that misbehaves as variables say. The agent hands them on with GANTRY_EXTENSION_ENV='CHAOS*'.
#
# CHAOS            one or several of these, with commas:
#                  silent (never registers), wrong (registers an address that is not allowed),
#                  twice (registers a second address), deaf (listens nowhere), crash (ends at once),
#                  dies (ends after it has registered), fragile (ends after each call),
#                  daemon (leaves a process behind that keeps its output open), stubborn (does not end on TERM),
#                  slow (answers calls after CHAOS_SECONDS, 1), never (does not answer calls),
#                  error (answers calls with 500),
#                  flood (prints 10,000 lines for each call), mute (does not answer the notice of the shutdown),
#                  nameless (subscribes to telemetry without its name)
# CHAOS_NAME       its name; default: that of this script
# CHAOS_ADDR       where it listens, and registers; default: 127.0.0.1:8083
# CHAOS_AFTER      a file: it registers when that exists; default: at once
# CHAOS_EVENTS     header FunctionGraph-Extension-Events; default: none
# CHAOS_MODE       header FunctionGraph-Extension-Mode; default: none
# CHAOS_TELEMETRY  how it takes telemetry; default: it does not subscribe. One of:
#                  good, error (500), refuse (no listener: set CHAOS_TELEMETRY_URI), hang (never answers),
#                  slow (answers after CHAOS_TELEMETRY_SECONDS, 5), close (closes the connection within a batch),
#                  big (answers with 10 MB),
#                  full (its address takes no connections; set CHAOS_TELEMETRY_URI)
# CHAOS_TELEMETRY_URI  where it wants telemetry; default: http://CHAOS_ADDR/telemetry
# CHAOS_ECHO       how many lines it prints for each event it gets; default: 0
# CHAOS_RECORD     a file to which it appends a line of JSON for all that happens to it
exec python3 -u "$(dirname "$0")/chaos.py"
