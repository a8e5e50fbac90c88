# The two commands of the README: "make run" shows the main job, "make test" runs the tests.
GO      ?= go
VERSION ?= 0.1.0-dev
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
LINT     = $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run
NODES    = 10 12 14 18 22 24

.PHONY: run install uninstall test conformance build java need-java lint bench bench-quick bench-scale bench-plot test-container test-container-java test-sdk test-cluster test-slow-disk test-gateway test-otlp test-http test-triggers release release-check test-release test-release-quick soak fuzz nodes clean

build: bin/bootstrap bin/gantry-jetstream

bin/bootstrap: $(shell find . -name '*.go' -not -path './.cache/*' -not -path './test/*' -not -path './release/*') $(wildcard runtime/worker/*/worker.*) go.mod go.sum function/go.mod
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o $@ ./bootstrap

# The store of asynchronous calls, started by bootstrap that lies beside it.
bin/gantry-jetstream: $(wildcard jetstream/*.go jetstream/control/*.go process/*.go) go.mod go.sum
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o $@ ./jetstream

# The worker of functions in Java, which lies beside bootstrap. Only this and a release need a JDK.
java: need-java
	@$(MAKE) --no-print-directory bin/gantry-java.jar

need-java:
	@.ci/need javac
	@test -e /usr/share/java/gson.jar || .ci/need libgoogle-gson-java

bin/gantry-java.jar: $(shell find runtime/worker/java -name '*.java') runtime/worker/java/build.sh
	runtime/worker/java/build.sh $@

bin/extensions/extensionLogger: examples/extensions/logger/main.go
	CGO_ENABLED=0 $(GO) build -trimpath -o $@ ./examples/extensions/logger

PREFIX  ?= /usr/local
# Programs, manual pages, and what shells complete.
install:
	@.ci/need go
	@$(MAKE) --no-print-directory build
	@SOURCE_DATE_EPOCH="$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null)}" .ci/install bin "$(DESTDIR)$(PREFIX)/bin"

uninstall:
	@.ci/install --remove "$(DESTDIR)$(PREFIX)/bin"

run:
	@.ci/need go node
	@$(MAKE) --no-print-directory bin/bootstrap bin/extensions/extensionLogger
	@examples/demo.sh

# The package that takes longest comes first, and the others run beside it.
test: need-java
	@.ci/need go node npm python3 php gcc curl openssl zsh fish mandoc
	@$(MAKE) --no-print-directory nodes
	$(GO) vet ./...
	python3 -m unittest discover -s runtime/worker/python -p '*_test.py'
	node --test runtime/worker/nodejs/worker.test.js
	php runtime/worker/php/worker_test.php
	$(GO) test -race -timeout 40m -parallel 6 ./test/e2e ./...
	cd function && $(GO) vet ./... && $(GO) test -race ./...
	cd test/harness && $(GO) vet ./... && $(GO) test -race ./...

# Every case of testdata/conformance against every language; writes the table into docs/COMPATIBILITY.md and prints it.
conformance: need-java
	@.ci/need go node python3 php
	GANTRY_CONFORMANCE_UPDATE=1 $(GO) test ./test/e2e -run '^TestEveryLanguagePassesTheCasesOfTheTable$$' -count=1
	@sed -n '/conformance: written/,/end of conformance/p' docs/COMPATIBILITY.md | grep '^|'

# Other versions of Node.js for the contract tests, from npm's "node" package.
nodes: $(NODES:%=.cache/node/%/node_modules/node/bin/node)

.cache/node/%/node_modules/node/bin/node:
	@mkdir -p .cache/node/$*
	@cd .cache/node/$* && echo '{"private":true}' > package.json && npm install --no-audit --no-fund --loglevel=error node@$* >/dev/null
	@echo "Node.js $$($@ --version)"

lint:
	$(LINT) ./...
	cd function && $(LINT) ./...
	cd test/harness && $(LINT) ./...
	cd release && $(LINT) ./...
	$(GO) mod tidy -diff
	cd function && $(GO) mod tidy -diff
	cd test/harness && $(GO) mod tidy -diff
	cd release && $(GO) mod tidy -diff
	@mkdir -p .cache; sed '/gantry\//d' go.mod > .cache/verify.mod; cp go.sum .cache/verify.sum # go mod verify looks for downloads of our modules
	$(GO) mod verify -modfile=.cache/verify.mod
	@marks=$$(CGO_ENABLED=0 $(GO) build -ldflags=-dumpdep -o /dev/null ./bootstrap 2>&1 | grep -c ReflectMethod); \
	  test "$$marks" = 0 || { echo "ReflectMethod is marked $$marks times: the linker keeps every method"; exit 1; }

FUZZTIME ?= 30s
fuzz:
	@find . -name '*_test.go' -not -path './.*/*' | xargs grep -o '^func Fuzz[A-Za-z]*' | sed 's/:func / /' | sort | while read -r file target; do \
	  echo "$$target"; (cd $$(dirname $$file) && $(GO) test -run xxx -fuzz "^$$target$$" -fuzztime $(FUZZTIME) .) || exit 1; done

# The modules come first: the program runs, and builds, in a network of its own. The table is also in
# bench/results.json.
bench: need-java
	@.ci/need go node npm python3 php wrk nginx
	$(GO) mod download
	$(GO) run ./bench

# docs/bench and the README's sentences about speed, from bench/results.json.
bench-plot:
	@.ci/need go
	$(GO) run ./bench/plot

# Every section once on the smallest budget: shows that each works, not how fast anything is.
bench-quick: need-java
	@.ci/need go node npm python3 php wrk nginx
	$(GO) mod download
	@mkdir -p .cache && rm -f .cache/bench-quick.json
	$(GO) run ./bench -quick -json .cache/bench-quick.json
	$(GO) run ./bench/plot -in .cache/bench-quick.json -out .cache/bench -readme ''

# What functions cost three NATS servers that keep the queues of all, and whether these lose requests while they are
# killed. FUNCTIONS=10000 measures what fewer account for; SCALE has further flags, such as
# SCALE="-scale-steps list,kill". The table is also in .cache/bench-scale.json.
FUNCTIONS ?= 100
bench-scale:
	@.ci/need go node python3 wrk
	$(GO) mod download
	@mkdir -p .cache && rm -f .cache/bench-scale.json
	$(GO) run ./bench -only scale -functions $(FUNCTIONS) -rounds 5 -json .cache/bench-scale.json $(SCALE)

test-container:
	test/container/run.sh

# The image for Java: it installs a JDK and a JRE when it is built, which takes minutes, so CI leaves it out.
test-container-java:
	test/container/run.sh java

# More rounds of what kills agent and queue under load; CI has one.
soak:
	KILL_ROUNDS=20 $(GO) test ./test/e2e -run TestNoAcceptedAsyncRequestIsLostThroughKills -count=1 -v -timeout 30m

# The platform's official SDKs against the platform API. They are large, so they have modules of their own.
test-sdk: build
	@.ci/need go node npm
	cd test/sdk && $(GO) vet ./... && $(GO) test -count=1 ./...
	cd test/sdk-node && npm ci --no-audit --no-fund --loglevel=error >/dev/null && node --test

# Agents on three real NATS servers, which are killed and cut off. Most of the time is spent waiting: the tests run side
# by side.
test-cluster: build
	@.ci/need go gcc node ip
	cd test/cluster && $(GO) vet ./... && $(GO) test -race -count=1 -parallel 8 ./...

# The same servers with one slow disk. CI does not run it: the tracer takes a processor.
test-slow-disk: build
	@.ci/need go gcc node strace
	cd test/cluster && GANTRY_TEST_SLOW_DISK=1 $(GO) test -race -count=1 -run '^TestSlowDisk$$' -v ./...

# Outcomes in a real S3 gateway, which is built from its module: one to three minutes the first time.
test-gateway: build .cache/versitygw
	@.ci/need go node
	cd test/gateway && $(GO) vet ./... && $(GO) test -count=1 ./...

.cache/versitygw: test/gateway/go.mod test/gateway/go.sum
	cd test/gateway && $(GO) build -ldflags "-s -w" -o ../../$@ github.com/versity/versitygw/cmd/versitygw

# The example extension otlp against OpenTelemetry's own decoders.
test-otlp: build
	@.ci/need go node gcc
	cd test/otlp && $(GO) vet ./... && $(GO) test -race -count=1 ./...

# HTTP functions on real frameworks and in a real browser, against the same servers called directly. CI does not run it:
# it installs some 200 MB. What is not there and cannot be installed is skipped, with the reason.
HTTP_MODULES ?= $(CURDIR)/.cache/http
test-http: $(HTTP_MODULES)/node_modules
	@.ci/need go node php
	@/usr/bin/python3 -c 'import flask, gunicorn' 2>/dev/null || .ci/need python3-flask gunicorn
	@command -v chromium >/dev/null || .ci/need chromium
	@command -v javac >/dev/null || .ci/need javac || echo "the server of the JDK will not be run"
	cd test/http && $(GO) vet ./... && GANTRY_TEST_HTTP_MODULES=$(HTTP_MODULES)/node_modules $(GO) test -race -count=1 -v ./...

$(HTTP_MODULES)/node_modules: test/http/testdata/npm/package.json test/http/testdata/npm/package-lock.json
	@.ci/need node npm
	@mkdir -p $(HTTP_MODULES) && cp $^ $(HTTP_MODULES)
	cd $(HTTP_MODULES) && npm ci --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

# Adapters of AWS that run web frameworks as event functions, behind the front, and pages of event functions in Chromium.
# CI does not run it.
ADAPTER_MODULES ?= $(CURDIR)/.cache/adapters
test-triggers: $(ADAPTER_MODULES)/node_modules
	@.ci/need go node
	@command -v chromium >/dev/null || .ci/need chromium
	cd test/http && GANTRY_TEST_ADAPTER_MODULES=$(ADAPTER_MODULES)/node_modules \
	  $(GO) test -race -count=1 -v -run 'Adapters|Browser(Opens|Sees)' ./...

$(ADAPTER_MODULES)/node_modules: test/http/testdata/adapters/package.json test/http/testdata/adapters/package-lock.json
	@.ci/need node npm
	@mkdir -p $(ADAPTER_MODULES) && cp $^ $(ADAPTER_MODULES)
	cd $(ADAPTER_MODULES) && npm ci --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

# Everything that users install, in dist/. NODE_BASE, PYTHON_BASE and PHP_BASE name archives of base images, for the three
# images that have one. The time in all files is that of the last commit.
DIST   ?= dist
SOURCE ?=
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
release: need-java
	@.ci/need go git
	@test -e /etc/ssl/certs/ca-certificates.crt || .ci/need ca-certificates
	cd release && SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(GO) run . -root "$(CURDIR)" -out "$(abspath $(DIST))" -version "$(VERSION)" \
	  -commit "$(COMMIT)" -source "$(SOURCE)" -node-base "$(and $(NODE_BASE),$(abspath $(NODE_BASE)))" \
	  -python-base "$(and $(PYTHON_BASE),$(abspath $(PYTHON_BASE)))" \
	  -php-base "$(and $(PHP_BASE),$(abspath $(PHP_BASE)))"
	@cd "$(DIST)" && ls -l

# The last commit, built twice: in two folders, the second time from nothing. The checksums have to be the same.
release-check: need-java
	@.ci/need go git
	@release/check.sh

# Packages installed, upgraded and removed in a Debian of their own, the npm package run by npx, images read back.
test-release: need-java
	@.ci/need go git node npm rpm
	@test "$$(id -u)" != 0 || test -e /usr/share/keyrings/debian-archive-keyring.gpg || .ci/need debian-archive-keyring
	@test "$$(id -u)" != 0 || .ci/need debootstrap # without root nothing can be installed, and those tests are skipped
	@command -v qemu-aarch64-static >/dev/null || .ci/need qemu-aarch64-static || echo "programs for arm64 will not be run"
	cd release && $(GO) vet ./... && $(GO) test -count=1 -timeout 10m ./...

# What CI runs of them: without a second build, programs of earlier commits, and programs for arm64 that are run.
test-release-quick: need-java
	@.ci/need go git node npm rpm
	@test "$$(id -u)" != 0 || test -e /usr/share/keyrings/debian-archive-keyring.gpg || .ci/need debian-archive-keyring
	@test "$$(id -u)" != 0 || .ci/need debootstrap
	cd release && $(GO) vet ./... && $(GO) test -short -count=1 -timeout 10m ./...

clean:
	rm -rf bin dist
