# SPDX-License-Identifier: Apache-2.0
"""One process inside one namespace, which calls functions it is told over a pipe.

`ip netns exec` for each request costs more than the request; so the tests keep one worker a guest.
usage: guestworker.py NAMESPACE  (requests on stdin, answers on stdout, pickled, length first)
"""

import importlib
import os
import pathlib
import pickle
import struct
import sys
import traceback

here = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(here), str(here.parent / "lab"), str(here.parent / "conformance")]
import labkit  # noqa: E402


def read_exactly(stream, size):
    data = stream.read(size)
    if len(data) != size:
        sys.exit(0)
    return data


def main():
    labkit.enter_netns(sys.argv[1])
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not disturb the answers
    while True:
        (size,) = struct.unpack("!I", read_exactly(requests, 4))
        module, name, args, kwargs = pickle.loads(read_exactly(requests, size))
        try:
            answer = (True, getattr(importlib.import_module(module), name)(*args, **kwargs))
        except BaseException as error:
            answer = (False, (f"{type(error).__name__}: {error}", traceback.format_exc()))
        data = pickle.dumps(answer)
        answers.write(struct.pack("!I", len(data)) + data)
        answers.flush()


main()
