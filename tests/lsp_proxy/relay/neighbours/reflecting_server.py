"""Writes what it reads, byte for byte, and ends at the end with status 7: whatever is lost between shows."""

import os

while chunk := os.read(0, 1 << 16):
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(1, rest) :]
raise SystemExit(7)
