"""Which Inngest server to use, and by which keys: from the environment and from options. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from ...errors import ConfigurationError
from .signing import is_key

# What a Dev Server takes as an event key: any text.
NO_EVENT_KEY = "NO_EVENT_KEY_SET"

_DEV_URL = "http://127.0.0.1:8288"
_CLOUD_API_URL = "https://api.inngest.com"
_CLOUD_EVENT_URL = "https://inn.gs"
_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))


class Settings(Struct, frozen=True, kw_only=True):
    """
    How to reach an Inngest server.

    Attributes:
        is_dev: Whether it is a Dev Server: it signs nothing, and its requests are not checked.
        api_url, event_url: Base URLs of the API and of the event API, without a slash at the end.
        signing_key: Signs and authenticates; empty only for a Dev Server.
        signing_key_fallback: The other key while *signing_key* is being replaced, or empty.
        event_key: Authenticates events; empty if there is none, and then none can be sent.
        env: Branch environment, or empty.
        serve_origin: Where the server reaches this application (``https://host``); empty for where clients do.
    """

    is_dev: bool
    api_url: str
    event_url: str
    signing_key: str = ""
    signing_key_fallback: str = ""
    event_key: str = ""
    env: str = ""
    serve_origin: str = ""

    @property
    def signing_keys(self) -> tuple[str, ...]:
        """The signing keys in the order in which to try them."""
        return tuple(key for key in (self.signing_key, self.signing_key_fallback) if key)

    def __repr__(self) -> str:
        """Show which keys there are, but not the keys."""
        given = ", ".join(f"{name}={_shown(name, getattr(self, name))}" for name in self.__struct_fields__)
        return f"{type(self).__qualname__}({given})"

    __str__ = __repr__

    def __rich_repr__(self) -> Any:
        """Hide the keys from those who print values in another way, too."""
        for name in self.__struct_fields__:
            yield name, "***" if name in _SECRETS and getattr(self, name) else getattr(self, name)


_SECRETS = frozenset(("signing_key", "signing_key_fallback", "event_key"))


def chooses_inngest(environ: Mapping[str, str]) -> bool:
    """Return whether the environment asks for an Inngest server in place of the embedded engine."""
    dev, key = (environ.get(name, "").strip() for name in ("INNGEST_DEV", "INNGEST_SIGNING_KEY"))
    return bool(key) or (bool(dev) and dev.lower() not in _FALSE)


def settings_from(
    environ: Mapping[str, str],
    *,
    is_dev: bool | None = None,
    base_url: str | None = None,
    api_base_url: str | None = None,
    event_api_base_url: str | None = None,
    signing_key: str | None = None,
    signing_key_fallback: str | None = None,
    event_key: str | None = None,
    env: str | None = None,
    serve_origin: str | None = None,
) -> Settings:
    """
    Return the settings; an option wins over its variable.

    Args:
        environ: The environment. Empty variables count as unset.
        is_dev: Whether the server is a Dev Server; by default ``INNGEST_DEV`` says so, by 1 or by the server's URL.
        base_url: Base URL of both APIs; by default ``INNGEST_BASE_URL``.
        api_base_url: Base URL of the API; by default ``INNGEST_API_BASE_URL``.
        event_api_base_url: Base URL of the event API; by default ``INNGEST_EVENT_API_BASE_URL``.
        signing_key: By default ``INNGEST_SIGNING_KEY``; needed unless the server is a Dev Server.
        signing_key_fallback: By default ``INNGEST_SIGNING_KEY_FALLBACK``.
        event_key: By default ``INNGEST_EVENT_KEY``.
        env: By default ``INNGEST_ENV``.
        serve_origin: By default ``INNGEST_SERVE_ORIGIN``.

    Raises:
        ConfigurationError: The signing key is missing or invalid, or a URL is invalid. The text never shows a key.
    """
    variables = _Variables(environ)
    dev_flag, dev_url = variables.dev()
    dev = dev_flag if is_dev is None else is_dev

    def url(option: tuple[str, str | None], variable: str, cloud_url: str) -> str:
        named = [
            option,
            ("base_url", base_url),
            (variable, variables[variable]),
            ("INNGEST_BASE_URL", variables["INNGEST_BASE_URL"]),
            ("INNGEST_DEV", dev_url if dev else ""),
        ]
        name, value = next(((name, value) for name, value in named if value), ("", _DEV_URL if dev else cloud_url))
        return _url(name, value)

    key = variables.or_option("INNGEST_SIGNING_KEY", signing_key)
    if not key and not dev:
        raise ConfigurationError(
            "the Inngest engine needs a signing key, unless it talks to a Dev Server: set INNGEST_SIGNING_KEY to the "
            "key of your environment, or INNGEST_DEV=1 (or to the Dev Server's URL) on your own machine"
        )
    fallback = variables.or_option("INNGEST_SIGNING_KEY_FALLBACK", signing_key_fallback)
    origin = variables.or_option("INNGEST_SERVE_ORIGIN", serve_origin)
    return Settings(
        is_dev=dev,
        api_url=url(("api_base_url", api_base_url), "INNGEST_API_BASE_URL", _CLOUD_API_URL),
        event_url=url(("event_api_base_url", event_api_base_url), "INNGEST_EVENT_API_BASE_URL", _CLOUD_EVENT_URL),
        signing_key=_key("INNGEST_SIGNING_KEY", key),
        signing_key_fallback=_key("INNGEST_SIGNING_KEY_FALLBACK", fallback),
        event_key=variables.or_option("INNGEST_EVENT_KEY", event_key) or (NO_EVENT_KEY if dev else ""),
        env=variables.or_option("INNGEST_ENV", env),
        serve_origin=_origin(origin) if origin else "",
    )


class _Variables:
    """The environment, where an empty variable counts as unset."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def or_option(self, name: str, option: str | None) -> str:
        return self[name] if option is None else option.strip()

    def dev(self) -> tuple[bool, str]:
        """Return whether ``INNGEST_DEV`` asks for a Dev Server, and its URL if it is one."""
        value = self["INNGEST_DEV"]
        if value.lower() in _TRUE:
            return True, ""
        if not value or value.lower() in _FALSE:
            return False, ""
        if "://" not in value:
            raise ConfigurationError(
                f"INNGEST_DEV={value!r} is neither 1 or 0 nor the URL of a Dev Server, such as {_DEV_URL}"
            )
        return True, value


def _url(name: str, value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise ConfigurationError(f"{name}={value!r} is no base URL: it looks like {_DEV_URL} or {_CLOUD_API_URL}")
    return value.rstrip("/")


def _origin(value: str) -> str:
    url = _url("INNGEST_SERVE_ORIGIN", value)
    if urlsplit(url).path:
        raise ConfigurationError(f"INNGEST_SERVE_ORIGIN={value!r} has a path: give scheme, host and port only")
    return url


def _key(name: str, key: str) -> str:
    if key and not is_key(key):
        raise ConfigurationError(
            f"{name} is no signing key: behind a prefix such as signkey-prod- it has to be hexadecimal, with an even "
            "number of digits; copy it again from the server's settings"
        )
    return key


def _shown(name: str, value: object) -> str:
    return "***" if name in _SECRETS and value else repr(value)
