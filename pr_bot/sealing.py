"""A store that lies where others can read it, closed with a secret.

A workflow's cache can be read by every run of the repository, those of a stranger's pull request included; only secrets
are kept from them. So what is kept between two runs of the action is one file, encrypted and authenticated with AES-GCM
under a key from the repository's own secret.
"""

import hashlib
import io
import os
import secrets
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from codetrial.errors import ReviewError

__all__ = ["seal", "secret_of_the_environment", "unseal"]

MAGIC = b"codetrial sealed 1\n"
SALT_BYTES, NONCE_BYTES = 16, 12

MIN_SECRET_CHARS = 16

MAX_BYTES = 1_000_000_000
"""It is held in memory whole. A trial that grows so large should not live in a cache."""


def secret_of_the_environment() -> str:
    """What the action gives its steps, and a person who opens a store the command.

    Raises:
        ReviewError: there is none, or it is too short to keep anything closed.
    """
    secret = os.environ.get("CODETRIAL_SALT", "")
    if len(secret) < MIN_SECRET_CHARS:
        raise ReviewError(f"CODETRIAL_SALT must be set, to {MIN_SECRET_CHARS} characters at least, drawn at random.")
    return secret


def seal(folder: Path, file: Path, secret: str) -> None:
    """Put everything in the folder into one closed file; an older one is replaced only when the new one is whole.

    Raises:
        ReviewError: there is too much.
    """
    packed = _packed(folder)
    if len(packed) > MAX_BYTES:
        raise ReviewError(f"{folder} is too large to be sealed: run the trial as an App (docs/pull-requests.md).")
    salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
    closed = AESGCM(_key(secret, salt)).encrypt(nonce, packed, MAGIC)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    part.write_bytes(MAGIC + salt + nonce + closed)
    part.replace(file)


def unseal(file: Path, folder: Path, secret: str) -> None:
    """Make the folder that was sealed; it must not be there yet, and is not made unless all of it is.

    Raises:
        ReviewError: the folder is there, the secret is another one, or the file is damaged.
    """
    if folder.exists():
        raise ReviewError(f"{folder} is there already: move it away, or name another place.")
    data = file.read_bytes()
    head = len(MAGIC)
    salt, nonce = data[head : head + SALT_BYTES], data[head + SALT_BYTES : head + SALT_BYTES + NONCE_BYTES]
    try:
        if not data.startswith(MAGIC):
            raise InvalidTag
        packed = AESGCM(_key(secret, salt)).decrypt(nonce, data[head + SALT_BYTES + NONCE_BYTES :], MAGIC)
    except InvalidTag as fault:
        raise ReviewError(
            f"{file} cannot be opened: it was sealed with another CODETRIAL_SALT, or is damaged. Put the old secret "
            "back, or delete the file (or the workflow's caches) to begin anew."
        ) from fault
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as scratch, zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(Path(scratch) / "all")
        (Path(scratch) / "all").mkdir(exist_ok=True)
        (Path(scratch) / "all").rename(folder)


def _packed(folder: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, _, names in os.walk(folder):
            for name in sorted(names):
                path = Path(place) / name
                archive.write(path, path.relative_to(folder))
    return out.getvalue()


def _key(secret: str, salt: bytes) -> bytes:
    """Slow on purpose: a secret that somebody made up is shorter than one that was drawn."""
    return hashlib.scrypt(secret.encode(), salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=32)
