#!/bin/sh
# Go: from 2038 on, the bounds of a zone's offset end with the year, and in leap years a day too early.
#
# Versions:  go 1.26.8, linux/amd64, time zones of its own package time/tzdata.
# Behaviour: Time.ZoneBounds says from when to when the zone's offset is in effect. Where the offset follows from the
#            rule at the end of the zone's file, which for today's files means from 2038 on, the end of winter time in
#            the north is the end of the year, although the offset does not change then. For leap years the year has 365
#            days there: on 31 December the end is in the past, before the time that was asked about.
# Seen:      Europe/Berlin 2041-12-31T12:00:00Z: end 2042-01-01T00:00:00Z
#            Europe/Berlin 2040-12-31T12:00:00Z: end 2040-12-31T00:00:00Z
#            Europe/Berlin 2028-12-31T12:00:00Z: end 2029-03-25T01:00:00Z
# Guessed:   the end of the bounds is after the time, and is the next change of the offset. A loop over the changes of a
#            zone that goes on from each end does not end otherwise.
#
# Exits with 0 if this still holds, 1 if it has changed, 77 without Go.
set -eu
command -v go >/dev/null || { echo "no go here"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >go.mod <<'EOF'
module finding

go 1.26
EOF
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"time"
	_ "time/tzdata"
)

func main() {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	for _, year := range []int{2028, 2040, 2041} {
		at := time.Date(year, time.December, 31, 12, 0, 0, 0, time.UTC)
		_, end := at.In(zone).ZoneBounds()
		fmt.Println(at.Format(time.RFC3339), end.UTC().Format(time.RFC3339))
	}
}
EOF
ZONEINFO='' go run . | tee seen
cat >wanted <<'EOF'
2028-12-31T12:00:00Z 2029-03-25T01:00:00Z
2040-12-31T12:00:00Z 2040-12-31T00:00:00Z
2041-12-31T12:00:00Z 2042-01-01T00:00:00Z
EOF
cmp -s seen wanted || { echo "this has changed"; exit 1; }
