"""The page of the Trip Booker in a browser, as a person uses and reads it."""

from __future__ import annotations

import re

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, expect

# What the browser's console says when a server dies, and of an answer that is no 200.
DROPPED_CONNECTION = re.compile(
    r"net::ERR_(EMPTY_RESPONSE|CONNECTION_(RESET|REFUSED|CLOSED|ABORTED)|SOCKET_NOT_CONNECTED"
    r"|INCOMPLETE_CHUNKED_ENCODING|NETWORK_CHANGED)"
)
REFUSED_BOOKING = re.compile(r"the server responded with a status of (402|409|410)")
UNKNOWN_BOOKING = re.compile(r"the server responded with a status of 404 .*/_inngest/runs\?")
# The page names its icon. Of an answer that is no page, the browser asks for one by itself.
ICON_OF_JSON = re.compile(r"the server responded with a status of 404 .*/favicon\.ico")

EXPECTED = (DROPPED_CONNECTION, REFUSED_BOOKING, UNKNOWN_BOOKING, ICON_OF_JSON)

WHEN_SHOWN = """([selector, script]) => {
    const act = new Function(script);
    const look = () => (document.querySelector(selector) ? act() : requestAnimationFrame(look));
    look();
}"""


def note_console_errors(context: BrowserContext, errors: list[str]) -> None:
    """Add to *errors* what the consoles of all pages of *context* show as one, uncaught exceptions included."""

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(f"{message.text} ({message.location['url']})")

    context.on("console", note)
    context.on("weberror", lambda error: errors.append(str(error.error)))


def is_expected(console_error: str) -> bool:
    """Tell whether a browser says so of a server that died, or of an answer that is no 200, and of nothing else."""
    return any(known.search(console_error) for known in EXPECTED)


class BookingPage:
    """
    The page at ``/``.

    Args:
        page: A browser's page.
        address: Where to go: with a booking in it, that booking is shown.
    """

    def __init__(self, page: Page, address: str = "/") -> None:
        self._page = page
        page.goto(address)
        self.outcome = page.locator("#outcome")
        self.title = page.locator("#outcome-title")
        self.message = page.locator("#message")
        self.receipt = page.locator("#receipt")
        self.exchange = page.locator("#exchange")
        self.log = page.get_by_role("list", name="Execution log")
        self.charges = page.locator("#charges")
        self.kill = page.get_by_role("button", name="Kill the server now")
        self.why = page.locator("#why")
        self.approve = page.get_by_role("button", name="Approve")
        self.reject = page.get_by_role("button", name="Reject")
        self.cancel = page.get_by_role("button", name="Cancel this run")

    @property
    def booking_id(self) -> str:
        """The booking's reference, as the head of the page shows it."""
        return self._page.locator("#reference").inner_text()

    def choose(self, title: str) -> None:
        """Choose what to book by its name."""
        self._page.get_by_role("radio", name=title).check(force=True)

    def break_step(self, step_id: str, how: str) -> None:
        """Choose how a step shall go wrong, by the words on the page."""
        self._page.get_by_label("This step").select_option(label=step_id)
        self._page.get_by_label("does this").select_option(label=how)

    def switch_on(self, label: str) -> None:
        """Turn a switch on."""
        self._page.get_by_role("checkbox", name=label).check()

    def book(self, *, clicks: int = 1) -> None:
        """Fill in the trip and book it."""
        self._page.get_by_label("From", exact=True).select_option("NYC")
        self._page.get_by_label("To", exact=True).select_option("LAX")
        self._page.get_by_label("Date").fill("2026-12-24")
        self._page.get_by_role("button", name="Book this trip").click(click_count=clicks)

    def row(self, step_id: str) -> Locator:
        """Return the row of a step."""
        return self._page.locator(f".progress:visible [data-step={step_id}]")

    def lines(self, step_id: str) -> Locator:
        """Return the lines of code that call a step."""
        return self._page.locator(f".listing:visible [data-step={step_id}]")

    def bars(self, kind: str) -> Locator:
        """Return what the timeline shows of one kind: ``completed``, ``failed``, ``down``, ``memo`` and so on."""
        return self._page.locator(f"#timeline .item[data-is={kind}]")

    def expect_state(self, state: str) -> None:
        """Wait until the outcome is in a state: ``running``, ``retrying``, ``waiting``, ``lost``, or how it ended."""
        expect(self.outcome).to_have_attribute("data-state", state)

    def expect_rows(self, state: str, *step_ids: str) -> None:
        """Wait until the rows of some steps are in a state."""
        for step_id in step_ids:
            expect(self.row(step_id)).to_have_attribute("data-state", state)

    def as_soon_as_it_runs(self, step_id: str, script: str) -> None:
        """
        Let the page run *script* in the first frame that shows a step running.

        On a busy machine the step may have ended before anybody outside the page could act.
        """
        running = f".progress:not([hidden]) [data-step={step_id}][data-state=running]"
        self._page.evaluate(WHEN_SHOWN, [running, script])

    def picture(self) -> dict[str, object]:
        """Return all that the page shows of a run: what another tab must show too."""
        rows = self._page.locator(".progress:visible li")
        items = self._page.locator("#timeline .item")
        return {
            "outcome": [self.title.inner_text(), self.message.inner_text(), self.receipt.inner_text()],
            "rows": rows.evaluate_all("rows => rows.map(row => [row.dataset.state, row.innerText])"),
            "code": self._page.locator(".listing:visible [data-step]").evaluate_all(
                "lines => lines.map(line => [line.dataset.state, line.dataset.note])"
            ),
            "timeline": items.evaluate_all(
                "items => items.map(item => [item.dataset.is, item.title, item.style.translate])"
            ),
            "log": self.log.inner_text(),
            "calls": self._page.locator("#calls").inner_text(),
        }
