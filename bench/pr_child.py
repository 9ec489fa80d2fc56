"""One review as a worker does it, in a process that imports nothing of the stand-in: `bench.pr` starts and reads it."""

import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path

from github import Auth

from codetrial.config import load
from codetrial.records import Origin
from pr_bot.github import Api
from pr_bot.pulls import open_bot


def main(url: str, token: str, config_file: str, number: str, folder: str) -> None:
    """Print seconds, those of the processor (with git and the arms), and this process's peak memory."""
    config = load(Path(folder), config_file=Path(config_file))
    began = time.perf_counter()
    bot = open_bot(config, database=Path(folder) / "store.db", origin=Origin.TEST)
    with closing(bot), Api(Auth.Token(token), url=url, pace_s=0) as api:
        done = bot.review(api, "octo/app", int(number))
        elapsed = time.perf_counter() - began
    spent = os.times()
    cpu = spent.user + spent.system + spent.children_user + spent.children_system
    # Not getrusage: its peak is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"seconds": elapsed, "cpu_seconds": cpu, "peak_mb": peak_mb, "detail": done.detail}))


if __name__ == "__main__":
    main(*sys.argv[1:])
