"""The commands that the README and the terminal show, run against a real server under its supervisor."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import httpx
import pytest
from trip_booker.__main__ import WHAT_TO_TRY

from e2e.trip_booker import TripBooker
from testkit.console import commands
from testkit.processes import Process
from testkit.waiting import wait_until

README = (Path(__file__).parents[1] / "README.md").read_text()
DEFAULT_URL = "http://127.0.0.1:3000"

# To the end of the line, or of the last line if lines end with a backslash.
CURL = re.compile(r"^ *(?:\$ )?(curl (?:.*\\\n)*.*)$", re.MULTILINE)


def curls(text: str) -> list[list[str]]:
    """Return the curl commands in *text*, each as the list of its arguments."""
    return [shlex.split(command.replace("\\\n", " ")) for command in CURL.findall(text)]


def curl(demo: TripBooker, part: str) -> httpx.Response:
    """Send the one request of the README that has *part* in its URL or body, to *demo*."""
    [arguments] = [arguments for arguments in curls(README) if any(part in argument for argument in arguments)]
    [url] = [argument.replace(DEFAULT_URL, demo.url) for argument in arguments if argument.startswith(DEFAULT_URL)]
    with httpx.Client(follow_redirects="-L" in arguments, timeout=30) as client:
        if "-d" not in arguments:
            return client.get(url)
        name, value = arguments[arguments.index("-H") + 1].split(": ")
        return client.post(url, content=arguments[arguments.index("-d") + 1], headers={name: value})


def shown(demo: TripBooker, part: str) -> bool:
    """Tell whether the look-up that has *part* in its URL prints what the README shows."""
    [command] = [command for command in commands(README) if part in command.line]
    try:
        return command.prints(curl(demo, part).text)
    except httpx.TransportError:
        return False


def test_readme_and_terminal_show_the_same_commands() -> None:
    """Whoever reads only one of the two misses no command."""
    assert curls(README) == curls(WHAT_TO_TRY.format(url=DEFAULT_URL))


def test_booking_is_answered(demo: TripBooker) -> None:
    """The first command books a trip."""
    response = curl(demo, "BK-1")

    assert (response.status_code, response.json()["success"]) == (200, True)
    assert response.history == []


def test_failing_reservation_is_redirected(demo: TripBooker) -> None:
    """The second command books a trip behind a redirect."""
    response = curl(demo, "BK-2")

    assert (response.status_code, response.json()["success"]) == (200, True)
    assert [redirect.status_code for redirect in response.history][:1] == [303]


def test_declined_card_is_402(demo: TripBooker) -> None:
    """The third command is told that the bank declined the card."""
    response = curl(demo, "BK-3")

    assert response.status_code == 402
    assert "declined" in response.json()["error"]["message"]


def test_crash_in_the_payment_ends_with_one_charge(demo: TripBooker) -> None:
    """The server dies, comes back and finishes by itself; the look-up prints the table in the README."""
    with pytest.raises(httpx.TransportError):
        curl(demo, "BK-4&crash")
    wait_until(lambda: shown(demo, "BK-4/calls"), "the table in the README")

    known = httpx.get(f"{demo.url}/api/bookings/BK-4", timeout=30).json()
    assert known["status"] == "confirmed"
    assert len(known["charges"]) == len(known["reservations"]) == 1
    assert "killed by SIGKILL" in demo.output


def test_package_is_booked_although_the_hotel_fails(demo: TripBooker) -> None:
    """The hotel is asked three times, the others once."""
    response = curl(demo, "PK-1")

    assert (response.status_code, response.json()["success"]) == (200, True)
    assert len(demo.outcomes("PK-1", "hotels", "book")) == 3
    assert demo.outcomes("PK-1", "airline", "book") == demo.outcomes("PK-1", "cars", "book") == ["booked"]


def test_package_without_a_room_is_409(demo: TripBooker) -> None:
    """The answer says that there is no room, and flight and car are cancelled."""
    response = curl(demo, "PK-2")

    assert response.status_code == 409
    assert "no room" in response.json()["error"]["message"]
    assert demo.outcomes("PK-2", "airline", "cancel") == demo.outcomes("PK-2", "cars", "cancel") == ["cancelled"]


def test_order_is_processed_although_the_server_dies(demo: TripBooker) -> None:
    """The look-up prints the table in the README once the user is told."""
    with pytest.raises(httpx.TransportError):
        curl(demo, "/api/orders")
    wait_until(lambda: shown(demo, "ada/calls"), "the table in the README")

    assert httpx.get(f"{demo.url}/api/bookings/ada", timeout=30).json()["status"] == "confirmed"


def test_taken_port_is_said_and_not_tried_again(demo: TripBooker, tmp_path: Path) -> None:
    """A second server on the same port ends at once, with a sentence that helps."""
    folder = tmp_path / "second"
    folder.mkdir()
    second = Process(demo.command, env={"PORT": str(demo.port)}, cwd=folder, log=folder / "log")
    wait_until(lambda: not second.running, "the second server to end")
    second.stop()

    assert f"Port {demo.port} is taken" in second.output
    assert "exited by itself with code 1" in second.output
    assert "Traceback" not in second.output
