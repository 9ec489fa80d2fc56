"""A trial of a model server of the test's own (arm A) against the built-in n-gram arm, and what that server says."""

from collections.abc import Mapping

from tests.codetrial.streaming import Script, sse_stream

__all__ = ["configuration", "says"]


_SERVED = """api = "openai-completions"
url = "{url}/v1"
model = "{model}"
template = "prefix-only"
"""


def configuration(
    url: str,
    *,
    name: str,
    shares: tuple[float, float, float] = (1.0, 0.0, 0.0),
    editor: Mapping[str, float] | None = None,
    store_text: str = "full",
    serves_both: bool = False,
) -> str:
    """A codetrial.toml.

    Args:
        shares: Of A, B and none; by default every episode shows the served arm.
        editor: Keys of `[editor]`.
        serves_both: Arm B is the same server under another name.
    """
    a, b, none = shares
    other = _SERVED.format(url=url, model="two") if serves_both else 'api = "ngram"'
    keys = "\n".join(f"{key} = {value}" for key, value in (editor or {}).items())
    return f"""
[trial]
name = "{name}"
shares = {{ a = {a}, b = {b}, none = {none} }}

[arms.a]
{_SERVED.format(url=url, model="one")}

[arms.b]
{other}

[editor]
{keys}

[store]
store_text = "{store_text}"
"""


def says(text: str) -> Script:
    """The whole answer at once."""
    body = {"choices": [{"text": text, "index": 0, "finish_reason": "stop"}], "usage": {"prompt_tokens": 5}}
    return Script(parts=sse_stream(body, "[DONE]"))
