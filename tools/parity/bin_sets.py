"""Fixtures for src/evaluate/pickle: small sets in every form of InsightFace's `.bin` files.

    python tools/parity/bin_sets.py tests/fixtures/evaluate/bin_sets.json OTHER_PYTHON

Run with numpy 2; OTHER_PYTHON is an interpreter that has numpy 1 (1.23.5 was used), whose pickles
name other modules. Python 2's own pickles are spelled out by hand, opcode by opcode, in the order
in which cPickle writes them. Every pickle is loaded with pickle.load before it is written.
"""

import base64
import itertools
import json
import pickle
import struct
import subprocess
import sys

import numpy as np

# The third image is the first again: the pickle names it instead of repeating it.
FILES = [b"\xff\xd8\xff\xe0\0\n'\\", b"\x89PNG\r\n\x1a\n\x80", b"", bytes(range(120, 250, 9))]
ORDER = [0, 1, 0, 2, 3, 1]
SAME = [True, False, True]

IMAGES = {
    "bytes": lambda data: data,
    "array": lambda data: np.frombuffer(data, np.uint8).copy(),
    "column": lambda data: np.frombuffer(data, np.uint8).copy().reshape(-1, 1),
}
FLAGS = {
    "bools": list(SAME),
    "numpy_bools": [np.bool_(same) for same in SAME],
    "ints": [int(same) for same in SAME],
    "bool_array": np.array(SAME),
}
OUTER = {"tuple": tuple, "list": list}


def sets():
    """Name -> pickle of every combination with this numpy."""
    found = {}
    names = itertools.product(range(2, 6), IMAGES, FLAGS, OUTER)
    for protocol, images, flags, outer in names:
        made = [IMAGES[images](data) for data in FILES]
        whole = OUTER[outer]([[made[n] for n in ORDER], FLAGS[flags]])
        found[f"protocol {protocol}, {images}, {flags}, {outer}"] = pickle.dumps(whole, protocol)
    # Read-only arrays and views are written in other ways.
    for protocol in range(2, 6):
        made = [np.frombuffer(data, np.uint8) for data in FILES]
        made[3] = np.repeat(made[3], 2)[::2]
        whole = (tuple(made[n] for n in ORDER), tuple(SAME))
        found[f"protocol {protocol}, read-only and views, tuples"] = pickle.dumps(whole, protocol)
    return found


class Python2:
    """cPickle of Python 2.7, protocol 2: byte strings, memo from 1 on."""

    def __init__(self, long_strings):
        self.out, self.memo, self.long = [b"\x80\x02"], {}, long_strings

    def put(self, key):
        self.memo[key] = len(self.memo) + 1
        self.out.append(b"q" + bytes([self.memo[key]]))

    def once(self, key, write):
        if key in self.memo:
            self.out.append(b"h" + bytes([self.memo[key]]))
        else:
            write()
            self.put(key)

    def string(self, data):
        short = len(data) < 256 and not self.long
        head = b"U" + bytes([len(data)]) if short else b"T" + struct.pack("<i", len(data))
        self.once(data, lambda: self.out.append(head + data))

    def name(self, module, name):
        self.once((module, name), lambda: self.out.append(f"c{module}\n{name}\n".encode()))

    def dtype(self, kind):
        def write():
            self.name("numpy", "dtype")
            self.string(kind)
            self.out.append(b"K\0K\x01\x87")
            self.put(("arguments", kind))
            self.out.append(b"R")

        if ("dtype", kind) not in self.memo:
            self.once(("dtype", kind), write)
            self.out.append(b"(K\x03")
            self.string(b"|")
            self.out.append(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t")
            self.put(("state", kind))
            self.out.append(b"b")
        else:
            self.once(("dtype", kind), write)

    def array(self, key, kind, data):
        if key in self.memo:
            return self.once(key, None)
        self.name("numpy.core.multiarray", "_reconstruct")
        self.name("numpy", "ndarray")
        self.out.append(b"K\0\x85")
        self.put(("zero", key))
        self.string(b"b")
        self.out.append(b"\x87")
        self.put(("made of", key))
        self.out.append(b"R")
        self.put(key)
        self.out.append(b"(K\x01K" + bytes([len(data)]) + b"\x85")
        self.put(("shape", key))
        self.dtype(kind)
        self.out.append(b"\x89")
        self.string(data)
        self.out.append(b"t")
        self.put(("array state", key))
        self.out.append(b"b")

    def whole(self, arrays):
        self.out.append(b"]")
        self.put("images")
        self.out.append(b"(")
        for n in ORDER:
            self.array(("image", n), b"u1", FILES[n]) if arrays else self.string(FILES[n])
        self.out.append(b"e")
        if arrays:
            self.array("flags", b"b1", bytes(SAME))
        else:
            self.out.append(b"]")
            self.put("flags")
            self.out.append(b"(" + b"".join(b"\x88" if same else b"\x89" for same in SAME) + b"e")
        self.out.append(b"\x86")
        self.put("all")
        self.out.append(b".")
        return b"".join(self.out)


def check(name, data):
    images, same = pickle.loads(data, encoding="latin1" if "python 2" in name else "ASCII")
    images = [i.encode("latin1") if isinstance(i, str) else bytes(i) for i in images]
    assert images == [FILES[n] for n in ORDER], name
    assert [bool(flag) for flag in same] == SAME, name


def encoded(data):
    return base64.b64encode(data).decode()


def main():
    if sys.argv[1:] == ["--print"]:
        json.dump({"numpy": np.__version__,
                   "sets": {name: encoded(data) for name, data in sets().items()}}, sys.stdout)
        return
    target, other = sys.argv[1:]
    found = {f"{name}, numpy {np.__version__}": data for name, data in sets().items()}
    old = json.loads(subprocess.check_output([other, __file__, "--print"]))
    for name, data in old["sets"].items():
        found[f"{name}, numpy {old['numpy']}"] = base64.b64decode(data)
    for arrays, long_strings in itertools.product([False, True], [False, True]):
        name = f"python 2, {'arrays' if arrays else 'strings'}, {'long' if long_strings else 'short'}"
        found[name] = Python2(long_strings).whole(arrays)
    different = {}
    for name, data in found.items():
        check(name, data)
        different.setdefault(data, name)
    with open(target, "w") as file:
        images = [encoded(FILES[n]) for n in ORDER]
        lines = [json.dumps([name, encoded(data)]) for data, name in different.items()]
        file.write('{"images": %s, "same": %s, "sets": [\n%s\n]}\n'
                   % (json.dumps(images), json.dumps(SAME), ",\n".join(lines)))
    print(f"{len(found)} pickles, {len(different)} different")


if __name__ == "__main__":
    main()
