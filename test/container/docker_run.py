#!/usr/bin/env python3
"""Writes the OCI bundle that "docker run OPTIONS IMAGE ARGS" would have started, so that runc can start it.

usage: docker_run.py BUNDLE ROOTFS INSPECTED NAME CGROUP docker run OPTIONS IMAGE ARGS

INSPECTED is the output of "buildah inspect" for the image. The words behind NAME and CGROUP are the command line as a
person would type it. An option that is not known here is an error: nothing is left out silently. Namespaces, mounts,
capabilities and hidden paths are Docker's defaults; its seccomp filter is missing.
"""

import json
import os
import sys

# What a container's root may do with Docker. A user other than root has these only as a bound.
CAPABILITIES = ["CAP_" + name for name in (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE").split()]
MASKED = ["/proc/" + name for name in (
    "asound acpi interrupts kcore keys latency_stats timer_list timer_stats sched_debug scsi").split()] + ["/sys/firmware", "/sys/devices/virtual/powercap"]
READONLY = ["/proc/" + name for name in "bus fs irq sys sysrq-trigger".split()]

SWITCHES = {"--rm", "--read-only"}
VALUES = {"-u": "--user", "-p": "--publish", "-v": "--volume", "-e": "--env", "-m": "--memory"}
VALUED = set(VALUES.values()) | {"--tmpfs", "--name"}


def fail(message):
    sys.exit("docker_run.py: " + message)


def parse(words):
    """Splits a command line into options (name and value), the image, and the arguments behind it."""
    if words[:2] != ["docker", "run"]:
        fail("not a docker run line: " + " ".join(words))
    options, rest = [], words[2:]
    while rest and rest[0].startswith("-"):
        name, glued, value = rest.pop(0).partition("=")
        name = VALUES.get(name, name)
        if name in SWITCHES and not glued:
            options.append((name, ""))
        elif name not in VALUED:
            fail("cannot translate the option " + name)
        elif glued or rest:
            options.append((name, value if glued else rest.pop(0)))
        else:
            fail(name + " lacks its value")
    if not rest:
        fail("no image in: " + " ".join(words))
    return options, rest[0], rest[1:]


def split_volume(value):
    source, target, *mode = value.split(":")
    if mode not in ([], ["ro"], ["rw"]) or not source.startswith("/") or not os.path.exists(source):
        fail("cannot translate the volume " + value)
    return {"destination": target, "type": "bind", "source": source,
            "options": ["rbind", "rprivate", "ro" if mode == ["ro"] else "rw"]}


def split_tmpfs(value):
    target, _, given = value.partition(":")
    options = ["nosuid", "nodev"]
    given = given.split(",") if given else []
    if "exec" not in given:
        options.append("noexec")
    return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options + given}


def in_bytes(value):
    unit = {"b": 0, "k": 10, "m": 20, "g": 30}.get(value[-1].lower())
    return int(value) if unit is None else int(value[:-1]) << unit


def identity(rootfs, user):
    """Resolves a user as Docker does: name or number, with or without a group."""
    name, _, group = (user or "0").partition(":")
    with open(os.path.join(rootfs, "etc/passwd"), encoding="utf-8") as file:
        known = [line.rstrip("\n").split(":") for line in file]
    entry = next((e for e in known if name in (e[0], e[2])), None)
    if entry is None and not name.isdigit():
        fail("no such user in the image: " + name)
    uid = int(entry[2] if entry else name)
    gid = int(group or (entry[3] if entry else 0))
    return {"uid": uid, "gid": gid}, (entry[5] if entry else "/")


def base_mounts(bundle, name):
    """Docker's own mounts: the kernel's file systems, and the three files that it makes for each container."""
    def mount(destination, kind, options):
        return {"destination": destination, "type": kind, "source": kind, "options": options}
    mounts = [
        mount("/proc", "proc", ["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", ["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
    ]
    for file, text in (("hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n"), ("hostname", name + "\n"), ("resolv.conf", "")):
        path = os.path.join(bundle, file)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        mounts.append({"destination": "/etc/" + file, "type": "bind", "source": path, "options": ["rbind", "rprivate", "rw"]})
    return mounts


def memory(limit):
    """Docker lets memory and swap together grow to twice the limit, where the kernel counts swap at all."""
    counted = os.path.exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes") or os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    return {"limit": limit, "swap": 2 * limit} if counted else {"limit": limit}


def specification(bundle, rootfs, image, name, cgroup, options, arguments):
    single = dict(options)
    user, home = identity(rootfs, single.get("--user", image.get("User")))
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": name}
    for word in image.get("Env") or []:
        environment.update([word.split("=", 1)])
    for option, word in options:
        if option == "--env":
            environment.update([word.split("=", 1) if "=" in word else (word, os.environ.get(word, ""))])
    environment.setdefault("HOME", home)
    mounts = base_mounts(bundle, name)
    mounts += [split_tmpfs(value) for option, value in options if option == "--tmpfs"]
    mounts += [split_volume(value) for option, value in options if option == "--volume"]
    root = user["uid"] == 0
    namespaces = ["pid", "network", "ipc", "uts", "mount"]
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        namespaces.append("cgroup")  # as Docker does with version 2 only
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": user, "cwd": image.get("WorkingDir") or "/",
            "args": (image.get("Entrypoint") or []) + (arguments or image.get("Cmd") or []),
            "env": [f"{key}={value}" for key, value in environment.items()],
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES if root else [], "permitted": CAPABILITIES if root else []},
            "noNewPrivileges": False,
        },
        "root": {"path": rootfs, "readonly": "--read-only" in single},
        "hostname": name,
        "mounts": mounts,
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": False, "access": "rwm"}],
                          **({"memory": memory(in_bytes(single["--memory"]))} if "--memory" in single else {})},
            "namespaces": [{"type": kind} for kind in namespaces],
            "maskedPaths": MASKED, "readonlyPaths": READONLY,
        },
    }


def main():
    if len(sys.argv) < 8:
        fail((__doc__ or "").split("\n\n")[1])
    bundle, rootfs, inspected, name, cgroup = sys.argv[1:6]
    options, tag, arguments = parse(sys.argv[6:])
    if tag.partition(":")[0] != "gantry":
        fail("this image was not built here: " + tag)
    with open(inspected, encoding="utf-8") as file:
        image = json.load(file)["Docker"]["config"]
    config = specification(bundle, rootfs, image, name, cgroup, options, arguments)
    with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as out:
        json.dump(config, out, indent=1)
    # The caller decides how a published port is reached: one "HOST CONTAINER" a line.
    with open(os.path.join(bundle, "ports"), "w", encoding="utf-8") as out:
        for option, value in options:
            if option == "--publish":
                host, _, inside = value.rpartition(":")
                out.write(f"{host.rpartition(':')[2]} {inside}\n")


if __name__ == "__main__":
    main()
