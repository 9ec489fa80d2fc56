"""Prune GitHub's own specifications to what the bot uses.

    npm install @octokit/openapi@23 @octokit/graphql-schema@15   # anywhere
    python tests/fakehub/spec/generate.py path/to/node_modules

Both packages are MIT licensed, Copyright (c) GitHub and Octokit contributors; see LICENSE beside this file.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from graphql import (
    GraphQLObjectType,
    build_schema,
    parse,
    print_ast,
)
from graphql.language import (
    EnumTypeDefinitionNode,
    FieldDefinitionNode,
    InputObjectTypeDefinitionNode,
    InterfaceTypeDefinitionNode,
    ObjectTypeDefinitionNode,
    ScalarTypeDefinitionNode,
)

HERE = Path(__file__).parent

REPO = "/repos/{owner}/{repo}"
OPERATIONS = {
    "/app": "get",
    "/app/hook/deliveries": "get",
    "/app/hook/deliveries/{delivery_id}/attempts": "post",
    "/app/installations/{installation_id}/access_tokens": "post",
    "/rate_limit": "get",
    "/user": "get",
    REPO: "get",
    f"{REPO}/installation": "get",
    f"{REPO}/pulls": "get",
    f"{REPO}/pulls/{{pull_number}}": "get",
    f"{REPO}/pulls/{{pull_number}}/commits": "get",
    f"{REPO}/pulls/{{pull_number}}/files": "get",
    f"{REPO}/pulls/{{pull_number}}/comments": "get post",
    f"{REPO}/pulls/{{pull_number}}/comments/{{comment_id}}/replies": "post",
    f"{REPO}/pulls/{{pull_number}}/reviews": "get post",
    f"{REPO}/pulls/{{pull_number}}/reviews/{{review_id}}": "get delete",
    f"{REPO}/pulls/{{pull_number}}/reviews/{{review_id}}/comments": "get",
    f"{REPO}/pulls/comments/{{comment_id}}": "get",
    f"{REPO}/pulls/comments/{{comment_id}}/reactions": "get post",
    f"{REPO}/compare/{{basehead}}": "get",
    f"{REPO}/contents/{{path}}": "get",
    f"{REPO}/collaborators/{{username}}/permission": "get",
    f"{REPO}/issues/{{issue_number}}/comments": "get post",
    f"{REPO}/issues/comments/{{comment_id}}/reactions": "post",
    f"{REPO}/check-runs": "post",
    f"{REPO}/check-runs/{{check_run_id}}": "get patch",
    f"{REPO}/commits/{{ref}}/check-runs": "get",
}

GRAPHQL_TYPES = {
    "Query", "Repository", "PullRequest", "PullRequestReviewThread", "PullRequestReviewThreadConnection",
    "PullRequestReviewComment", "PullRequestReviewCommentConnection", "PageInfo", "Actor", "User", "Bot",
    "ReactionGroup", "Reaction", "ReactionConnection", "RateLimit", "Commit", "PullRequestCommit",
    "PullRequestCommitConnection", "PullRequestReview", "PullRequestReviewConnection",
}  # fmt: skip
"""Kept whole, but for fields whose types are not in this list: a misspelt field is refused as GitHub refuses it."""

PROSE = {"description", "summary", "examples", "example", "externalDocs", "x-github", "tags", "title", "deprecated"}


def main(modules: Path) -> None:
    document = json.loads((modules / "@octokit/openapi/generated/api.github.com.json").read_text())
    (HERE / "openapi.json").write_text(
        json.dumps(prune_openapi(document), separators=(",", ":"), sort_keys=True) + "\n"
    )
    sdl = (modules / "@octokit/graphql-schema/schema.graphql").read_text()
    (HERE / "schema.graphql").write_text(prune_graphql(sdl))


def prune_openapi(document: dict[str, Any]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for path, methods in OPERATIONS.items():
        source = document["paths"][path]
        paths[path] = {method: source[method] for method in methods.split()}
        if "parameters" in source:
            paths[path]["parameters"] = source["parameters"]
    pruned: dict[str, Any] = {
        "openapi": document["openapi"],
        "info": {
            **{key: document["info"][key] for key in ("title", "version")},
            "license": document["info"]["license"],
        },
        "servers": [{"url": "/"}],
        "paths": without_prose(paths),
        "components": {},
    }
    wanted = references(pruned["paths"])
    done: set[str] = set()
    while wanted - done:
        reference = min(wanted - done)
        done.add(reference)
        _, _, kind, name = reference.split("/", 3)
        part = without_prose(document["components"][kind][name])
        if kind == "responses":
            part.setdefault("description", "")
        pruned["components"].setdefault(kind, {})[name] = part
        wanted |= references(part)
    return pruned


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values())) if node else own
    if isinstance(node, list):
        return set().union(*(references(value) for value in node))
    return set()


def without_prose(node: Any, *, is_names: bool = False) -> Any:
    """The same without what explains it, and with null in the enumerations that are nullable.

    OpenAPI 3.0 forbids a null that the enumeration does not list, and GitHub's own answers hold such nulls.
    """
    if isinstance(node, list):
        return [without_prose(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: without_prose(value, is_names=key in ("properties", "schemas", "paths", "responses", "headers"))
        for key, value in node.items()
        if is_names or key not in PROSE
    }
    if not is_names and isinstance(node.get("responses"), dict):
        for response in kept["responses"].values():
            if "$ref" not in response:
                response.setdefault("description", "")  # The one piece of prose that OpenAPI demands.
    if kept.get("nullable") and isinstance(kept.get("enum"), list) and None not in kept["enum"]:
        kept["enum"] = [*kept["enum"], None]
    return kept


def prune_graphql(sdl: str) -> str:
    document = parse(sdl)
    # Some releases of the package define a field twice, which the pruned schema no longer does.
    schema = build_schema(sdl, assume_valid_sdl=True)
    scalars = {d.name.value for d in document.definitions if isinstance(d, ScalarTypeDefinitionNode)}
    enums = {d.name.value for d in document.definitions if isinstance(d, EnumTypeDefinitionNode)}
    inputs = {d.name.value for d in document.definitions if isinstance(d, InputObjectTypeDefinitionNode)}
    builtin = {"String", "Int", "Float", "Boolean", "ID"}
    plain = builtin | scalars | enums
    usable_inputs = {
        name
        for name in inputs
        if all(base(f.type) in plain for f in schema.type_map[name].fields.values())  # type: ignore[attr-defined]
    }
    kept_types = GRAPHQL_TYPES | plain
    definitions: list[Any] = []
    for definition in document.definitions:
        if not isinstance(definition, ObjectTypeDefinitionNode | InterfaceTypeDefinitionNode):
            continue
        if definition.name.value not in GRAPHQL_TYPES:
            continue
        fields = tuple(
            bare(field, arguments=tuple(bare(argument) for argument in field.arguments or ()))
            for field in definition.fields or ()
            if named(field) in kept_types and all(named(a) in plain | usable_inputs for a in field.arguments or ())
        )
        interfaces = tuple(i for i in definition.interfaces or () if i.name.value in GRAPHQL_TYPES)
        definitions.append(bare(definition, fields=fields, interfaces=interfaces))
    used = {named(field) for d in definitions for field in d.fields}
    used |= {named(argument) for d in definitions for field in d.fields for argument in field.arguments or ()}
    for name in list(used & usable_inputs):
        used |= {base(f.type) for f in schema.type_map[name].fields.values()}  # type: ignore[attr-defined]
    for definition in document.definitions:
        if isinstance(definition, EnumTypeDefinitionNode) and definition.name.value in used:
            definitions.append(bare(definition, values=tuple(bare(value) for value in definition.values or ())))
        elif isinstance(definition, InputObjectTypeDefinitionNode) and definition.name.value in used:
            definitions.append(bare(definition, fields=tuple(bare(field) for field in definition.fields or ())))
        elif isinstance(definition, ScalarTypeDefinitionNode) and definition.name.value in used:
            definitions.append(bare(definition))
    text = "\n\n".join(print_ast(definition) for definition in definitions) + "\n"
    assert isinstance(build_schema(text).query_type, GraphQLObjectType)
    return text


def bare(node: Any, **changes: Any) -> Any:
    """The node without its description and directives."""
    return dataclasses.replace(node, description=None, directives=(), **changes)


def named(node: FieldDefinitionNode | Any) -> str:
    kind: Any = node.type
    while hasattr(kind, "type"):
        kind = kind.type
    return str(kind.name.value)


def base(kind: Any) -> str:
    while hasattr(kind, "of_type"):
        kind = kind.of_type
    return str(kind.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
