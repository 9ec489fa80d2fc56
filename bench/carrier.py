"""The least that Python can do between an editor and its language server: what was read is written.

A thread each way looks at nothing, so no proxy in Python can add less. The yardstick of `python -m bench relay_real`.
"""

import os
import subprocess
import sys
import threading


def carry(source: int, target: int) -> None:
    while data := os.read(source, 1 << 16):
        os.write(target, data)
    os.close(target)


if __name__ == "__main__":
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert server.stdin is not None
    assert server.stdout is not None
    threading.Thread(target=carry, args=(0, server.stdin.fileno()), daemon=True).start()
    carry(server.stdout.fileno(), 1)
