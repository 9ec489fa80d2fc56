"""Records a session of each real server anew, for the tests that mutate them: `python -m tests.lsp_proxy.relay.record`.

What the editor said and what the server said are kept as bytes in `sessions/`.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from codetrial.paths import cache_dir
from tests.lsp_proxy.relay.conftest import Wire, recorded
from tests.lsp_proxy.relay.test_real_servers import SERVERS, Session, command_of, project

SESSIONS = Path(__file__).with_name("sessions")
PROJECT = Path(tempfile.gettempdir()) / "project"
"""The same for everybody, as it stands in the messages."""


def main() -> None:
    SESSIONS.mkdir(exist_ok=True)
    for name, (_, program) in SERVERS.items():
        with tempfile.TemporaryDirectory() as folder:
            shutil.rmtree(PROJECT, ignore_errors=True)
            wire = Wire(recorded(command_of(name), Path(folder) / "kept"), {}, stderr=subprocess.DEVNULL)
            try:
                Session(wire, project(PROJECT, program)).run(program)
            finally:
                wire.close()
                shutil.rmtree(PROJECT)
            for file, speaker in (("read", "editor"), ("written", "server")):
                content = (Path(folder) / "kept" / file).read_bytes()
                (SESSIONS / f"{name}.{speaker}").write_bytes(b"".join(map(without_places, frames(content))))


def frames(data: bytes) -> list[tuple[bytes, bytes]]:
    """Header and body of each."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        [length] = re.findall(rb"Content-Length: ([0-9]+)", head)
        found.append((head, data[: int(length)]))
        data = data[int(length) :]
    return found


def without_places(frame: tuple[bytes, bytes]) -> bytes:
    """The frame without the folders of whoever recorded it."""
    head, body = frame
    for number, place in enumerate((cache_dir(), sys.prefix, Path(__file__).parents[3], Path.home())):
        body = body.replace(str(place).encode(), b"/place%d" % number)
    return re.sub(rb"[0-9]+", b"%d" % len(body), head, count=1) + b"\r\n\r\n" + body


if __name__ == "__main__":
    main()
