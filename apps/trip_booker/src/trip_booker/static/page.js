// The booking form: sends the request, shows the answer, and after a lost connection asks the third parties' books.

import { money, rows, showCalls, showRaw, showState, showTicket } from "./show.js";

const POLL_MS = 1000;
const GIVE_UP_MS = 120_000;

const form = document.getElementById("booking");
const submit = form.querySelector("button[type=submit]");
const askAgain = document.getElementById("ask-again");

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (submit.getAttribute("aria-disabled") === "true") return;
  await whileBusy(() => book(requestUrl()));
  // The next booking is another one.
  form.elements.bookingId.value = newBookingId();
});

askAgain.addEventListener("click", () => whileBusy(() => pollUntilKnown(askAgain.dataset.bookingId)));

async function whileBusy(work) {
  submit.setAttribute("aria-disabled", "true");
  askAgain.hidden = true;
  try {
    await work();
  } finally {
    submit.removeAttribute("aria-disabled");
  }
}

function requestUrl() {
  const url = new URL(form.action);
  for (const [name, value] of new FormData(form)) {
    if (value !== "") url.searchParams.append(name, value);
  }
  return url;
}

function newBookingId() {
  const bytes = crypto.getRandomValues(new Uint8Array(4));
  return "BK-" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function book(url) {
  const bookingId = url.searchParams.get("bookingId");
  const request = `curl -L '${url}'`;
  showTicket(null);
  showCalls([]);
  showRaw(request);
  showState("working", "Booking", `Booking ${bookingId}: the server is working on it. If a step fails, it is retried.`);
  document.getElementById("outcome").focus();

  let response;
  let body;
  try {
    response = await fetch(url);
    body = await response.json();
  } catch {
    await recover(bookingId);
    return;
  }
  showRaw(`${request}\n\n${response.status}\n${JSON.stringify(body, null, 2)}`);
  showAnswer(response, body);
  showCalls((await lookUp(bookingId))?.calls ?? []);
}

function showAnswer(response, body) {
  const redirected = response.redirected
    ? "\nA step had to be retried, so the answer came by a redirect to the URL that waits for it."
    : "";
  if (body.success) {
    showState("confirmed", "Booking confirmed", `Booking ${body.bookingId} is confirmed.${redirected}`);
    showTicket(rows(body.reservation, body.payment, body.confirmation));
  } else {
    const what = body.error?.message ?? "The server gave no reason.";
    showState("failed", "Not booked", `${what} (HTTP ${response.status})${redirected}`);
  }
}

// The connection broke: the server was killed, or the network failed. The request must not be sent again, for that
// would be a second booking; and it need not be, for its run goes on by itself when the server is back.
async function recover(bookingId) {
  showState(
    "lost",
    "Connection lost",
    `The server died while it worked on booking ${bookingId}. Nothing is lost: the finished steps are on disk, and ` +
      "the booking goes on by itself when the server is back, with or without this page.\n" +
      `This page asks GET /api/bookings/${bookingId} what the airline and the payment provider know.`,
  );
  await pollUntilKnown(bookingId);
}

async function pollUntilKnown(bookingId) {
  const deadline = Date.now() + GIVE_UP_MS;
  while (Date.now() < deadline) {
    const known = await lookUp(bookingId);
    if (known) {
      showCalls(known.calls);
      if (showKnown(known)) return;
    }
    await pause(POLL_MS);
  }
  showState(
    "lost",
    "Still not known",
    `Booking ${bookingId} has not finished. Is the server running again? If no seat was asked for, the server may ` +
      "have died before it had accepted the request; then nothing was begun, and you can book again.",
  );
  askAgain.dataset.bookingId = bookingId;
  askAgain.hidden = false;
}

// Returns null while the server cannot be reached: it is being restarted.
async function lookUp(bookingId) {
  try {
    const response = await fetch(`/api/bookings/${encodeURIComponent(bookingId)}`);
    return await response.json();
  } catch {
    return null;
  }
}

// Returns whether the booking has ended.
function showKnown(known) {
  const { bookingId, status, reservations, charges, confirmation } = known;
  if (status === "confirmed") {
    const seat = reservations.find((held) => held.status === "ticketed");
    const payment = charges.find((charge) => charge.paymentId === confirmation.paymentId);
    const total = money(charges.reduce((sum, charge) => sum + charge.amount, 0));
    const times = charges.length === 1 ? "once" : `${charges.length} times`;
    showState(
      "confirmed",
      "Booking confirmed",
      `The server died and came back, and booking ${bookingId} finished by itself. ` +
        `The card was charged ${times}, ${total} in all.`,
    );
    showTicket(rows(seat, payment, confirmation));
    return true;
  }
  if (status === "cancelled") {
    const problem = known.calls.findLast((call) => call.result === null);
    const refunded = charges.some((charge) => charge.status === "refunded");
    showState(
      "failed",
      "Not booked",
      `The server came back and ended booking ${bookingId} without a ticket (${problem?.outcome ?? "no reason given"}). ` +
        (refunded ? "The charge was refunded and the seat given back." : "The seat was given back; nothing was charged."),
    );
    return true;
  }
  return false;
}
