"""Deliveries as GitHub sends them, timed in a process that does nothing else: `bench.pr` starts and reads it."""

import hashlib
import hmac
import json
import sys
import time

import httpx


def main(url: str, secret: str, count: str) -> None:
    """Print the milliseconds that each acknowledgement took."""
    took = []
    with httpx.Client(base_url=url) as client:
        for number in range(int(count)):
            body = json.dumps({"action": "labeled", "pull_request": {"number": 1}, "sender": {"type": "User"},
                               "repository": {"full_name": f"other/{number}"}}).encode()  # fmt: skip
            headers = {
                "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
                "X-GitHub-Delivery": f"d-{number}", "X-GitHub-Event": "pull_request",
            }  # fmt: skip
            began = time.perf_counter()
            client.post("/webhook", content=body, headers=headers).raise_for_status()
            took.append((time.perf_counter() - began) * 1000)
            time.sleep(0.005)
    print(json.dumps(took))


if __name__ == "__main__":
    main(*sys.argv[1:])
