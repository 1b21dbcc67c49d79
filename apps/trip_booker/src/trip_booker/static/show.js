// Writes into the answer panel. Text is only ever set as text, never parsed as HTML.

const outcome = document.getElementById("outcome");
const title = document.getElementById("outcome-title");
const message = document.getElementById("message");
const ticket = document.getElementById("ticket");
const calls = document.getElementById("calls");
const raw = document.getElementById("raw");

export const money = (amount) => `$${amount}`;

export function showState(state, heading, text) {
  outcome.dataset.state = state;
  title.textContent = heading;
  message.textContent = text;
}

// What a traveller wants to know of a booking, as [label, value] pairs.
export function rows(reservation, payment, confirmation) {
  const { flight } = reservation;
  return [
    ["Confirmation", confirmation.confirmationNumber],
    ["PNR", reservation.pnr],
    ["Flight", `${flight.flightNumber}, ${flight.origin} to ${flight.destination}`],
    ["Day", `${flight.date}, ${flight.departs} to ${flight.arrives}`],
    ["Seat", flight.seat],
    ["Paid", `${money(payment.amount)} with ${payment.card}`],
    ["E-ticket", confirmation.eTicket],
  ];
}

export function showTicket(pairs) {
  ticket.hidden = !pairs;
  ticket.replaceChildren(
    ...(pairs ?? []).flatMap(([label, value]) => [withText("dt", label), withText("dd", value)]),
  );
}

export function showCalls(entries) {
  calls.hidden = entries.length === 0;
  calls.querySelector("tbody").replaceChildren(
    ...entries.map((call) => {
      const row = document.createElement("tr");
      const time = new Date(call.time).toLocaleTimeString([], { hourCycle: "h23" });
      const cells = [time, call.service, call.action, call.outcome, String(call.pid)];
      row.append(...cells.map((text) => withText("td", text)));
      return row;
    }),
  );
}

export function showRaw(text) {
  raw.hidden = false;
  raw.querySelector("pre").textContent = text;
}

function withText(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}
