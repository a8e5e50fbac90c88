# Builds with BuildKit or buildah:
#
#   docker build -t gantry .                           for functions in Node.js
#   docker build --target python -t gantry-python .    for functions in Python
#   docker build --target java -t gantry-java .        for functions in Java
#   docker build --target php -t gantry-php .          for functions in PHP
#   docker build --target go -t gantry-go .            for functions in Go and custom runtimes that are static programs
#   docker build --target binary -t gantry-binary .    only the binary, to copy into an image of your own
#   docker build --target queue-binary -t gantry-queue-binary .    the queue's child process, for asynchronous calls
#
# The base images are arguments, so that a mirror or a local image can take their place. For a Go module proxy near you
# add --build-arg GOPROXY=…, for the time of the build --label org.opencontainers.image.created=….
ARG GO_IMAGE=golang:1.26
ARG NODE_IMAGE=node:20-bookworm-slim
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
ARG JAVA_IMAGE=debian:bookworm-slim
ARG PHP_IMAGE=php:8.3-cli-bookworm
ARG VERSION=0.1.0-dev
ARG COMMIT=unknown
ARG SOURCE=

# The binary is cross-compiled where the build runs: no emulation for a foreign platform.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ARG GOPROXY
WORKDIR /src
# Modules change less often than code: a layer of their own.
COPY go.mod go.sum ./
COPY function/go.mod function/
COPY test/harness/go.mod test/harness/go.sum test/harness/
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION COMMIT
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath \
      -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" -o /bootstrap ./bootstrap
# A process whose file its user may run but not read is closed to other processes of that user from its first
# instruction on. The health check needs that: it has the container's environment, with its secrets.
RUN chmod 0711 /bootstrap

# For other images: COPY --from=gantry-binary /bootstrap /bootstrap
FROM scratch AS binary
COPY --from=build /bootstrap /bootstrap

FROM build AS build-queue
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath \
      -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" -o /gantry-jetstream ./jetstream && chmod 0711 /gantry-jetstream

# For images that want asynchronous invocation: COPY --from=gantry-queue-binary /gantry-jetstream /gantry-jetstream
FROM scratch AS queue-binary
COPY --from=build-queue /gantry-jetstream /gantry-jetstream

# What a scratch image lacks; without the certificates no Go function could call an HTTPS service. Any Debian
# would do; this one is there already, and the code is not in it.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS root
RUN mkdir -p /root-folder/etc/ssl/certs /root-folder/opt/function/code \
 && mkdir -m 1777 /root-folder/tmp \
 && echo 'function:x:1003:' > /root-folder/etc/group \
 && echo 'function:x:1003:1003::/tmp:/usr/sbin/nologin' > /root-folder/etc/passwd \
 && cp /etc/ssl/certs/ca-certificates.crt /root-folder/etc/ssl/certs/

FROM scratch AS go
COPY --from=root /root-folder/ /
COPY --from=binary /bootstrap /bootstrap

ARG VERSION COMMIT SOURCE
LABEL org.opencontainers.image.title="Gantry" \
      org.opencontainers.image.description="Runs a FunctionGraph function in Go, or a custom runtime, and the extensions beside it, in any container" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.licenses="Apache-2.0"

# The same as for Node.js below, where the reasons are: no instruction hands it on to another base.
ENV GANTRY_ADDR=:8000 GANTRY_OPS_ADDR=:8092
EXPOSE 8000
USER 1003:1003
WORKDIR /opt/function
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/bootstrap", "health"]
ENTRYPOINT ["/bootstrap"]
CMD []

FROM ${PYTHON_IMAGE} AS python
RUN { grep -q '^[^:]*:[^:]*:1003:' /etc/group || echo 'function:x:1003:' >> /etc/group; } \
 && { grep -q '^[^:]*:[^:]*:1003:' /etc/passwd || echo 'function:x:1003:1003::/tmp:/usr/sbin/nologin' >> /etc/passwd; } \
 && mkdir -p /opt/function/code
COPY --from=binary /bootstrap /bootstrap

ARG PYTHON_IMAGE VERSION COMMIT SOURCE
LABEL org.opencontainers.image.title="Gantry" \
      org.opencontainers.image.description="Runs a FunctionGraph function in Python, and the extensions beside it, in any container" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="$PYTHON_IMAGE"

# The same as for Node.js below, where the reasons are: no instruction hands it on to another base.
ENV GANTRY_ADDR=:8000 GANTRY_OPS_ADDR=:8092
EXPOSE 8000
USER 1003:1003
WORKDIR /opt/function
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/bootstrap", "health"]
ENTRYPOINT ["/bootstrap"]
CMD []

# The worker of functions in Java: the same file for every platform, built where the build runs.
FROM --platform=$BUILDPLATFORM ${JAVA_IMAGE} AS build-java
# The packages of OpenJDK fail where a small base has no folder for its manual pages.
RUN mkdir -p /usr/share/man/man1 && apt-get update \
 && apt-get install -y --no-install-recommends default-jdk-headless libgoogle-gson-java
COPY runtime/worker/java /src
RUN /src/build.sh /gantry-java.jar

FROM ${JAVA_IMAGE} AS java
RUN mkdir -p /usr/share/man/man1 && apt-get update \
 && apt-get install -y --no-install-recommends default-jre-headless ca-certificates && rm -rf /var/lib/apt/lists/*
RUN { grep -q '^[^:]*:[^:]*:1003:' /etc/group || echo 'function:x:1003:' >> /etc/group; } \
 && { grep -q '^[^:]*:[^:]*:1003:' /etc/passwd || echo 'function:x:1003:1003::/tmp:/usr/sbin/nologin' >> /etc/passwd; } \
 && mkdir -p /opt/function/code
COPY --from=binary /bootstrap /bootstrap
COPY --from=build-java /gantry-java.jar /gantry-java.jar

ARG JAVA_IMAGE VERSION COMMIT SOURCE
LABEL org.opencontainers.image.title="Gantry" \
      org.opencontainers.image.description="Runs a FunctionGraph function in Java, and the extensions beside it, in any container" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="$JAVA_IMAGE"

# The same as for Node.js below, where the reasons are: no instruction hands it on to another base.
ENV GANTRY_ADDR=:8000 GANTRY_OPS_ADDR=:8092
EXPOSE 8000
USER 1003:1003
WORKDIR /opt/function
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/bootstrap", "health"]
ENTRYPOINT ["/bootstrap"]
CMD []

FROM ${PHP_IMAGE} AS php
RUN { grep -q '^[^:]*:[^:]*:1003:' /etc/group || echo 'function:x:1003:' >> /etc/group; } \
 && { grep -q '^[^:]*:[^:]*:1003:' /etc/passwd || echo 'function:x:1003:1003::/tmp:/usr/sbin/nologin' >> /etc/passwd; } \
 && mkdir -p /opt/function/code
COPY --from=binary /bootstrap /bootstrap

ARG PHP_IMAGE VERSION COMMIT SOURCE
LABEL org.opencontainers.image.title="Gantry" \
      org.opencontainers.image.description="Runs a FunctionGraph function in PHP, and the extensions beside it, in any container" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="$PHP_IMAGE"

# The same as for Node.js below, where the reasons are: no instruction hands it on to another base.
ENV GANTRY_ADDR=:8000 GANTRY_OPS_ADDR=:8092
EXPOSE 8000
USER 1003:1003
WORKDIR /opt/function
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/bootstrap", "health"]
ENTRYPOINT ["/bootstrap"]
CMD []

FROM ${NODE_IMAGE} AS nodejs
# The platform starts containers as 1003:1003. Written by hand, because useradd and adduser differ from base to base.
# The home is the only folder that is writable there.
RUN { grep -q '^[^:]*:[^:]*:1003:' /etc/group || echo 'function:x:1003:' >> /etc/group; } \
 && { grep -q '^[^:]*:[^:]*:1003:' /etc/passwd || echo 'function:x:1003:1003::/tmp:/usr/sbin/nologin' >> /etc/passwd; } \
 && mkdir -p /opt/function/code
COPY --from=binary /bootstrap /bootstrap

ARG NODE_IMAGE VERSION COMMIT SOURCE
LABEL org.opencontainers.image.title="Gantry" \
      org.opencontainers.image.description="Runs a FunctionGraph function in Node.js, and the extensions beside it, in any container" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="$NODE_IMAGE"

# A published port must reach the agent also when it is not PID 1 (docker run --init), and metrics are for a scraper
# outside the container; elsewhere the defaults are loopback addresses.
ENV GANTRY_ADDR=:8000 GANTRY_OPS_ADDR=:8092
EXPOSE 8000
USER 1003:1003
# The function's code belongs into /opt/function/code: mount it there, or COPY it in an image built on this one.
WORKDIR /opt/function
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/bootstrap", "health"]
ENTRYPOINT ["/bootstrap"]
# Nothing of the base image's command may be left: it would become an argument.
CMD []
