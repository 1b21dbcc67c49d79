"""Which server and keys the environment and the options choose."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from inngest_durable import ConfigurationError
from inngest_durable.engines.inngest.settings import NO_EVENT_KEY, Settings, chooses_inngest, settings_from

KEY = "signkey-prod-" + "ab12cd34" * 8
CLOUD = {"INNGEST_SIGNING_KEY": KEY}


def test_dev_server_is_found_where_it_listens() -> None:
    assert settings_from({"INNGEST_DEV": "1"}) == Settings(
        is_dev=True, api_url="http://127.0.0.1:8288", event_url="http://127.0.0.1:8288", event_key=NO_EVENT_KEY
    )


def test_cloud_is_the_default() -> None:
    assert settings_from(CLOUD) == Settings(
        is_dev=False, api_url="https://api.inngest.com", event_url="https://inn.gs", signing_key=KEY
    )


@pytest.mark.parametrize(
    ("value", "is_dev"), [("1", True), ("TRUE", True), (" true ", True), ("0", False), ("false", False), ("", False)]
)
def test_variable_says_whether_it_is_a_dev_server(value: str, is_dev: bool) -> None:
    assert settings_from({**CLOUD, "INNGEST_DEV": value}).is_dev is is_dev


def test_url_in_the_variable_is_the_dev_server() -> None:
    found = settings_from({"INNGEST_DEV": "http://inngest:8288/"})

    assert (found.is_dev, found.api_url, found.event_url) == (True, "http://inngest:8288", "http://inngest:8288")


def test_option_wins_over_the_variable() -> None:
    assert not settings_from({**CLOUD, "INNGEST_DEV": "http://inngest:8288"}, is_dev=False).is_dev
    assert settings_from({"INNGEST_DEV": "0"}, is_dev=True).is_dev
    # A Dev Server's URL is none of the cloud's.
    assert settings_from({**CLOUD, "INNGEST_DEV": "http://inngest:8288"}, is_dev=False).api_url.endswith("inngest.com")


def test_urls_are_looked_up_from_the_most_special_one() -> None:
    urls = {
        "INNGEST_DEV": "http://dev:1",
        "INNGEST_BASE_URL": "http://base:2/prefix/",
        "INNGEST_API_BASE_URL": "http://api:3",
        "INNGEST_EVENT_API_BASE_URL": "http://event:4",
    }
    both = settings_from(urls)
    assert (both.api_url, both.event_url) == ("http://api:3", "http://event:4")

    both = settings_from(urls, base_url="http://option:5")
    assert (both.api_url, both.event_url) == ("http://option:5", "http://option:5")

    both = settings_from(urls, base_url="http://option:5", event_api_base_url="http://option:6")
    assert (both.api_url, both.event_url) == ("http://option:5", "http://option:6")

    del urls["INNGEST_API_BASE_URL"], urls["INNGEST_EVENT_API_BASE_URL"]
    assert settings_from(urls).api_url == "http://base:2/prefix"
    del urls["INNGEST_BASE_URL"]
    assert settings_from(urls).event_url == "http://dev:1"


def test_other_variables_are_read() -> None:
    environ = {
        **CLOUD,
        "INNGEST_SIGNING_KEY_FALLBACK": "00ff",
        "INNGEST_EVENT_KEY": " key ",
        "INNGEST_ENV": "branch",
        "INNGEST_SERVE_ORIGIN": "https://shop.example/",
    }
    found = settings_from(environ)
    assert (found.signing_keys, found.event_key) == ((KEY, "00ff"), "key")
    assert (found.env, found.serve_origin) == ("branch", "https://shop.example")
    assert settings_from(environ, env="", event_key="mine").env == ""


def test_cloud_without_a_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"set INNGEST_SIGNING_KEY .* or INNGEST_DEV=1"):
        settings_from({})


@pytest.mark.parametrize("name", ["INNGEST_SIGNING_KEY", "INNGEST_SIGNING_KEY_FALLBACK"])
def test_key_that_is_none_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is no signing key") as caught:
        settings_from({**CLOUD, name: "signkey-prod-5ecre7!"})
    assert "5ecre7" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("INNGEST_DEV", "localhost:8288", "is neither 1 or 0 nor the URL of a Dev Server"),
        ("INNGEST_DEV", "ftp://inngest", "is no base URL"),
        ("INNGEST_BASE_URL", "inngest:8288", "is no base URL"),
        ("INNGEST_API_BASE_URL", "http://", "is no base URL"),
        ("INNGEST_API_BASE_URL", "http://[", "is no base URL"),
        ("INNGEST_API_BASE_URL", "http://a:port", "is no base URL"),
        ("INNGEST_EVENT_API_BASE_URL", "http://a?x=1", "is no base URL"),
        ("INNGEST_SERVE_ORIGIN", "https://shop.example/app", "has a path"),
    ],
)
def test_url_that_is_none_is_refused(name: str, value: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}=.*{fault}"):
        settings_from({**CLOUD, name: value})


def test_nobody_sees_the_keys() -> None:
    found = settings_from({**CLOUD, "INNGEST_SIGNING_KEY_FALLBACK": "00ff", "INNGEST_EVENT_KEY": "event-secret"})
    shown = f"{found!r} {found} {dict(found.__rich_repr__())}"

    assert "signing_key=***" in shown
    assert not any(secret in shown for secret in ("ab12cd34", "00ff", "event-secret"))
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize(
    ("environ", "chosen"),
    [
        ({}, False),
        ({"INNGEST_DEV": " "}, False),
        ({"INNGEST_DEV": "0"}, False),
        ({"INNGEST_DEV": "False"}, False),
        ({"INNGEST_DEV": "0", "INNGEST_SIGNING_KEY": "x"}, True),
        ({"INNGEST_DEV": "1"}, True),
        ({"INNGEST_SIGNING_KEY": "x"}, True),
        ({"INNGEST_EVENT_KEY": "x"}, False),
    ],
)
def test_environment_chooses_the_engine(environ: dict[str, Any], chosen: bool) -> None:
    assert chooses_inngest(environ) is chosen
