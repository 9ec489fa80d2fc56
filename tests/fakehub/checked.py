"""The contract with its validator: what every test runs under. Apart, for the demo does without that dependency."""

from collections.abc import Callable

from openapi_core import OpenAPI
from openapi_core.contrib.starlette import StarletteOpenAPIRequest, StarletteOpenAPIResponse
from openapi_core.exceptions import OpenAPIError
from starlette.requests import Request
from starlette.responses import Response

from .contract import Contract

__all__ = ["CheckedContract"]


class _Described(StarletteOpenAPIRequest):
    """A request as the description can match it: of file names it allows no slash, GitHub itself does."""

    @property
    def path(self) -> str:
        head, contents, name = super().path.partition("/contents/")
        return head + contents + name.replace("/", "%2F")


class CheckedContract(Contract):
    def __init__(self) -> None:
        super().__init__()
        self._api = OpenAPI.from_dict(self.document)

    def request_fault(self, request: Request, body: bytes) -> str | None:
        return _fault(lambda: self._api.validate_request(_Described(request, body)))

    def response_fault(self, request: Request, body: bytes, response: Response) -> str | None:
        answer = StarletteOpenAPIResponse(response)
        return _fault(lambda: self._api.validate_response(_Described(request, body), answer))


def _fault(check: Callable[[], None]) -> str | None:
    try:
        check()
    except OpenAPIError as fault:
        return _why(fault)
    return None


def _why(fault: OpenAPIError) -> str:
    cause: BaseException | None = fault
    parts = []
    while cause is not None:
        parts.append(str(cause)[:300])
        errors = getattr(cause, "schema_errors", None)
        parts.extend(f"{list(e.absolute_path)}: {e.message[:200]}" for e in errors or [])
        cause = cause.__cause__
    return " | ".join(parts)
