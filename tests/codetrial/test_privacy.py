"""Privacy rules: they fail closed, hold for both arms, and never repeat what they hide."""

from typing import Any

import keyring
import pytest
from keyring.backend import KeyringBackend

from codetrial.arms import Prompt, Snippet, define
from codetrial.config import ArmConfig, ArmRules, PrivacyConfig
from codetrial.errors import PrivacyError
from codetrial.keys import find_key
from codetrial.privacy import SECRET_MASK, Policy, scrub
from codetrial.records import Api, ArmLabel
from codetrial.redact import MASK, redact

LOCAL = ArmConfig(api=Api.NGRAM)


def hosted(url: str = "https://api.example.com", **settings: Any) -> ArmConfig:
    return ArmConfig(api=Api.OPENAI_CHAT, url=url, model="m", **settings)


def policy(first: ArmConfig = LOCAL, second: ArmConfig = LOCAL, **settings: Any) -> Policy:
    definitions = {label: define(arm, label) for label, arm in zip(ArmLabel, (first, second), strict=True)}
    return Policy(PrivacyConfig(**settings), definitions)


def code(prefix: str, **settings: Any) -> Prompt:
    return Prompt(**({"prefix": prefix, "suffix": "", "path": "a.py", "language": "python"} | settings))


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080", True),
        ("http://[::1]:8080", True),
        ("http://10.1.2.3", True),
        ("http://192.168.0.7:1234", True),
        ("local:smollm2", True),
        ("https://llm.corp.example", True),
        ("https://deep.llm.corp.example", False),
        ("https://gpu.lab.example", True),
        ("http://8.8.8.8", False),
        ("http://203.0.113.9", True),
        ("https://api.openai.com", False),
        ("http://localhost.evil.example", False),
        ("http://0.0.0.0:80", False),
    ],
)
def test_self_hosted_only_judges_the_address_and_the_allow_list(url: str, allowed: bool) -> None:
    settings = {"self_hosted_only": True, "allow_hosts": ("llm.corp.example", "*.lab.example", "203.0.113.0/24")}
    # What the arm says of itself does not count: only the address does.
    arm = hosted(url, self_hosted=True)
    if allowed:
        policy(LOCAL, arm, **settings)
    else:
        with pytest.raises(PrivacyError, match="arm B"):
            policy(LOCAL, arm, **settings)


@pytest.mark.parametrize(
    ("settings", "prompt", "why"),
    [
        ({"exclude_paths": ("secret/",)}, {"path": "secret/a.py"}, "path rule"),
        ({"exclude_paths": ("*.gen.py", "!keep.gen.py")}, {"path": "x/y.gen.py"}, "path rule"),
        ({"exclude_paths": ("x",)}, {"path": "/tmp/elsewhere.py"}, "not known to lie"),
        ({"exclude_paths": ("x",)}, {"path": "../up.py"}, "not known to lie"),
        ({"exclude_paths": ("x",)}, {"path": ""}, "not known to lie"),
        ({}, {"path": "deploy/.env"}, "path rule"),
        ({"exclude_paths": ("!.env",)}, {"path": ".env"}, "path rule"),
        ({"exclude_languages": ("SQL",)}, {"language": "sql"}, "language sql"),
        ({"exclude_repositories": ("corp/*",)}, {"repository": "Corp/billing"}, "repository is excluded"),
        ({"exclude_repositories": ("corp/*",)}, {"repository": None}, "not known"),
        ({"b": ArmRules(exclude_languages=("python",))}, {}, "language python"),
    ],
)
def test_a_rule_refuses_with_a_reason(settings: dict[str, Any], prompt: dict[str, Any], why: str) -> None:
    refused = policy(**settings).admit(code("x", **prompt))
    assert isinstance(refused, str)
    assert why in refused


@pytest.mark.parametrize(
    ("settings", "prompt"),
    [
        ({"exclude_paths": ("secret/",)}, {"path": "src/a.py"}),
        ({"exclude_paths": ("*.gen.py", "!keep.gen.py")}, {"path": "keep.gen.py"}),
        ({"exclude_repositories": ("corp/*",)}, {"repository": "me/mine"}),
        ({}, {"path": "/outside/of/any/repository.py"}),
        ({}, {"path": ".env.example"}),
    ],
)
def test_what_no_rule_names_is_admitted(settings: dict[str, Any], prompt: dict[str, Any]) -> None:
    assert isinstance(policy(**settings).admit(code("x", **prompt)), Prompt)


def test_snippets_of_excluded_files_are_left_out() -> None:
    snippets = (Snippet(path="secret/k.py", text="K"), Snippet(path="ok.py", text="O"))
    admitted = policy(exclude_paths=("secret/",)).admit(code("x", snippets=snippets))
    assert isinstance(admitted, Prompt)
    assert [snippet.path for snippet in admitted.snippets] == ["ok.py"]


SECRETS = {
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "github": "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "slack": "xoxb-" + "123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx",
    "stripe": "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "jwt": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "entropy": "c2VjcmV0" + "X3Rva2VuXzk4NzY1NDMyMTBhYmNkZWZnaGlqa2w",
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_masked_and_the_code_around_it_kept(name: str) -> None:
    secret = SECRETS[name]
    masked, count = scrub(code(f'before = 1\nclient = connect("{secret}", retries=3)\nafter = ', suffix=f"# {name}"))
    assert count >= 1
    assert secret not in masked.prefix
    assert masked.prefix.startswith("before = 1\nclient = connect(")
    assert masked.prefix.endswith("retries=3)\nafter = ")
    assert SECRET_MASK in masked.prefix


def test_a_password_assignment_and_a_url_password_are_masked() -> None:
    masked, count = scrub(code('password = "hunter2hunter2"\nurl = "postgres://me:s3cretpw@db/x"\n'))
    assert count == 2
    assert "hunter2" not in masked.prefix
    assert "s3cretpw" not in masked.prefix


def test_a_private_key_is_masked_whole_and_keeps_its_lines() -> None:
    key = "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEpAIBAAKCAQEA75\nabcdef\n-----END RSA PRIVATE KEY-----"
    masked, _ = scrub(code(f"k = '''{key}'''\nx = "))
    assert "MIIE" not in masked.prefix
    assert masked.prefix.count("\n") == f"k = '''{key}'''\nx = ".count("\n")


ORDINARY = [
    "def load(path: Path, *, encoding: str = 'utf-8') -> dict[str, Any]:",
    'version = "1.2.3"',
    "https://example.com/a/b?c=d",
    "hash = hashlib.sha256(data).hexdigest()[:32]",
    'address = "192.168.1.20"',
    "for key, value in sorted(items.items()):",
    'raise ConfigError(f"There is no template {name!r}.")',
]


@pytest.mark.parametrize("line", ORDINARY)
def test_ordinary_code_is_left_as_it_is(line: str) -> None:
    assert scrub(code(line)) == (code(line), 0)


def test_nothing_is_scrubbed_when_nothing_leaves_the_machine() -> None:
    prompt = code(f'k = "{SECRETS["aws"]}"')
    assert policy(LOCAL, hosted("http://127.0.0.1:8080")).admit(prompt) == prompt
    assert policy(LOCAL, hosted("http://192.168.0.9:8080")).admit(prompt) != prompt
    assert policy(LOCAL, hosted(), scrub_secrets=False).admit(prompt) == prompt


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdef123456",
        "https://h/v1?key=abcdef123456&x=1",
        "https://user:abcdef123456@host/",
        "Incorrect API key provided: sk-proj-abcdef123456",
        '{"api_key": "abcdef123456"}',
        "x-goog-api-key: abcdef123456",
    ],
)
def test_keys_are_masked_in_messages(text: str) -> None:
    assert "abcdef123456" not in redact(text)
    assert MASK in redact(text)


def test_the_value_of_a_named_key_is_masked_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "plainvalue")
    assert redact("it said plainvalue", key_envs=("MY_KEY",)) == f"it said {MASK}"


def test_a_key_may_lie_in_the_keyring_and_is_masked_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ring(KeyringBackend):
        priority = 1  # A property of the class in the base.

        def get_password(self, service: str, username: str) -> str | None:
            return "ringvalue" if (service, username) == ("codetrial", "RING_KEY") else None

        def set_password(self, service: str, username: str, password: str) -> None:
            raise AssertionError("never written")

    before = keyring.get_keyring()
    keyring.set_keyring(Ring())  # type: ignore[no-untyped-call]
    try:
        monkeypatch.delenv("RING_KEY", raising=False)
        assert find_key("RING_KEY") == "ringvalue"
        assert redact("it said ringvalue", key_envs=("RING_KEY",)) == f"it said {MASK}"
        monkeypatch.setenv("RING_KEY", "from-environment")
        assert find_key("RING_KEY") == "from-environment"
        assert find_key("NO_SUCH_KEY") is None
    finally:
        keyring.set_keyring(before)


def test_a_message_stays_a_sentence() -> None:
    assert len(redact("x " * 5000)) <= 400
    assert "\n" not in redact("a\nb")
