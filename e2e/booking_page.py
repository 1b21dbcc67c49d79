"""The booking form in a browser, as a person uses it."""

from __future__ import annotations

from playwright.sync_api import Page


class BookingPage:
    """The page at ``/`` as a person uses it: by its form."""

    def __init__(self, page: Page) -> None:
        self._page = page
        page.goto("/")
        self.booking_id = page.locator("input[name=bookingId]").input_value()
        self.outcome = page.locator("#outcome")
        self.message = page.get_by_role("status")

    def fail(self, step_id: str, choice: str) -> None:
        """Choose how a step shall fail, by the words on the page."""
        self._page.locator(f"#fail-{step_id}").select_option(label=choice)

    def crash(self, step_id: str) -> None:
        """Have the server killed in a step."""
        self._page.locator(f"#crash-{step_id}").check()

    def submit(self) -> None:
        """Fill in the trip and book it."""
        self._page.get_by_label("From").select_option("NYC")
        self._page.get_by_label("To", exact=True).select_option("LAX")
        self._page.get_by_label("Date").fill("2026-12-24")
        self._page.get_by_role("button", name="Book this trip").click()
