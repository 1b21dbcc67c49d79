from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trip_booker.world import Call, Reply, World

CHARGE = Call("payments", "charge", "BK-1", "key-1")


def outcomes(world: World, booking_id: str = "BK-1") -> list[str]:
    return [entry.outcome for entry in world.calls(booking_id)]


def test_answer_is_recorded_with_everything_that_was_asked(world: World) -> None:
    """A call becomes a row that names whom, what, for which booking, and how it ended."""
    reply = world.answer(CHARGE, "charged", {"amount": 100})

    [entry] = world.calls("BK-1")
    assert reply == Reply({"amount": 100}, first=True)
    assert (entry.service, entry.action, entry.booking_id) == ("payments", "charge", "BK-1")
    assert (entry.idempotency_key, entry.outcome, entry.result) == ("key-1", "charged", {"amount": 100})
    assert entry.time.endswith("+00:00")


def test_repeated_key_gets_the_first_answer_and_does_nothing(world: World) -> None:
    """The second call with a key is told what the first one was, and is recorded as a repetition."""
    world.answer(CHARGE, "charged", {"paymentId": "first"})
    again = world.answer(CHARGE, "charged", {"paymentId": "second"})

    assert again == Reply({"paymentId": "first"}, first=False)
    assert outcomes(world) == ["charged", "replayed"]


def test_key_of_another_action_is_another_key(world: World) -> None:
    """Keys are told apart by service and action."""
    world.answer(CHARGE, "charged", {})
    world.answer(Call("payments", "refund", "BK-1", "key-1"), "refunded", {})

    assert outcomes(world) == ["charged", "refunded"]


def test_calls_without_a_key_are_never_repetitions(world: World) -> None:
    """A third party that is given no key does everything as often as it is asked."""
    search = Call("airline", "search", "BK-1")
    first = world.answer(search, "found", {})
    second = world.answer(search, "found", {})

    assert (first.first, second.first) == (True, False)
    assert outcomes(world) == ["found", "found"]


def test_refusals_stop_after_the_given_number(world: World) -> None:
    """A call that shall fail twice fails twice, counted in the file and not in this process."""
    refused = [World(world.path).refuse(CHARGE, "GATEWAY_TIMEOUT", 2) for _ in range(4)]

    assert refused == [True, True, False, False]
    assert outcomes(world) == ["GATEWAY_TIMEOUT", "GATEWAY_TIMEOUT"]


def test_refusals_are_counted_per_booking(world: World) -> None:
    """One booking's failures do not use up another one's."""
    world.refuse(CHARGE, "GATEWAY_TIMEOUT", 1)

    assert world.refuse(Call("payments", "charge", "BK-2", "key-2"), "GATEWAY_TIMEOUT", 1)


def test_refused_key_is_not_used_up(world: World) -> None:
    """A failed call leaves its key free: the next one is done for the first time."""
    world.refuse(CHARGE, "GATEWAY_TIMEOUT", 1)

    assert world.answer(CHARGE, "charged", {}).first


def test_concurrent_calls_with_one_key_do_it_once(world: World) -> None:
    """Callers that come at the same moment, over connections of their own, get one charge between them."""
    with ThreadPoolExecutor(16) as threads:
        replies = list(threads.map(lambda n: world.answer(CHARGE, "charged", {"paymentId": n}), range(16)))

    assert sum(reply.first for reply in replies) == 1
    assert len({reply.result["paymentId"] for reply in replies}) == 1
    assert sorted(outcomes(world)) == ["charged", *["replayed"] * 15]


def test_calls_of_an_unheard_booking_are_none(tmp_path: Path) -> None:
    """A world whose file does not exist yet is empty, and its folder is made."""
    assert World(tmp_path / "new" / "world.db").calls("BK-1") == []
