"""`codetrial arms check`: a wrong configuration is found before a trial, and a trial does not start on garbage."""

import asyncio
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from codetrial.arms import Prompt, build, local
from codetrial.arms.check import PROBES, Report, check, recorded
from codetrial.arms.tables import print_reports
from codetrial.config import Config, load
from codetrial.errors import ArmError
from codetrial.records import ArmLabel, AttemptStatus
from codetrial.routing import Router
from tests.codetrial.streaming import Received, Script, StreamingServer, sse, sse_stream

ANSWERS = {
    "expression": "x * x",
    "argument": "2",
    "member": "exists",
    "names": "len(values)",
    "inside a token": "ds",
    "suffix: value": "turquoise",
    "suffix: name": "multiply",
}
ONLY_SUFFIX = [probe.name for probe in PROBES if probe.needs_suffix]


def config_for(server: StreamingServer, **arms: dict[str, Any]) -> Config:
    def arm(label: str) -> dict[str, Any]:
        base = {"api": "openai-completions", "url": f"{server.url}/{label}", "model": "m", "template": "qwen2.5-coder"}
        return {**base, "max_tokens": 8, "timeout_s": 5.0, **arms.get(label, {})}

    return load(Path("/nowhere"), overrides={"arms": {"a": arm("a"), "b": arm("b")}})


def model(
    answer: Callable[[str], str], *, honours_stops: bool = True, streams: bool = True, usage: bool = True
) -> Callable[[Received], Script]:
    """A server that answers each probe by its name, and everything else with some code."""

    def script(request: Received) -> Script:
        prompt = request.body["prompt"]
        name = next((p.name for p in PROBES if p.prefix + "<|fim_suffix|>" in prompt), "")
        text = answer(name) if name else "value = load(path)\nreturn value"
        if honours_stops:
            for stop in request.body.get("stop", []):
                text = text.partition(stop)[0]
        pieces = [text[i : i + 3] for i in range(0, len(text), 3)] or [""]
        parts: list[bytes | float] = []
        for piece in pieces:
            parts += [sse({"model": "m", "choices": [{"text": piece}]}), 0.004]
        last: dict[str, Any] = {"model": "m", "choices": [{"text": "", "finish_reason": "stop"}]}
        if usage:
            last["usage"] = {"prompt_tokens": len(prompt) // 4, "completion_tokens": 5}
        parts.append(sse(last))
        # What does not stream arrives at once: one write, one read.
        return Script(parts if streams else [b"".join(part for part in parts if isinstance(part, bytes))])

    return script


async def reports(server: StreamingServer, **arms: dict[str, Any]) -> tuple[Report, Report]:
    first, second = await check(config_for(server, **arms))
    return first, second


async def test_a_working_arm_is_usable_and_measured(server: StreamingServer) -> None:
    server.script = model(ANSWERS.__getitem__)
    report, _ = await reports(server)
    assert report.verdict.is_usable
    assert (report.right, report.asked, report.suffix_right, report.suffix_asked) == (5, 5, 2, 2)
    assert report.problems == ()
    assert report.alone is not None
    assert report.together is not None
    assert report.alone.first_token_ms is not None
    assert report.alone.tokens_per_s is not None
    assert report.usd_per_1000 is None


@pytest.mark.parametrize(
    ("server_settings", "said"),
    [
        ({"answer": lambda name: "" if name in ONLY_SUFFIX else ANSWERS[name]}, "cursor seems to be ignored"),
        ({"answer": ANSWERS.__getitem__, "honours_stops": False}, "ignores stop sequences"),
        ({"answer": ANSWERS.__getitem__, "streams": False}, "does not stream"),
        ({"answer": ANSWERS.__getitem__, "usage": False}, "reports no token usage"),
    ],
)
async def test_a_flaw_that_leaves_an_arm_usable_is_named(
    server: StreamingServer, server_settings: dict[str, Any], said: str
) -> None:
    server.script = model(**server_settings)
    if said == "ignores stop sequences":
        # The probe for stops has no suffix and is answered as some code: give it something to stop at.
        server.script = model(lambda name: ANSWERS[name], honours_stops=False)
        plain = server.script

        def with_bracket(request: Received) -> Script:
            if "print(add(3, 4" in request.body["prompt"]:
                return Script(sse_stream({"choices": [{"text": ")\nprint()", "finish_reason": "length"}]}))
            return plain(request)

        server.script = with_bracket
    report, _ = await reports(server)
    assert report.verdict.is_usable
    assert any(said in problem for problem in report.problems), report.problems


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda name: "Sure! Here is the code you asked for", "None of its answers"),
        (lambda name: ANSWERS[name] + "<|fim_middle|>"[:7], "template's own tokens"),
        (lambda name: "", "answered every probe with nothing"),
    ],
)
async def test_garbage_is_not_usable_and_a_trial_does_not_start_on_it(
    server: StreamingServer, answer: Callable[[str], str], said: str
) -> None:
    server.script = model(answer, honours_stops=False)
    report, _ = await reports(server)
    assert not report.verdict.is_usable
    assert said in report.problems[0]
    config = config_for(server)
    arms = {label: build(config.arms[label], label) for label in ArmLabel}
    with pytest.raises(ArmError, match="The last check of arm A"):
        Router(arms, config)
    forced = load(
        Path("/nowhere"),
        overrides={
            "arms": {"a": {**vars_of(config, "a")}, "b": {**vars_of(config, "b")}},
            "trial": {"force": True},
        },
    )
    Router(arms, forced)
    for arm in arms.values():
        await arm.aclose()


def router_for(config: Config, said: list[str]) -> Router:
    return Router({label: build(config.arms[label], label) for label in ArmLabel}, config, on_notice=said.append)


async def looked() -> None:
    """Wait until the router has nothing left to do behind the answers."""
    while tasks := [t for t in asyncio.all_tasks() if t.get_name().startswith(("prepare arm", "account", "look at"))]:
        await asyncio.wait(tasks, timeout=10)


ANYTHING = Prompt(prefix="x = ", suffix="", path="a.py", language="python")


async def test_an_unchecked_arm_is_looked_at_once_behind_the_editor(server: StreamingServer) -> None:
    server.script = model(ANSWERS.__getitem__)
    said: list[str] = []
    for _ in range(2):
        async with router_for(config_for(server), said) as router:
            router.prepare()
            answers = await router.start(ANYTHING).settled()
            await looked()
        assert {answer.status for answer in answers.values()} == {AttemptStatus.OK}
    assert said == []
    probes = [r for r in server.requests if any(p.prefix + "<|fim_suffix|>" in r.body["prompt"] for p in PROBES)]
    assert len(probes) == 2  # One each: the first was answered right, and the second start knows it.


async def test_garbage_at_first_look_stops_both_arms_and_the_next_start(server: StreamingServer) -> None:
    good, garbage = model(ANSWERS.__getitem__), model(lambda name: "Sure! Here is your code")
    server.script = lambda request: (good if request.path.startswith("/a/") else garbage)(request)
    said: list[str] = []
    config = config_for(server)
    async with router_for(config, said) as router:
        router.prepare()
        await looked()
        answers = await router.start(ANYTHING).settled()
    assert {(a.status, a.error_kind) for a in answers.values()} == {(AttemptStatus.REFUSED, "garbage_arm")}
    assert len(said) == 1
    assert "one of the two arms cannot be used" in said[0]
    assert "arm B" not in said[0]
    with pytest.raises(ArmError, match="The last check of arm B"):
        router_for(config, said)


async def test_an_arm_that_was_down_is_looked_at_when_it_answers(server: StreamingServer) -> None:
    server.script = Script([b"{}"], 503, {})
    async with router_for(config_for(server), []) as router:
        router.prepare()
        await router.start(ANYTHING).settled()
        await looked()
        assert not any(recorded(router._definitions[label]) for label in ArmLabel)
        server.script = model(ANSWERS.__getitem__)
        await router.start(ANYTHING).settled()
        await looked()
        assert all(recorded(router._definitions[label]) for label in ArmLabel)


async def test_leaving_ends_a_look_under_way(server: StreamingServer) -> None:
    server.script = Script([sse({"choices": [{"text": "x"}]})], ending="hang")
    async with asyncio.timeout(3), router_for(config_for(server), []) as router:
        router.prepare()
        await server.client_served.wait()


@pytest.mark.parametrize(
    "overrides",
    [{"trial": {"force": True}}, {"arms": {label: {"template": "prefix-only"} for label in ("a", "b")}}],
)
async def test_no_look_where_it_is_forced_or_nothing_can_be_wrong(
    server: StreamingServer, overrides: dict[str, Any]
) -> None:
    server.script = Script(sse_stream({"choices": [{"text": "x", "finish_reason": "stop"}]}))
    config = config_for(server, **overrides.get("arms", {}))
    config = replace(config, trial=replace(config.trial, **overrides.get("trial", {})))
    async with router_for(config, []) as router:
        router.prepare()
        await router.start(ANYTHING).settled()
    assert len(server.requests) == 2


def vars_of(config: Config, label: str) -> dict[str, Any]:
    arm = config.arms.a if label == "a" else config.arms.b
    return {"api": arm.api.value, "url": arm.url, "model": arm.model, "template": arm.template, "max_tokens": 8}


async def test_a_server_that_interrupts_answers_is_found_out(server: StreamingServer) -> None:
    whole = model(ANSWERS.__getitem__)

    def script(request: Received) -> Script:
        if server.open_streams:  # As llama-cpp-python's server does to the older of two, here to the newer.
            return Script(sse_stream({"choices": [{"text": "half"}]}, "[DONE]"))
        return whole(request)

    server.script = script
    report, _ = await reports(server)
    assert report.verdict.is_usable
    assert [problem for problem in report.problems if "interrupts an answer" in problem]


async def test_one_dead_arm_does_not_keep_the_other_from_being_checked(server: StreamingServer) -> None:
    server.script = model(ANSWERS.__getitem__)
    dead, alive = await reports(server, a={"url": "http://127.0.0.1:9"})
    assert recorded(dead.definition) is None  # It may be up tomorrow.
    assert recorded(alive.definition) == alive.verdict
    assert not dead.verdict.is_usable
    assert "Cannot reach http://127.0.0.1:9" in dead.problems[0]
    assert alive.verdict.is_usable
    assert alive.together is None


async def test_a_missing_key_is_the_verdict(server: StreamingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    server.script = model(ANSWERS.__getitem__)
    keyless, _ = await reports(server, a={"key_env": "NO_SUCH_KEY"})
    assert "NO_SUCH_KEY is not set" in keyless.verdict.reason


async def test_the_table_fits_a_terminal_and_names_the_mend(server: StreamingServer) -> None:
    server.script = model(lambda name: "" if name in ONLY_SUFFIX else ANSWERS[name])
    console = Console(width=80, record=True, file=io.StringIO())
    print_reports(await reports(server), console=console)
    text = console.export_text()
    assert "usable" in text
    assert "use a fill-in-the-middle template" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


# With real models:


@pytest.fixture
def real_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = os.environ.get("CODETRIAL_TEST_CACHE_DIR")
    if folder:
        monkeypatch.setenv("CODETRIAL_CACHE_DIR", folder)
    for name in ("smollm2", "gemma3-270m"):
        local.fetch(name)
    yield
    for name in ("smollm2", "gemma3-270m"):
        local.stop(name)


def local_pair(**settings: Any) -> Config:
    def arm(name: str) -> dict[str, Any]:
        base = {"api": "openai-completions", "url": f"local:{name}", "model": name, "template": "prefix-only"}
        return {**base, "max_tokens": 16, "timeout_s": 60.0, **settings}

    return load(Path("/nowhere"), overrides={"arms": {"a": arm("smollm2"), "b": arm("gemma3-270m")}})


@pytest.mark.model
@pytest.mark.timeout(300)
async def test_two_real_models_are_usable_as_they_should_be_used(real_models: None) -> None:
    for report in await check(local_pair()):
        assert report.verdict.is_usable, report
        assert report.right >= 1
        assert report.alone is not None
        assert (report.alone.tokens_per_s or 0) > 1


@pytest.mark.model
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "settings",
    [
        {"template": "qwen2.5-coder"},
        {"api": "llamacpp-infill", "template": None},
    ],
)
async def test_two_real_models_are_refused_as_what_they_are_not(real_models: None, settings: dict[str, Any]) -> None:
    config = local_pair(**{key: value for key, value in settings.items() if value is not None})
    for report in await check(config):
        assert not report.verdict.is_usable, report


@pytest.mark.model
@pytest.mark.timeout(300)
async def test_a_base_model_behind_a_chat_endpoint_answers_junk_with_200_and_is_found_out(real_models: None) -> None:
    overrides = {
        "arms": {
            "a": {"api": "ngram"},
            "b": {"api": "openai-chat", "url": "local:gemma3-270m", "model": "gemma3-270m", "max_tokens": 12},
        }
    }
    _, report = await check(load(Path("/nowhere"), overrides=overrides))
    assert not report.verdict.is_usable, report
