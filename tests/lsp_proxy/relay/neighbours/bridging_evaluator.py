"""Joins the link with a socket of the test, so that the test itself is the evaluator: `... SOCKET --link-fd N ...`."""

import os
import select
import socket
import sys


def main() -> None:
    link = socket.socket(fileno=int(sys.argv[sys.argv.index("--link-fd") + 1]))
    test = socket.socket(socket.AF_UNIX)
    try:
        test.connect(sys.argv[1])
    except OSError:
        return  # The test has ended.
    test.sendall(b"%d\n" % os.getpid())
    while True:
        for ready in select.select([link, test], [], [])[0]:
            chunk = ready.recv(1 << 16)
            if not chunk:
                return
            (test if ready is link else link).sendall(chunk)


main()
