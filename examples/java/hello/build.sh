#!/bin/sh
# build.sh FOLDER: compiles the example into FOLDER/hello.jar, against the interfaces in gantry-java.jar: the one of a
# checkout (make java), of the archive that this file lies in, or of the installed package.
set -eu
folder=${1:?the folder of the jar, which is the code folder}
source=$(cd "$(dirname "$0")" && pwd)
top=$source/../../..
for worker in "${GANTRY_JAVA_JAR:-$top/bin/gantry-java.jar}" "$top/gantry-java.jar" /usr/lib/gantry/gantry-java.jar; do
  if [ -e "$worker" ] || [ -n "${GANTRY_JAVA_JAR:-}" ]; then break; fi
done
test -e "$worker" || { echo "$worker is missing: run make java, or set GANTRY_JAVA_JAR" >&2; exit 1; }
classes=$(mktemp -d)
trap 'rm -rf "$classes"' EXIT
mkdir -p "$folder"
javac --release 8 -Xlint:-options -cp "$worker" -d "$classes" "$source/com/demo/Hello.java"
jar cf "$folder/hello.jar" -C "$classes" .
