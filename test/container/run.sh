#!/bin/bash
# The container tests: builds the Dockerfile with buildah and runs the image with runc, the way "docker run" would (see
# docker_run.py). No registry and no container engine is needed; the base images are made here, once, and kept in the
# cache. One line per check; the last line counts them. With the argument "java" it is the image for Java alone, whose
# bases take minutes to make.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$repo/test/container
cache=${GANTRY_CACHE:-$repo/.cache}/container
suite=bookworm
version=0.0.0-container-test
commit=0123abc
group=gantry-test-$$ # the control group above those of the containers

# The limits are for a slow and busy machine; every wait ends as soon as its condition holds.
patience=60      # seconds for anything that has to happen at all
stop_limit=9000  # ms: the default deadline of a stop is 8 s, the rest is runc's own end

passed=0 failed=0 counted=no work='' current='' tag='' rootfs=''
declare -A mounted # the folder of each image

# ---- bookkeeping -----------------------------------------------------------------------------------------------------

say() { printf '%s\n' "$*"; }
die() { say "error: $*" >&2; exit 1; }

# check TEXT COMMAND...: one line; a failed check also shows the last value.
check() {
  local text=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
    say "ok      $text"
    return
  fi
  failed=$((failed + 1))
  say "FAILED  $text"
  say "        wanted: $*"
  [ -z "$current" ] || tail -n 25 "$work/$current/log" 2>/dev/null | cut -c 1-400 | sed 's/^/        log: /'
}

equal() { [ "$1" = "$2" ]; }
contains() { [[ $1 == *"$2"* ]]; }
lacks() { [[ $1 != *"$2"* ]]; }
at_least() { [ "$1" -ge "$2" ]; }
at_most() { [ "$1" -le "$2" ]; }

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# wait_for COMMAND...: until it succeeds; fails when the patience is over.
wait_for() {
  local until=$((SECONDS + patience))
  until "$@"; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.05
  done
}

summary() {
  counted=yes
  say "$passed passed, $failed failed"
}

# sweep FOLDER: removes what the run with this work folder has made.
sweep() {
  local id
  for id in $(runc --root "$1/runc" list --quiet 2>/dev/null); do runc --root "$1/runc" delete --force "$id"; done
  wait
  # runc removes a container's own control group, not the one above it.
  find /sys/fs/cgroup -depth -type d -path "*/$(cat "$1/group")*" -exec rmdir {} + 2>/dev/null
  b rm --all >/dev/null 2>&1
  b rmi --force localhost/gantry{,-python,-php,-java,-go,-binary,-readme} localhost/node:20-bookworm-slim >/dev/null 2>&1
  b rmi --prune >/dev/null 2>&1
  rm -rf "$1"
}

# cleanup runs at every end: of the run, of a failed command, or by a signal.
cleanup() {
  local status=$?
  trap - EXIT
  set +e
  exec 1>&3 2>&4 # a signal may have come while a function's output was redirected
  [ -z "$work" ] || sweep "$work"
  if [ $counted = no ]; then
    failed=$((failed + 1))
    summary
    [ "$status" != 0 ] || status=1
  fi
  exit "$status"
}

# ---- tools and images ------------------------------------------------------------------------------------------------

# need TOOL=PACKAGE...: installs the packages of the tools (or files) that are missing.
need() {
  local entry missing=()
  for entry; do command -v "${entry%=*}" >/dev/null || [ -e "${entry%=*}" ] || missing+=("${entry#*=}"); done
  [ ${#missing[@]} = 0 ] && return
  command -v apt-get >/dev/null || die "missing: ${missing[*]}"
  say "installing ${missing[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"; } >"$work/apt.log" 2>&1 ||
    { tail "$work/apt.log"; die "apt-get install ${missing[*]}"; }
}

# b is buildah with a storage of its own: the images of the machine are not touched.
b() { TMPDIR=$work buildah --root "$cache/storage" --runroot "$work/runroot" --storage-driver vfs "$@"; }

# forget PREFIX: removes images of earlier versions.
forget() {
  local name
  for name in $(b images --format '{{.Name}}:{{.Tag}}' | grep "^$1:"); do b rmi --force "$name" >/dev/null; done
}

# base_image stands for NODE_IMAGE, PYTHON_IMAGE and PHP_IMAGE: Debian with Node.js, Python and PHP and, like the real
# ones, a command of its own.
base_image() {
  local node node_version=debian container root debian include=ca-certificates,python3,php-cli,nodejs
  if node=$(node -p process.execPath 2>/dev/null); then node_version=$("$node" --version) include=ca-certificates,python3,php-cli; fi
  base=localhost/gantry-test-base:$suite-certificates-python-php-node-$node_version
  ! b inspect --type image "$base" >/dev/null 2>&1 || return 0
  say "making $base, once"
  forget localhost/gantry-test-base
  container=$(b from scratch)
  root=$(b mount "$container")
  debian=$("$repo/.ci/debian" "$suite" "$include") || die "debootstrap"
  tar -C "$root" --xattrs -xf "$debian"
  [[ $include == *nodejs ]] || install -m 755 "$node" "$root/usr/local/bin/node"
  chroot "$root" node --version >/dev/null || die "$node does not run on Debian $suite"
  b config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd node "$container"
  b commit --quiet --format docker "$container" "$base" >/dev/null
}

# java_image stands for JAVA_IMAGE: a Debian whose packages the Dockerfile installs, from where this machine gets them.
java_image() {
  local container root debian
  javabase=localhost/gantry-test-java:$suite
  ! b inspect --type image "$javabase" >/dev/null 2>&1 || return 0
  say "making $javabase, once"
  container=$(b from scratch)
  root=$(b mount "$container")
  debian=$("$repo/.ci/debian" "$suite" ca-certificates) || die "debootstrap"
  tar -C "$root" --xattrs -xf "$debian"
  b commit --quiet --format docker "$container" "$javabase" >/dev/null
}

# go_image stands for GO_IMAGE: the base with this machine's Go, the modules of go.sum, and everything but Gantry itself
# compiled, so that a run compiles what changed only.
go_image() {
  local container root
  command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
  command -v go >/dev/null || die "Go is missing"
  golang=localhost/gantry-test-go:$({ go version; echo "$base"; cat "$repo/go.mod" "$repo/go.sum"; } | sha256sum | cut -c 1-16)
  ! b inspect --type image "$golang" >/dev/null 2>&1 || return 0
  say "making $golang, once for a go.sum"
  forget localhost/gantry-test-go
  container=$(b from "$base")
  root=$(b mount "$container")
  mkdir -p "$root/usr/local/go"
  tar -C "$(go env GOROOT)" --exclude=./test --exclude=./api --exclude=./doc -cf - . | tar -C "$root/usr/local/go" -xf -
  GOPROXY="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)" GOMODCACHE=$root/go/pkg/mod go -C "$repo" mod download
  b config --env GOPATH=/go --env PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --env GOTOOLCHAIN=local --env GOPROXY=off --env GOSUMDB=off "$container"
  b run --isolation chroot --volume "$repo:/src:ro" --workingdir /src "$container" -- \
    env CGO_ENABLED=0 go build -buildvcs=false -trimpath -o /dev/null ./bootstrap
  b commit --quiet --format docker "$container" "$golang" >/dev/null
  b rm "$container" >/dev/null
}

# build TAG OPTIONS...: "docker build -t TAG OPTIONS...".
build() {
  b build --isolation chroot --format docker --layers=false --tag "localhost/$1" "${@:2}" >"$work/build.log" 2>&1 ||
    { cat "$work/build.log"; die "the build of $1"; }
}

# build_gantry TAG OPTIONS...: the Dockerfile itself, with the local base images.
build_gantry() {
  build "$@" --build-arg GO_IMAGE="$golang" --build-arg NODE_IMAGE="$base" --build-arg PYTHON_IMAGE="$base" --build-arg PHP_IMAGE="$base" \
    --build-arg JAVA_IMAGE="${javabase:-none}" --build-arg VERSION=$version --build-arg COMMIT=$commit "$repo"
}

# function_of_go FOLDER FILE PACKAGE: a program for a code folder, as its documentation says to build it.
function_of_go() {
  mkdir -p "$work/functions"
  CGO_ENABLED=0 go -C "$repo" build -buildvcs=false -trimpath -o "$work/functions/$1/$2" "$3" || die "the build of $3"
}

# use TAG: containers run this image from now on.
use() {
  tag=$1
  if [ -z "${mounted[$tag]-}" ]; then
    mounted[$tag]=$(b mount "$(b from "localhost/$tag")")
    b inspect --type image "localhost/$tag" >"$work/$tag.json"
  fi
  rootfs=${mounted[$tag]}
}

# image FORMAT: a part of that image's configuration.
image() { b inspect --type image --format "{{with .Docker.Config}}$1{{end}}" "localhost/$tag"; }

label() { image "{{index .Labels \"org.opencontainers.image.$1\"}}"; }

# ---- one container at a time -----------------------------------------------------------------------------------------

r() { runc --root "$work/runc" "$@"; }

# launch NAME docker run ...: starts it and waits until the agent answers, or has ended. It becomes the current
# container.
launch() {
  local dir=$work/$1
  current=$1
  shift
  mkdir "$dir"
  python3 "$here/docker_run.py" "$dir" "$rootfs" "$work/$tag.json" "$current" "/$group/$current" "$@" || return 1
  (
    code=0
    r run --bundle "$dir" --pid-file "$dir/pid" "$current" </dev/null >"$dir/log" 2>&1 || code=$?
    echo "$code" >"$dir/exit.new"
    mv "$dir/exit.new" "$dir/exit"
  ) 9>&- & # a container that outlives a killed run must not keep the lock
  wait_for answers_or_ended && [ ! -e "$dir/exit" ]
}

# start NAME OPTIONS...: a container of the test function, restricted as on the platform.
start() {
  local name=$1
  shift
  launch "$name" docker run --rm --read-only -v "$here/functions/probe:/opt/function/code:ro" "$@" gantry
}

ended() { [ -e "$work/$current/exit" ]; }
answers_or_ended() { ended || [ "$(ops healthz)" = ok ]; }

# finish removes the current container, whatever it is doing.
finish() {
  r delete --force "$current" 2>/dev/null || true
  wait_for ended
}

# outside COMMAND...: with the current container's network and nothing else of it. There, 127.0.0.2 reaches only those
# who listen on every address, as a published port needs.
outside() { nsenter --net="/proc/$(cat "$work/$current/pid" 2>/dev/null || echo none)/ns/net" "$@" 2>/dev/null; }

# inside COMMAND...: as a process of the current container, with its user and environment: "docker exec".
inside() { r exec "$current" "$@"; }

# ops PATH [ADDRESS]: GET from the ops listener.
ops() { outside curl -sS --noproxy '*' -m 5 "http://${2:-127.0.0.1}:8092/$1" || true; }

metric() { ops metrics | sed -n "s/^$1 //p"; }

# call EVENT [FILE [PORT]]: POST /invoke; sets status, code (the platform's error code) and body.
call() {
  local file=${2:-$work/$current/answer}
  status=$(outside curl -sS --noproxy '*' -m 120 -o "$file.body" -D "$file.headers" -w '%{http_code}' -d "$1" "http://127.0.0.2:${3:-8000}/invoke") || status=none
  body=$(cat "$file.body" 2>/dev/null || true)
  code=$(sed -n 's/^x-func-err-code: *\([0-9]*\).*/\1/Ip' "$file.headers" 2>/dev/null || true)
  echo "$status" >"$file.status"
}

# answered STATUS TEXT: the last call's.
answered() { [ "$status" = "$1" ] && contains "$body" "$2"; }

# signal_and_wait: the image's stop signal; sets took (ms) and exit_code.
signal_and_wait() {
  local began
  began=$(now_ms)
  r kill "$current" "$(image '{{.StopSignal}}')"
  wait_for ended || true
  took=$(($(now_ms) - began))
  exit_code=$(cat "$work/$current/exit" 2>/dev/null || echo none)
}

# ---- the checks ------------------------------------------------------------------------------------------------------

# test_image TAG BASE: the configuration of an image; one from scratch has no BASE.
test_image() {
  local name
  current=
  use "$1"
  check "$1: user 1003:1003" equal "$(image '{{.User}}')" 1003:1003
  check "$1: vector entrypoint, nothing left of the base image's command" equal "$(image '{{.Entrypoint}} {{.Cmd}}')" "[/bootstrap] []"
  check "$1: listens where others reach it" contains "$(image '{{.Env}}')" "GANTRY_ADDR=:8000 GANTRY_OPS_ADDR=:8092]"
  check "$1: port 8000 exposed" equal "$(image '{{.ExposedPorts}}')" "map[8000/tcp:{}]"
  check "$1: working directory" equal "$(image '{{.WorkingDir}}')" /opt/function
  check "$1: stops by SIGTERM" equal "$(image '{{.StopSignal}}')" SIGTERM
  check "$1: HEALTHCHECK by the binary itself" equal "$(image '{{with .Healthcheck}}{{.Test}} {{.Interval}} {{.Timeout}} {{.StartPeriod}} {{.Retries}}{{end}}')" "[CMD /bootstrap health] 10s 3s 30s 3"
  check "$1: label version" equal "$(label version)" $version
  check "$1: label revision" equal "$(label revision)" $commit
  check "$1: label base.name" equal "$(label base.name)" "$2"
  for name in title description licenses; do check "$1: label $name" [ -n "$(label $name)" ]; done
  check "$1: the user has a name and a home that is writable on the platform" grep -q '^[^:]*:x:1003:1003:[^:]*:/tmp:' "$rootfs/etc/passwd"
  check "$1: the group has a name" grep -q '^[^:]*:x:1003:' "$rootfs/etc/group"
  check "$1: a folder for the code, and one that all users may write" equal "$(stat -c %a "$rootfs/opt/function/code" "$rootfs/tmp" | tr '\n' ' ')" "755 1777 "
}

test_images() {
  test_image gantry "$base"
  test_image gantry-python "$base"
  test_image gantry-php "$base"
  test_image gantry-go ""
  check "gantry-go: holds nothing else" equal "$(find "$rootfs" ! -type d -printf '%P\n' | sort | tr '\n' ' ')" "bootstrap etc/group etc/passwd etc/ssl/certs/ca-certificates.crt "
  use gantry-binary
  check "gantry-binary: holds the binary only" equal "$(find "$rootfs" -mindepth 1)" "$rootfs/bootstrap"
  check "gantry-binary: runs with nothing around it" contains "$(chroot "$rootfs" /bootstrap version 2>&1)" "bootstrap $version ($commit,"
  check "gantry-binary: has time zones of its own" contains \
    "$(chroot "$rootfs" /bootstrap timers --timer 'CRON_TZ=Asia/Shanghai 0 30 8 * * ?' 2>&1)" "T08:30:00+08:00"
  use gantry
}

test_platform() {
  start platform -u 1003:1003 --tmpfs /tmp -e RUNTIME_MEMORY=64
  call '{"name":"container"}'
  check "platform: POST /invoke answers" answered 200 '"hello":"container"'
  call '{"do":"identity"}'
  check "platform: the agent is PID 1" contains "$body" '"agent":"/bootstrap"'
  check "platform: the agent is 1003:1003" equal "$(inside sed -n 's/^[UG]id:\t//p' /proc/1/status | tr '\t\n' '  ')" "1003 1003 1003 1003 1003 1003 1003 1003 "
  check "platform: the function is 1003:1003, in no other group" contains "$body" '"uid":1003,"gid":1003,"groups":[1003],'
  check "platform: working directory and home" contains "$body" '"cwd":"/opt/function","home":"/tmp"'
  call '{"do":"write","paths":["/opt/function/x","/x","/tmp/x"]}'
  check "platform: the root is read-only, /tmp is not" answered 200 '"/opt/function/x":"EROFS","/x":"EROFS","/tmp/x":"written"'
  check "platform: metrics can be read from outside the container" contains "$(ops metrics 127.0.0.2)" gantry_build_info
  check "platform: one line says that RUNTIME_MEMORY is not enforced" equal "$(grep -c 'RUNTIME_MEMORY is not enforced' "$work/$current/log")" 1
  signal_and_wait
  check "platform: stops with exit code 0 ($took ms)" equal "$exit_code" 0
  check "platform: an idle container stops at once ($took ms)" at_most "$took" 3000
  finish
}

# No part may need a writable folder.
test_no_tmp() {
  local whole=$rootfs
  rootfs=$work/rootfs-without-tmp
  cp -al "$whole" "$rootfs" # links: the same files, other folders
  rm -rf "${rootfs:?}/tmp" "${rootfs:?}/var/tmp"
  start no-tmp
  rootfs=$whole
  call '{"do":"write","paths":["/tmp/x"]}'
  check "no /tmp, read-only root: answers all the same" answered 200 '"/tmp/x":"ENOENT"'
  finish
}

test_memory() {
  start memory -m 96m -e RUNTIME_TIMEOUT=60
  call '{"do":"eat","mb":1000}'
  check "container limit: out of memory is 502" equal "$status" 502
  check "container limit: X-Func-Err-Code is 4205" equal "$code" 4205
  call '{"name":"again"}'
  check "container limit: the next call works" answered 200 '"hello":"again"'
  call '{"do":"exit","code":7}'
  check "container limit: an exit is not taken for it" equal "$status $code" "502 4204"
  finish
}

# With a control group that it may write to, the agent limits the worker itself.
test_memory_enforced() {
  start enforced -u 0:0 -v /sys/fs/cgroup:/sys/fs/cgroup:rw -e RUNTIME_MEMORY=128 -e RUNTIME_TIMEOUT=60
  call '{"do":"eat","mb":40}'
  check "RUNTIME_MEMORY: below the limit" answered 200 '"mb":40'
  call '{"do":"eat","mb":1000}'
  check "RUNTIME_MEMORY: out of memory is 502 with 4205" equal "$status $code" "502 4205"
  call '{"name":"again"}'
  check "RUNTIME_MEMORY: the next call works" answered 200 '"hello":"again"'
  check "RUNTIME_MEMORY: enforced, so no line about it" lacks "$(cat "$work/$current/log")" "is not enforced"
  signal_and_wait
  check "RUNTIME_MEMORY: no control group is left behind" equal "$(find /sys/fs/cgroup -type d -path "*/$group/*" -name 'gantry-*')" ""
  finish
}

zombies() { inside sh -c 'cat /proc/[0-9]*/stat 2>/dev/null' | sed 's/.*) //' | grep -c '^Z' || true; }
no_zombies() { [ "$(zombies)" = 0 ]; }
reaped() { [ "$(metric gantry_orphans_reaped_total)" -ge "$1" ]; }

# Orphans by the thousand, from the function and from beside it, while workers end by themselves.
test_orphans() {
  start orphans -e RUNTIME_TIMEOUT=60
  local lost=0 before helper
  before=$(metric gantry_orphans_reaped_total)
  # shellcheck disable=SC2016 # for the shell inside
  inside sh -c 'i=0; while [ $i -lt 1000 ]; do (sleep 0.0$((i % 10)) &); i=$((i + 1)); done' >/dev/null 2>&1 &
  helper=$!
  for _ in 1 2 3 4 5; do
    call '{"do":"orphans","count":200}'
    answered 200 '"left":200' || lost=$((lost + 1))
    call "{\"do\":\"exit\",\"code\":7}"
    answered 502 'exit code 7' || lost=$((lost + 1))
  done
  check "orphans: five times 200 left behind, and five exit codes seen" equal "$lost" 0
  check "orphans: a process beside the function keeps its exit code, too" wait "$helper"
  wait_for reaped $((before + 2000)) || true
  check "orphans: 2000 are reaped and counted ($(metric gantry_orphans_reaped_total))" reaped $((before + 2000))
  wait_for no_zombies || true
  check "orphans: no zombie is left" no_zombies
  finish
}

# health: the image's HEALTHCHECK command, run as Docker runs it; sets its exit code.
health() {
  local words
  read -ra words <<<"$(image '{{range .Healthcheck.Test}}{{.}} {{end}}')"
  health_code=0
  inside "${words[@]:1}" >"$work/$current/health" 2>&1 || health_code=$?
}

healthy() { health && [ $health_code = 0 ]; }
state_is() { contains "$(ops readyz)" "$1"; }

test_health() {
  start healthy
  wait_for healthy || true
  check "health: 0 when ready" equal "$health_code" 0
  finish
  launch broken docker run --rm --read-only -v "$here/functions/broken:/opt/function/code:ro" gantry
  health
  check "health: 1 before the function is ready" equal "$health_code" 1
  wait_for state_is failed || true
  health
  check "health: 1 when the function cannot be loaded" equal "$health_code" 1
  check "health: says why" contains "$(cat "$work/$current/health")" "this function cannot be loaded"
  call '{}'
  check "health: such a container still answers with the reason" answered 502 "this function cannot be loaded"
  signal_and_wait
  check "health: and stops with exit code 0" equal "$exit_code" 0
  finish
}

in_flight() { [ "$(metric gantry_invocations_in_flight)" = "$1" ]; }

# hang: a call that never ends, in the background.
hang() {
  call '{"do":"hang"}' "$work/$current/hanging" &
  wait_for in_flight 1
}

test_stop() {
  start stop-in-flight -e RUNTIME_TIMEOUT=600
  hang
  signal_and_wait
  check "stop: within the deadline with a call that never ends ($took ms)" at_most "$took" $stop_limit
  check "stop: exit code 0 then" equal "$exit_code" 0
  wait_for [ -s "$work/$current/hanging.status" ] || true
  check "stop: that call gets an answer" contains "502 503 504" "$(cat "$work/$current/hanging.status")"
  finish

  start stop-extension -e RUNTIME_TIMEOUT=600 -v "$here/extensions/stubborn:/opt/extension:ro"
  call '{}'
  check "stop: the stubborn extension is registered" in_extensions 1
  hang
  signal_and_wait
  check "stop: it was asked to end first" contains "$(cat "$work/$current/log")" "TERM ignored"
  check "stop: within the deadline with an extension that ignores TERM and a call that never ends ($took ms)" at_most "$took" $stop_limit
  check "stop: exit code 0 then" equal "$exit_code" 0
  finish

  start stop-twice -e RUNTIME_TIMEOUT=600
  hang
  r kill "$current" TERM
  wait_for state_is draining || true
  sleep 0.3 # a second signal within 250 ms of the first counts as the first
  signal_and_wait
  check "stop: a second signal forces it ($took ms)" at_most "$took" 2000
  check "stop: exit code 143 then" equal "$exit_code" 143
  finish
}

in_extensions() { [ "$(metric gantry_extensions_registered)" = "$1" ]; }

# health_is_discreet USER: a health check has the container's environment; the function watches for it.
health_is_discreet() {
  local watcher
  call "{\"do\":\"watch\",\"ms\":3000,\"halves\":[\"token-\",\"of-$group\"]}" &
  watcher=$!
  wait_for in_flight 1
  for _ in 1 2 3 4 5; do health; done
  wait $watcher
  check "secrets as $1: health checks do not show it either" contains "$(cat "$work/$current/answer.body")" '{"seen":{"rounds":'
}

# test_secrets USER: the function looks for a token of the agent's wherever the kernel could show it.
test_secrets() {
  local user=$1
  start "secrets-${user%:*}" -u "$user" -e GANTRY_SECURITY_TOKEN=token-"of-$group" -e OPEN=open-"of-$group" -e RUNTIME_TIMEOUT=60
  call "{\"do\":\"secrets\",\"halves\":[\"open-\",\"of-$group\"]}"
  check "secrets as $user: the search finds a variable that is not hidden" answered 200 '"/proc/self/environ":"FOUND"'
  call "{\"do\":\"secrets\",\"halves\":[\"token-\",\"of-$group\"]}"
  check "secrets as $user: the context hands the token out" answered 200 '"context":"FOUND"'
  check "secrets as $user: it is nowhere else" lacks "${body/\"context\":\"FOUND\"/}" FOUND
  check "secrets as $user: the agent's environment is closed" contains "$body" '"/proc/1/environ":"EACCES"'
  check "secrets as $user: the agent's memory is closed" contains "$body" '"/proc/1/mem":"EACCES"'
  [ "$user" = 0:0 ] || health_is_discreet "$user" # root can watch root's processes start: SECURITY.md
  check "secrets as $user: it is not logged" lacks "$(cat "$work/$current/log")" "token-of-"
  finish
}

# language NAME IMAGE FOLDER OPTIONS...: a function in another image, restricted as on the platform.
language() {
  local name=$1 image=$2 folder=$3
  shift 3
  use "$image"
  launch "$name" docker run --rm --read-only --tmpfs /tmp -v "$folder:/opt/function/code:ro" "$@" gantry
}

# tree PID: the names of a process and of those below it: parent(child child).
tree() {
  local child below=
  # shellcheck disable=SC2013 # words, not lines
  for child in $(cat "/proc/$1"/task/*/children); do below+=" $(tree "$child")"; done
  printf '%s' "$(cat "/proc/$1/comm")${below:+(${below# })}"
}

# identities: the user and group ids, real and effective, that are there in the current container.
identities() {
  local pid
  for pid in $(r ps --format json "$current" | tr -c 0-9 ' '); do sed -n 's/^[UG]id:\t//p' "/proc/$pid/status"; done | tr '\t' '\n' | sort -u
}

logged() { grep -q "$1" "$work/$current/log"; }
nothing_left() { [ -z "$(find /sys/fs/cgroup -type d -path "*/$group/$current")" ] && [ -z "$(r list --quiet)" ]; }

greets() { call '{"name":"container"}' && answered 200 "Hello, container"; }
tree_is() { equal "$(tree "$(cat "$work/$current/pid")" 2>/dev/null)" "$1"; }

# test_language NAME TREE LINE: the checks of every language; TREE are its processes, LINE is in the function's log.
# Stops the container.
test_language() {
  call '{"name":"container"}'
  check "$1: POST /invoke answers" answered 200 "Hello, container"
  check "$1: its processes are $2" equal "$(tree "$(cat "$work/$current/pid")")" "$2"
  check "$1: all of them are 1003:1003" equal "$(identities)" 1003
  kill -KILL "$(cat "/proc/$(cat "$work/$current/pid")/task"/*/children | xargs)"
  wait_for greets || true
  check "$1: killed, the function starts anew and answers" greets
  wait_for tree_is "$2" || true
  check "$1: its processes are the same then" tree_is "$2"
  wait_for logged "Finish invoke request" || true
  check "$1: the function's line is in the log" logged "$3"
  check "$1: and the platform's" logged "Finish invoke request '[^']*', duration"
  health
  check "$1: HEALTHCHECK says healthy" equal "$health_code" 0
  signal_and_wait
  check "$1: stops with exit code 0" equal "$exit_code" 0
  check "$1: an idle container stops at once ($took ms)" at_most "$took" 3000
  check "$1: nothing is left" nothing_left
  finish
}

test_python() {
  language python gantry-python "$repo/examples/python/hello" -e RUNTIME_INITIALIZER_HANDLER=index.initializer
  test_language python "bootstrap(python3)" "hello from request"
  check "python: the initializer ran" logged "ready for "

  language python-memory gantry-python "$here/functions/python" -m 96m -e RUNTIME_TIMEOUT=600
  call '{"do":"write","paths":["/opt/function/x","/x","/tmp/x"]}'
  check "python: the root is read-only, /tmp is not" answered 200 '"/opt/function/x": "EROFS", "/x": "EROFS", "/tmp/x": "written"'
  call '{"do":"eat","mb":1000}'
  check "python, container limit: out of memory is 502 with 4205" equal "$status $code" "502 4205"
  call '{"do":"eat","mb":1}'
  check "python, container limit: the next call works" answered 200 1048576
  hang
  signal_and_wait
  check "python: stops within the deadline with a call that never ends ($took ms)" at_most "$took" $stop_limit
  check "python: exit code 0 then" equal "$exit_code" 0
  check "python: nothing is left then" nothing_left
  finish
  use gantry
}

test_php() {
  mkdir "$work/functions/php"
  printf '<?php\nfunction handler() { return [@touch("/opt/function/x"), @touch("/x"), touch("/tmp/x"), opcache_get_status(false)["opcache_enabled"]]; }\n' >"$work/functions/php/index.php"
  language php gantry-php "$repo/examples/php/hello" -e RUNTIME_INITIALIZER_HANDLER=index.initializer
  test_language php "bootstrap(php)" "name is container"
  language php-files gantry-php "$work/functions/php"
  call '{}'
  check "php: the root is read-only, /tmp is not, and opcache works there" answered 200 '[false,false,true,true]'
  signal_and_wait
  finish
  use gantry
}

test_java() {
  test_image gantry-java "$javabase"
  language java gantry-java "$work/functions/java" -e RUNTIME_HANDLER=com.demo.Hello.handler -e RUNTIME_INITIALIZER_HANDLER=com.demo.Hello.initializer \
    -e RUNTIME_INITIALIZER_TIMEOUT=60 -e RUNTIME_TIMEOUT=60 -e RUNTIME_MEMORY=512
  test_language java "bootstrap(java)" "hello from request"
}

# scenario NAME ARGS...: a command that fails where none should counts as a failed check.
scenario() {
  "$@" || check "$*: ended early" false
}

# java_only is what the argument "java" asks for.
java_only() {
  need javac=default-jdk-headless
  java_image
  say "building the images"
  build_gantry gantry-binary --target binary
  build_gantry gantry-java --build-context binary=container-image://localhost/gantry-binary --target java
  use gantry-java
  GANTRY_JAVA_JAR=$rootfs/gantry-java.jar "$repo/examples/java/hello/build.sh" "$work/functions/java"
  scenario test_java
  summary
  [ $failed = 0 ]
}

# In the image with only the binary.
test_go() {
  language go gantry-go "$work/functions/go" -e RUNTIME_HANDLER=hello
  test_language go "bootstrap(hello)" "hello from request"
  language custom gantry-go "$work/functions/custom"
  test_language "custom runtime" "bootstrap(bootstrap)" "ready for "
  use gantry
}

# One agent is the platform, another its custom runtime.
test_poll() {
  language poll gantry-python "$work/functions/poll" -e GANTRY_RUNTIME=custom
  test_language poll "bootstrap(bootstrap(python3))" "hello from request"
  use gantry
}

# test_readme runs the README's own line, word for word.
test_readme() {
  local line words=() port
  line=$(sed -n 's/^ *\(docker run .*\)/\1/p' "$repo/README.md" | head -n 1)
  mapfile -t words < <(PWD=$repo python3 -c 'import os, shlex, sys; print("\n".join(shlex.split(os.path.expandvars(sys.argv[1]))))' "$line")
  check "README: docker run starts" launch readme "${words[@]}"
  port=$(cut -d ' ' -f 2 "$work/$current/ports" | head -n 1)
  call '{"name":"README"}' "$work/$current/answer" "${port:-none}"
  check "README: POST /invoke at the published port answers" answered 200 "Hello, README"
  finish
}

# own_image NAME FILE CONTEXT: builds the Dockerfile that a page gives, indented, for an image of one's own.
own_image() {
  local name=$1 page=$2 context=$3
  use gantry-binary
  cp "$rootfs/bootstrap" "$context/bootstrap"
  sed -n '/^    FROM /,/^$/s/^    //p' "$page" >"$context/Dockerfile"
  b tag "$base" localhost/node:20-bookworm-slim # in place of the real one, which cannot be fetched here
  build "$name" --pull=false --file "$context/Dockerfile" "$context"
  use "$name"
}

# own_image_runs PAGE NAME: what both of them have.
own_image_runs() {
  check "$1: the function has its name" contains "$(cat "$work/$current/log")" "function:default:$2:latest"
  check "$1: the ops listener is reached from outside" equal "$(ops readyz 127.0.0.2)" ready
  wait_for healthy || true
  check "$1: the health check says that it is ready" equal "$health_code" 0
  signal_and_wait
  check "$1: that image stops with exit code 0" equal "$exit_code" 0
  finish
  use gantry
}

# test_readme_image builds the README's image of one's own, with the folder and the static binary that it copies.
test_readme_image() {
  local context=$work/readme-image-context
  mkdir -p "$context"
  cp -r "$repo/examples/nodejs/hello" "$context/hello"
  own_image gantry-readme "$repo/README.md" "$context"
  check "README: an image of one's own starts" launch readme-image docker run --rm --read-only gantry
  call '{"name":"image"}'
  check "README: POST /invoke answers there, too" answered 200 "Hello, image"
  own_image_runs README hello
}

# test_http_image builds the image with a server of its own of docs/HTTP.md.
test_http_image() {
  local context=$work/http-image-context
  mkdir -p "$context"
  cp "$repo/examples/http/nodejs/server.js" "$context"
  own_image gantry-http "$repo/docs/HTTP.md" "$context"
  check "HTTP: an image with a server of its own starts" launch http-image docker run --rm --read-only gantry
  wait_for http_ready || true
  check "HTTP: any path is the server's" contains "$(outside curl -sS -m 5 http://127.0.0.2:8000/any/path?x=1)" "Hello from GET /any/path?x=1"
  check "HTTP: a call is in the log with its status" contains "$(cat "$work/$current/log")" "status: 200, bytes: "
  own_image_runs HTTP web
}

http_ready() { [ "$(ops readyz 127.0.0.2)" = ready ]; }

# ---- the run ---------------------------------------------------------------------------------------------------------

[ "$(id -u)" = 0 ] || die "the container tests need root: sudo $0"
mkdir -p "$cache"
exec 9>"$cache/lock" # two runs would share the storage
flock -n 9 || { say "waiting for another run"; flock 9; }
exec 3>&1 4>&2
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
work=$(mktemp -d "$cache/run.XXXXXX")
echo "$group" >"$work/group"
need buildah=buildah runc=runc debootstrap=debootstrap /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring \
  python3=python3 curl=curl nsenter=util-linux
for left in "$cache"/run.*; do [ "$left" = "$work" ] || sweep "$left" || true; done # of a run that was killed

base_image
go_image
[ "${1:-}" != java ] || { java_only; exit; }
say "building the images"
build_gantry gantry-binary --target binary
# Compiled once: the others take the stage "binary" from its image, as they would from BuildKit's cache.
with_binary=(--build-context binary=container-image://localhost/gantry-binary)
build_gantry gantry "${with_binary[@]}"
build_gantry gantry-python --target python "${with_binary[@]}"
build_gantry gantry-php --target php "${with_binary[@]}"
build_gantry gantry-go --target go "${with_binary[@]}"
say "building the functions"
function_of_go go hello ./examples/go/hello
function_of_go custom bootstrap ./examples/custom/go
use gantry-binary
mkdir "$work/functions/poll"
install -m 644 "$repo/examples/poll/index.py" "$work/functions/poll"
install -m 755 "$rootfs/bootstrap" "$work/functions/poll"
use gantry

scenario test_images
scenario test_readme
scenario test_readme_image
scenario test_http_image
scenario test_platform
scenario test_no_tmp
scenario test_memory
scenario test_memory_enforced
scenario test_python
scenario test_php
scenario test_go
scenario test_poll
scenario test_orphans
scenario test_health
scenario test_stop
scenario test_secrets 1003:1003
scenario test_secrets 0:0

summary
[ $failed = 0 ]
