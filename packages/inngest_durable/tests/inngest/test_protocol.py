"""Bodies and answers as they are on the wire."""

from __future__ import annotations

import base64
import json

import pytest
from inngest_durable import RequestTooLargeError
from inngest_durable.engines.inngest import protocol
from inngest_durable.engines.inngest.ops import discovery
from inngest_durable.engines.inngest.protocol import (
    Created,
    Data,
    Error,
    HttpRequestEvent,
    Input,
    ProtocolError,
    create_body,
    is_run_id,
    unwrap,
)
from msgspec import Raw

RUN = "01M81Q6Z2YEVBT73D06Q0DJ8TF"
EVENT = HttpRequestEvent(domain="http://a:1", path="/p", method="POST", query_params="x=1&y=2%203", body=b"\x00\xff")


def test_run_begins_with_its_request_in_base64() -> None:
    body = json.loads(create_body(RUN, EVENT, [discovery("now")], 20, 1795354229866))

    assert body["event"]["name"] == "inngest/http.request"
    assert body["event"]["data"] == {
        "domain": "http://a:1",
        "path": "/p",
        "method": "POST",
        "query_params": "x=1&y=2%203",
        "content_type": "",
        "ip": "",
        "body": base64.b64encode(b"\x00\xff").decode(),
        "fn": "",
    }
    assert [op["op"] for op in body.pop("steps")] == ["DiscoveryRequest"]
    del body["event"]
    assert body == {"run_id": RUN, "retries": 20, "request_version": 2, "ts": 1795354229866}


def test_request_that_the_server_would_cut_off_is_refused() -> None:
    with pytest.raises(RequestTooLargeError, match=r"has 3,200,000 bytes, .*: the Inngest server takes 4,194,304"):
        create_body(RUN, HttpRequestEvent(body=bytes(3_200_000)), [], 20, 0)
    assert len(create_body(RUN, HttpRequestEvent(body=bytes(3_000_000)), [], 20, 0)) > 4_000_000


def test_checkpoint_on_the_wire() -> None:
    assert json.loads(protocol.checkpoint_body(RUN, "fn", "app", [], 7)) == {
        "run_id": RUN,
        "fn_id": "fn",
        "app_id": "app",
        "steps": [],
        "ts": 7,
    }


def test_answer_to_a_new_run_is_read() -> None:
    answer = b'{"data":{"fn_id":"f","app_id":"a","run_id":"r","token":"t","realtime_token":"x"},"metadata":{}}'
    assert protocol.parse_created(answer) == Created("f", "a", "r", "t")
    assert protocol.parse_created(b'{"data":{"fn_id":"f","app_id":"a","run_id":"r"}}').token == ""


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b'{"data":null}', b'{"data":{"fn_id":1}}', b"\xff"])
def test_answer_of_another_form_is_an_error(answer: bytes) -> None:
    with pytest.raises(ProtocolError, match="the answer about beginning a run is not as expected"):
        protocol.parse_created(answer)


def test_only_a_sole_field_is_a_wrapper() -> None:
    event = Raw(b'{"data":{"id":"1"},"id":"e","name":"app/approved","ts":1}')

    assert unwrap(Raw(b'{"data":{"a":1}}')) == Data(Raw(b'{"a":1}'))
    assert unwrap(Raw(b'{"data":null,"type":"x"}')) == Data(Raw(b"null"))
    assert unwrap(Raw(b'{"error":{"name":"E"}}')) == Error(Raw(b'{"name":"E"}'))
    assert unwrap(Raw(b'{"input":[]}')) == Input(Raw(b"[]"))
    for value in (event, Raw(b"null"), Raw(b"[]"), Raw(b"{}"), Raw(b'{"data":1,"error":2}'), Raw(b'"data"')):
        assert unwrap(value) is value


def test_state_of_a_run_is_read() -> None:
    actions = protocol.parse_actions(b'{"ab":{"data":"b"},"cd":null}\n')
    assert {key: bytes(value) for key, value in actions.items()} == {"ab": b'{"data":"b"}', "cd": b"null"}
    with pytest.raises(ProtocolError):
        protocol.parse_actions(b"null")


def test_request_of_a_run_is_read() -> None:
    # As a server sends it, which writes & in its own way.
    batch = (
        b'[{"data":{"body":"AP8=","content_type":"","domain":"http://a:1","fn":"","ip":"","method":"POST","path":"/p",'
        b'"query_params":"x=1\\u0026y=2%203"},"id":"01M","name":"inngest/http.request","ts":1795354009641}]'
    )
    assert protocol.parse_batch(batch) == EVENT


@pytest.mark.parametrize("batch", [b"[]", b'[{"name":"app/other","data":{}}]', b'[{"name":"inngest/http.request"}]'])
def test_run_that_no_request_began_is_an_error(batch: bytes) -> None:
    with pytest.raises(ProtocolError):
        protocol.parse_batch(batch)


@pytest.mark.parametrize("text", ["", RUN[1:], RUN + "0", RUN.lower(), "8" + RUN[1:], "../" + RUN[3:], RUN[:-1] + "\n"])
def test_other_texts_are_no_run_ids(text: str) -> None:
    assert is_run_id(RUN)
    assert not is_run_id(text)
