/** The form: which trip, and what shall go wrong with it. */

import { byId, setText, showKind } from "./dom.js";
import { request } from "./request.js";

const form = byId("booking");
const steps = byId("trouble-step");
const how = byId("trouble-how");
const crash = byId("crash");
const unkeyed = byId("unkeyed");

// Kinds of trips whose runs wait for a time or a person.
const WAITING = ["hold", "approval"];

/** The chosen radio button, whose data is that of the pattern. */
const chosen = () => form.querySelector("input[name=kind]:checked");

export const kind = () => chosen().value;
export const endpoint = () => chosen().dataset.endpoint;

/** Steps of the chosen pattern, in the order of its rows. */
export const stepIds = () => [...document.querySelectorAll(`.progress[data-kind=${kind()}] li`)].map((row) => row.dataset.step);

/** Show what belongs to the chosen pattern, and have it in trouble as it comes. */
export function showPattern() {
  const { critical, trouble } = chosen().dataset;
  const listing = document.querySelector(`template[data-kind=${kind()}]`);
  listing?.replaceWith(listing.content);
  showKind(".progress[data-kind], .listing[data-kind]", kind());
  for (const look of document.querySelectorAll(".looks p")) look.classList.toggle("chosen", look.dataset.kind === kind());
  const extra = WAITING.includes(kind()) ? kind() : "card";
  for (const field of form.querySelectorAll("[data-for]")) field.hidden = field.dataset.for !== extra;
  for (const option of steps.options) option.hidden = option.disabled = option.dataset.kind !== kind();
  const [step, times] = trouble ? trouble.split(":") : [critical, ""];
  steps.selectedIndex = [...steps.options].findIndex((option) => option.value === step && !option.hidden);
  how.value = times;
  crash.checked = unkeyed.checked = false;
  setText(byId("critical"), critical);
  unkeyed.disabled = !stepIds().includes("process-payment");
  explain();
}

/** Say what will happen. */
export const explain = () => say(reason());

/** Say something about what goes wrong, until something else is chosen. */
export function say(text) {
  setText(byId("why"), text);
}

function reason() {
  if (unkeyed.checked && crash.checked) {
    return "The bank takes the money, the server dies, the step runs again. Without the key the bank cannot know that it was asked before: expect two charges.";
  }
  if (crash.checked) {
    return "SIGKILL at the worst moment: the other side has done its part, and that is not on disk yet. The step runs again, with the same idempotency key.";
  }
  if (unkeyed.checked) return "Harmless, until the server dies during the payment. Switch that on too.";
  switch (how.value) {
    case "":
      return WAITING.includes(kind())
        ? "Nothing goes wrong by itself. While the run waits, the request waits behind a redirect."
        : "Nothing goes wrong by itself: the answer comes in the same response, without a redirect.";
    case "slow":
      return "Five seconds more: time enough to kill the server in the middle of it.";
    case "always":
      return "When there is no hope, the handler takes back what it had done, in steps too.";
    default:
      return "The step is tried again by itself, with a pause. The request is redirected to a URL that waits for the answer.";
  }
}

/** @param {string} bookingId */
export function wanted(bookingId) {
  const { method, path } = chosen().dataset;
  return { ...request({ bookingId, method, path, fields: fields(), switches: switches() }), path };
}

function fields() {
  const { origin, destination, date } = Object.fromEntries(new FormData(form));
  switch (kind()) {
    case "package":
    case "tour":
      return { flightId: `${origin}-${destination}`, hotelId: `plaza-${destination}`, carId: `compact-${destination}` };
    case "approval":
      return { origin, destination, date, decideSeconds: Number(byId("decideSeconds").value) };
    case "hold":
      return { origin, destination, date, holdSeconds: Number(byId("holdSeconds").value) };
    default:
      return { origin, destination, date };
  }
}

function switches() {
  const found = new URLSearchParams();
  if (how.value === "slow") found.append("slow", steps.value);
  else if (how.value) found.append("fail", `${steps.value}:${how.value}`);
  if (crash.checked) found.append("crash", chosen().dataset.critical);
  if (unkeyed.checked && !unkeyed.disabled) found.append("unkeyed", "process-payment");
  return found;
}

/** The address of the page that shows this booking, in any tab; without one, of the form as it is. */
export function address(bookingId) {
  const { origin, destination, date } = Object.fromEntries(new FormData(form));
  return `/?${new URLSearchParams({ kind: kind(), origin, destination, date, ...(bookingId && { booking: bookingId }) })}`;
}

/** While a booking is under way its trip cannot be changed. The tab that sent it can send it again, which changes nothing. */
export function setBusy(busy, isOurs) {
  for (const set of [form.querySelector(".kinds"), byId("fields"), byId("trouble")]) set.disabled = busy;
  const book = byId("book");
  setText(book, busy ? "Send it again" : "Book this trip");
  book.classList.toggle("primary", !busy);
  book.disabled = busy && !isOurs;
}

form.addEventListener("change", (event) => (event.target.name === "kind" ? showPattern() : explain()));
for (const control of [steps, how, crash, unkeyed]) control.addEventListener("change", explain);
