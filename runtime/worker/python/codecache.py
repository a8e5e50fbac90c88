"""The code cache of the Python worker (docs/RUNTIMES.md, section 11): in mode read Python finds in it the byte code of
source files that have none, in mode write it is filled. A section of the worker, compiled only where there is a cache,
before the worker imports anything: in images without byte code that is the larger part of what the cache saves. So it
imports only what is built into the interpreter, and the few modules that the interpreter has imported by now.

The import system asks a loader for the time of a source file, then for its byte code. The loaders of files that the
cache has answer the second question here, once, and only where Python would have to compile."""
import marshal
import os
import sys

MAGIC = b"GANTRYP1"
HEAD = 16  # bytes: MAGIC, length of the index, reserved
UNCHECKED = b"\x01\0\0\0"  # byte code by the hash of its source, which is compared here
pread, write_all, from_bytes, get_frame = os.pread, os.write, int.from_bytes, sys._getframe


class Refused(Exception):
    """Why the cache is of no use."""


def exactly(fd, length, at):
    data = pread(fd, length, at)
    if len(data) != length:
        raise Refused("it is not complete; run bootstrap warm again")
    return data


def positions():
    """Reports whether byte code has the columns of its source (-X no_debug_ranges)."""
    of = getattr(positions.__code__, "co_positions", None)
    return of is not None and any(place[2] is not None for place in of())


class Cache:
    """A code cache that is read or filled. Nothing here fails: what cannot be had from the cache is compiled."""

    def __init__(self, mode, fd, root):
        self.fd, self.refused, self.index, self.hits, self.seen = fd, None, {}, set(), {}
        os.set_inheritable(fd, False)
        self.file = self.identity()
        try:
            import _frozen_importlib_external as system
            from _imp import source_hash
            self.loader, self.magic, self.place = system.SourceFileLoader, system.MAGIC_NUMBER, system.cache_from_source
            self.hash = lambda source: source_hash(from_bytes(self.magic, "little"), source)
            self.read, self.compile = self.loader.get_data, self.loader.source_to_code
            self.roots = sorted({root.rstrip("/") + "/", os.path.realpath(root).rstrip("/") + "/"}, key=len, reverse=True)
            for function in (self.read, self.compile, self.loader.get_code, self.loader.path_stats):
                if getattr(getattr(function, "__code__", None), "co_filename", "") != self.place.__code__.co_filename:
                    raise Refused("a module that is loaded before the function loads or compiles files itself")
            if mode == "read":
                self.open()
            self.get_code = self.loader.get_code.__code__
            self.attend()
        except Refused as e:
            self.refused = str(e)
        except Exception as e:  # another Python, or a version to come
            self.refused = "this Python cannot use one: %s: %s" % (type(e).__name__, e)

    def identity(self):
        """What file the descriptor is: user code may close it, and open another file in its place."""
        found = os.fstat(self.fd)
        return found.st_dev, found.st_ino

    def key(self):
        """What byte code depends on besides its source, in words."""
        options = ["-O" + "O" * (sys.flags.optimize - 1)] if sys.flags.optimize else []
        if not positions() and sys.version_info >= (3, 11):
            options.append("-X no_debug_ranges")
        return " ".join(["%d.%d.%d" % sys.version_info[:3], sys.implementation.cache_tag, self.magic.hex()] + options)

    def open(self):
        """Reads the index: names of files, and where their byte code begins and how long it is."""
        head, size = pread(self.fd, HEAD, 0), os.fstat(self.fd).st_size
        if len(head) != HEAD or head[:8] != MAGIC:
            raise Refused("it is no code cache of this version for Python; run bootstrap warm again")
        index = exactly(self.fd, min(from_bytes(head[8:12], "little"), size), HEAD).decode("utf-8", "surrogateescape").split("\0")
        if index[0] != str(size):
            raise Refused("it is not complete; run bootstrap warm again")
        if index[1].split(" ")[1:] != self.key().split(" ")[1:]:  # patch releases have the same byte code
            raise Refused("it was made by Python %s, and this is %s; run bootstrap warm with this one, and with the same options" % (index[1], self.key()))
        self.index = dict(zip(index[2::3], zip(index[3::3], index[4::3])))

    def name(self, path):
        """The name of a file in the cache: wherever the code folder lies."""
        for root in self.roots:
            if path.startswith(root):
                return path[len(root):]
        return path

    def attend(self):
        """Has the import system's question for the time of a file come here."""
        original, loader = self.loader.path_stats, self.loader

        def path_stats(self, path):
            found = original(self, path)
            if get_frame(1).f_code is cache.get_code and type(self) is loader and type(path) is str and loader.source_to_code is cache.compile:
                cache.asked(self, path, found)
            return found

        cache = self
        path_stats.__code__ = path_stats.__code__.replace(co_filename=original.__code__.co_filename)
        path_stats.__doc__, path_stats.__qualname__, path_stats.__module__ = original.__doc__, original.__qualname__, original.__module__
        loader.path_stats = path_stats

    def asked(self, loader, path, stats):
        entry = self.index.get(self.name(path))
        if entry is not None and "get_data" not in vars(loader):
            loader.get_data = lambda place: self.recall(loader, path, stats, entry, place)
        elif self.seen is not None:
            self.seen[path] = stats

    def recall(self, loader, path, stats, entry, place):
        """What the loader's get_data() is for the byte code of one file. Whatever it raises the import system catches."""
        del loader.get_data
        try:
            data = loader.get_data(place)
            if self.valid(data, stats):
                return data
        except OSError:
            data = None
        try:
            found, source = exactly(self.fd, int(entry[1]), int(entry[0])), self.read(loader, path)
            if found[:4] == self.magic and found[8:16] == self.hash(source):
                self.hits.add(path)
                return found
        except (OSError, Refused, ValueError):  # user code has closed the descriptor, or the source cannot be read
            pass
        if self.seen is not None:
            self.seen[path] = stats
        if data is None:
            raise FileNotFoundError(place)
        return data

    def valid(self, data, stats):
        """Reports whether Python takes byte code for that of a source. It finds out itself where a hash says so."""
        if len(data) < 16 or data[:4] != self.magic:
            return False
        mask = 0xFFFFFFFF
        return data[4:8] != b"\0\0\0\0" or (from_bytes(data[8:12], "little"), from_bytes(data[12:16], "little")) == (int(stats["mtime"]) & mask, stats["size"] & mask)

    def stored(self, path, stats):
        """Reports whether there is byte code of a file outside of the cache."""
        try:
            with open(self.place(path), "rb") as file:
                return self.valid(file.read(16), stats)
        except (OSError, NotImplementedError):
            return False

    def report(self):
        """What the load made of the cache. Files outside of the code folder are of the system, and no misses."""
        if self.refused is not None:
            return {"refused": self.refused}
        seen, self.seen = self.seen, None
        misses = [path for path, stats in seen.items() if self.name(path) != path and not self.stored(path, stats)]
        return {"hits": len(self.hits), "misses": len(misses)}

    def write(self):
        """Fills the cache with all files that were asked for: those of the code folder, and others without byte code."""
        if self.refused is not None:
            return {"refused": self.refused}
        import warnings
        files, parts, at, present = {}, [], 0, 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the load has shown them
            for path, stats in self.seen.items():
                stored = self.stored(path, stats)
                data = b"" if stored and self.name(path) == path else self.byte_code(path)
                if data:
                    files[self.name(path)], at, present = (at, len(data)), at + len(data), present + stored
                    parts.append(data)
        index, length = b"", -1
        while length != len(index):  # it has the places of all behind it
            length = len(index)
            fields = [str(HEAD + length + at), self.key()]
            for name, (begin, size) in files.items():
                fields += [name, str(HEAD + length + begin), str(size)]
            index = "\0".join(fields).encode("utf-8", "surrogateescape")
        data = memoryview(b"".join([MAGIC, length.to_bytes(4, "little"), bytes(4), index] + parts))
        done = 0
        if self.identity() != self.file:
            raise Refused("the function has closed the descriptor of the cache")
        while done < len(data):
            done += write_all(self.fd, data[done:])
        return {"files": len(files), "bytes": done, "present": present}

    def byte_code(self, path):
        """The byte code of a file; empty for one that is gone, or that the load could not compile either."""
        try:
            source = self.read(self.loader("", path), path)
            code = self.loader("", path).source_to_code(source, path)
        except (OSError, SyntaxError, ValueError, RecursionError):
            return b""
        return self.magic + UNCHECKED + self.hash(source) + marshal.dumps(code)
