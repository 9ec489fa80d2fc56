"""GitHub's own description of its API, held against every request and every answer."""

import json
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["Contract"]

_MISSING = object()


class Contract:
    """What GitHub publishes about its REST API, pruned to the operations of the bot (spec/generate.py)."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = json.loads((Path(__file__).parent / "spec/openapi.json").read_text())

    def request_fault(self, request: Request, body: bytes) -> str | None:
        """Why GitHub's description does not allow this request; here nothing is checked (see `checked`)."""
        return None

    def response_fault(self, request: Request, body: bytes, response: Response) -> str | None:
        """Why GitHub would not answer in this shape."""
        return None

    def fill(self, method: str, template: str, status: int, known: Any, base: str) -> Any:
        """The answer with what the description requires besides what is known: addresses, counts, empty lists."""
        responses = self.document["paths"][template][method.lower()]["responses"]
        answer = self._resolve(responses.get(str(status), {}))
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        return known if schema is None else self._fill(schema, known, base)

    def _resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in node:
            found: Any = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            node = found
        return node

    def _fill(self, schema: dict[str, Any], known: Any, base: str) -> Any:
        schema = self._flat(schema, known)
        if known is None or (known is _MISSING and schema.get("nullable")):
            return None
        if isinstance(known, dict) or (known is _MISSING and _is_object(schema)):
            given = known if isinstance(known, dict) else {}
            properties = schema.get("properties", {})
            wanted = dict.fromkeys([*given, *schema.get("required", [])])
            return {
                name: self._fill(properties.get(name, {}), given.get(name, _MISSING), base)
                if name in properties
                else given.get(name)
                for name in wanted
            }
        if isinstance(known, list):
            return [self._fill(schema.get("items", {}), item, base) for item in known]
        return _default(schema, base) if known is _MISSING else known

    def _flat(self, schema: dict[str, Any], known: Any) -> dict[str, Any]:
        schema = self._resolve(schema)
        for part in schema.get("allOf", []):
            inner = self._flat(part, known)
            schema = {
                **inner,
                **schema,
                "properties": {**inner.get("properties", {}), **schema.get("properties", {})},
                "required": [*inner.get("required", []), *schema.get("required", [])],
            }
        choices = [*schema.get("oneOf", []), *schema.get("anyOf", [])]
        if not choices:
            return schema
        flat = [self._flat(choice, known) for choice in choices]
        wanted = "array" if isinstance(known, list) else "object"
        fitting = [choice for choice in flat if choice.get("type") == wanted] or flat
        # A null beside a choice of schemas is legal only where one of them has it: OpenAPI 3.0 is read strictly.
        nullable = any(choice.get("nullable") for choice in flat)
        schema = {key: value for key, value in schema.items() if key != "nullable"}
        return {**fitting[0], **({"nullable": True} if nullable else {})}


def _is_object(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "object" or "properties" in schema


def _default(schema: dict[str, Any], base: str) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    kind, form = schema.get("type"), schema.get("format")
    if kind == "string":
        texts = {"date-time": "2026-01-01T00:00:00Z", "uri": f"{base}/", "email": "x@example.org"}
        # PyGithub follows and checks addresses, and the description does not always call them so.
        return texts.get(str(form), f"{base}/" if form is None else "")
    return {"integer": 1, "number": 0.0, "boolean": False, "array": [], "object": {}}.get(str(kind))
