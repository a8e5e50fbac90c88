#!/bin/sh
# build.sh FOLDER: compiles the example into FOLDER/hello.jar, against the interfaces in gantry-java.jar (make java).
set -eu
folder=${1:?the folder of the jar, which is the code folder}
source=$(cd "$(dirname "$0")" && pwd)
worker=${GANTRY_JAVA_JAR:-$source/../../../bin/gantry-java.jar}
test -e "$worker" || { echo "$worker is missing: run make java" >&2; exit 1; }
classes=$(mktemp -d)
trap 'rm -rf "$classes"' EXIT
mkdir -p "$folder"
javac --release 8 -Xlint:-options -cp "$worker" -d "$classes" "$source/com/demo/Hello.java"
jar cf "$folder/hello.jar" -C "$classes" .
