#!/bin/sh
# build.sh JAR: builds the worker of functions in Java, for Java 8 and later, with Gson under its public name.
set -eu
out=$1
case $out in /*) ;; *) out=$PWD/$out ;; esac
cd "$(dirname "$0")"
gson=/usr/share/java/gson.jar
test -e $gson || { echo "$gson is missing: apt-get install libgoogle-gson-java" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
javac --release 8 -Xlint:all,-options -Werror -encoding UTF-8 -g:lines,source -cp $gson -d "$work/classes" \
  $(find . -name '*.java' | LC_ALL=C sort)
cd "$work/classes"
jar xf $gson com META-INF/maven/com.google.code.gson/gson/pom.properties # its version, for those who look for it
mkdir -p META-INF
cp /usr/share/doc/libgoogle-gson-java/copyright META-INF/LICENSE-gson
# java.io is opened to the worker alone: descriptors 3 and 4 are sockets, which have no name.
printf 'Main-Class: gantry.worker.Worker\nAdd-Opens: java.base/java.io\n' > "$work/manifest"
mkdir -p "$(dirname "$out")"
# The times in the archive are fixed, so that the same sources make the same file; before JDK 17, jar has no option for
# that of the manifest.
seconds=${SOURCE_DATE_EPOCH:-315619200}
find . -exec touch -d "@$seconds" {} +
set -- $(find . -type f | LC_ALL=C sort)
if jar --help 2>&1 | grep -q -- --date=; then
  jar --create --file "$work/gantry-java.jar" --manifest "$work/manifest" \
    --date="$(date -u -d "@$seconds" +%Y-%m-%dT%H:%M:%SZ)" "$@"
else
  jar cfm "$work/gantry-java.jar" "$work/manifest" "$@"
fi
mv "$work/gantry-java.jar" "$out"
