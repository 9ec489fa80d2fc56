"""Who the bot is at GitHub: a token from the environment, or a GitHub App with a fresh token per installation."""

import os
from pathlib import Path

from github import Auth
from github.InstallationAuthorization import InstallationAuthorization

from codetrial.errors import ConfigError
from pr_bot.github import DEFAULT_URL, Api

__all__ = ["Identity", "webhook_secret"]

PERMISSIONS = {"contents": "read", "pull_requests": "write", "checks": "write", "issues": "write", "metadata": "read"}
"""Nothing else: resolving threads would need contents:write, and the bot must not touch what it observes anyway."""

MIN_SECRET_CHARS = 16


class _OneRepository(Auth.AppInstallationAuth):
    """A token for one repository: what a job works on, and nothing else of the installation.

    PyGithub asks for tokens of the whole installation only.
    """

    def __init__(self, app: Auth.AppAuth, installation: int, repository: str) -> None:
        super().__init__(app, installation, PERMISSIONS)
        self._repository = repository

    def _get_installation_authorization(self) -> InstallationAuthorization:
        path = f"/app/installations/{self.installation_id}/access_tokens"
        wanted = {"permissions": PERMISSIONS, "repositories": [self._repository.partition("/")[2]]}
        headers, data = self.requester.requestJsonAndCheck("POST", path, input=wanted)
        return InstallationAuthorization(self.requester, headers, data)


class Identity:
    """Gives a client for a repository, each made once; for a plain token always the same one.

    Raises:
        ConfigError: the environment names neither a token nor an App.
    """

    def __init__(self, *, pace_s: float = 1.0) -> None:
        self._url = os.environ.get("GITHUB_API_URL") or DEFAULT_URL
        self._pace_s = pace_s
        self._apis: dict[tuple[int | None, str] | None, Api] = {}
        app, key_file = os.environ.get("CODETRIAL_APP_ID"), os.environ.get("CODETRIAL_APP_KEY_FILE")
        self._app: Auth.AppAuth | None = None
        if app:
            if not key_file:
                raise ConfigError("CODETRIAL_APP_ID needs CODETRIAL_APP_KEY_FILE, the path of the App's private key.")
            try:
                # Sixty seconds back: GitHub refuses a token that its own clock thinks is from the future.
                self._app = Auth.AppAuth(app, Path(key_file).read_text(), jwt_issued_at=-60)
            except OSError as fault:
                raise ConfigError(f"Cannot read CODETRIAL_APP_KEY_FILE {key_file}: {fault.strerror}.") from fault
        self._token = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN")
        if self._app is None and not self._token:
            raise ConfigError(
                "No identity for GitHub: set GITHUB_TOKEN, or CODETRIAL_APP_ID and CODETRIAL_APP_KEY_FILE."
            )

    def api(self, installation: int | None = None, repository: str = "") -> Api:
        """The client for a repository of an installation of the App; without an App, for the token.

        Raises:
            ConfigError: an App was asked without saying which installation.
        """
        key = (installation, repository) if self._app is not None else None
        if key not in self._apis:
            self._apis[key] = Api(self._auth(installation, repository), url=self._url, pace_s=self._pace_s)
        return self._apis[key]

    def _auth(self, installation: int | None, repository: str) -> Auth.Auth:
        if self._app is None:
            return Auth.Token(self._token or "")
        if installation is None:
            raise ConfigError(
                "No installation of the App is named: is the App installed on this repository? "
                "The command line works with GITHUB_TOKEN instead."
            )
        return _OneRepository(self._app, installation, repository)

    def close(self) -> None:
        for api in self._apis.values():
            api.close()


def webhook_secret() -> bytes:
    """The secret that GitHub signs deliveries with.

    Raises:
        ConfigError: there is none, or it could be guessed; the server does not start without.
    """
    secret = os.environ.get("CODETRIAL_WEBHOOK_SECRET", "")
    if len(secret) < MIN_SECRET_CHARS:
        raise ConfigError(
            f"Set CODETRIAL_WEBHOOK_SECRET to the webhook's secret, at least {MIN_SECRET_CHARS} characters: "
            "anybody could send work to this server otherwise."
        )
    return secret.encode()
