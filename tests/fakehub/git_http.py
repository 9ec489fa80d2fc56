"""Git over HTTP as a client fetches from GitHub: git's own server program behind the stand-in's port."""

import base64
import os
import subprocess
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from .hub import Hub

__all__ = ["serve"]


def serve(hub: "Hub", request: Request, body: bytes) -> Response:
    """One request of the smart protocol; reads only."""
    name, _, rest = request.url.path.lstrip("/").partition(".git/")
    repo = hub.repos.get(name)
    if repo is None or repo.is_deleted:
        return Response("Not Found", 404)
    if not _is_known(hub, request.headers.get("authorization", "")):
        return Response("Unauthorized", 401, {"WWW-Authenticate": 'Basic realm="GitHub"'})
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(repo.folder),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PATH_INFO": f"/{rest}",
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.url.query,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
    }
    out = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=True).stdout
    head, _, content = out.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    status = int(headers.pop("Status", "200").split(" ")[0])
    return Response(content, status, headers)


def _is_known(hub: "Hub", authorization: str) -> bool:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "basic":
        value = base64.b64decode(value).decode().partition(":")[2]
    return value in hub.actors
