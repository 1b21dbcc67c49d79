/** The card that says how it stands, and in the end what happened to the money and the seat. */

import { byId, make, setData, setText } from "./dom.js";
import { crashes, cutOff, hasEnded, stepId } from "./run.js";
import { clock, counted, duration } from "./words.js";

/**
 * What is known of a booking.
 * @typedef {object} Booking
 * @property {?string} id
 * @property {?string} url  the wait URL of its run
 * @property {import("./run.js").Run} run
 * @property {import("./world.js").World} world
 * @property {boolean} connected  whether the run's events come in
 * @property {?number} lostAt  since when they do not, after they did
 * @property {boolean} unknown  whether the server has never heard of it
 * @property {?{approved: boolean, is: "sent"|"taken"|"lost"}} decision  what was decided of it here, and what the
 *   server said to that
 * @property {boolean} cancelling  whether its cancellation was asked for here
 * @property {?{method: string, path: string, count: number, answer: ?{status: ?number, redirected: boolean}, lost: boolean}} exchange
 *   the request, if it was sent from here
 */

/** @typedef {{state: string, pill: string, title: string, message: string, countdown?: string, ask?: boolean, receipt?: [string, string][]}} Outcome */

/** @param {Booking} booking @param {number} now */
export function showOutcome(booking, now) {
  const outcome = outcomeOf(booking, now);
  setData(byId("outcome"), { state: outcome.state });
  setData(byId("state"), { state: outcome.state });
  setText(byId("state"), outcome.pill);
  setText(byId("outcome-title"), outcome.title);
  setText(byId("message"), outcome.message);
  byId("countdown").hidden = !outcome.countdown;
  setText(byId("countdown"), outcome.countdown ?? "");
  byId("decision").hidden = !outcome.ask;
  byId("cancel").disabled = !canBeCancelled(booking);
  showReceipt(outcome.receipt ?? (booking.world.calls.length ? moneyAndSeat(booking.world, isCharging(booking.run)) : []));
  setText(byId("exchange"), exchangeOf(booking));
}

/** Whether its run can be cancelled at this moment: it goes on, and its server answers. */
const canBeCancelled = ({ run, url, connected, cancelling }) =>
  url !== null && connected && !cancelling && run.startedAt !== null && !hasEnded(run);

function showReceipt(rows) {
  const receipt = byId("receipt");
  const key = JSON.stringify(rows);
  receipt.hidden = rows.length === 0;
  if (receipt.dataset.key === key) return;
  receipt.dataset.key = key;
  receipt.replaceChildren(...rows.flatMap(([label, text]) => [make("dt", {}, label), make("dd", {}, text)]));
}

/** @param {Booking} booking @param {number} now @returns {Outcome} */
export function outcomeOf(booking, now) {
  const { run, connected, exchange } = booking;
  if (hasEnded(run) && run.result) return endOf(booking);
  if (booking.unknown) return unknown(booking);
  if (!booking.id) return idle();
  if (!connected && (run.startedAt !== null || exchange?.lost)) return lost(run);
  return run.startedAt === null ? accepting() : goingOn(booking, now);
}

const idle = () => ({
  state: "idle",
  pill: "Ready",
  title: "Answer",
  message: "Book a trip, and what comes of it appears here. Then book another one, and kill the server in the middle of it.",
});

const accepting = () => ({ state: "running", pill: "Sent", title: "Sent", message: "The server has the request." });

const unknown = ({ id }) => ({
  state: "failed",
  pill: "Not found",
  title: "No such booking on this page",
  message:
    `No booking ${id} of this kind was made on this page. What was booked by curl is at /api/bookings/${id}. ` +
    "If the server died before it had accepted the request, nothing was begun.",
});

function lost(run) {
  const pid = run.passes.at(-1)?.pid;
  const done = Object.values(run.steps).filter((step) => step.state === "completed").length;
  return {
    state: "lost",
    pill: "Connection lost",
    title: "Connection lost",
    message:
      `${pid ? `Server process ${pid}` : "The server"} does not answer. ` +
      `${done ? `${counted(done, "finished step")} ${done === 1 ? "is" : "are"} on disk. ` : ""}` +
      "When it is back the run goes on, and so does this page.",
  };
}

/** @param {Booking} booking */
function goingOn({ run, decision }, now) {
  const waiting = Object.values(run.steps).find((step) => step.state === "waiting");
  const retrying = Object.values(run.steps).find((step) => step.state === "retrying");
  if (waiting) return waits(waiting, decision, now);
  const resumed = resumption(run);
  if (retrying) {
    return {
      state: "retrying",
      pill: "Retrying",
      title: "A step is tried again",
      message: `${stepId(retrying.key)} failed at attempt ${retrying.attempt}. The request waits behind a redirect; finished steps will not run again.`,
    };
  }
  if (run.status === "lost") {
    return { state: "lost", pill: "Recovering", title: "The server died", message: `Process ${run.passes.at(-1).pid} died in the middle. Another one takes over.` };
  }
  return {
    state: "running",
    pill: resumed ? "Running again" : "Running",
    title: resumed ? "It goes on" : "Working",
    message: resumed || "Each finished step is on disk before the next one begins.",
  };
}

/** @param {import("./run.js").Step} step @param {Booking["decision"]} decision @param {number} now */
function waits(step, decision, now) {
  const { op, from, until } = step.waits.at(-1);
  if (op.startsWith("sleep")) {
    return {
      state: "waiting",
      pill: "Waiting",
      title: "The seat is held",
      countdown: clock(until - now),
      message: "Nothing of this run is in memory. Kill the server, and watch the countdown not care.",
    };
  }
  // Without the time that is left: what is said here is read aloud whenever it changes.
  const most = until ? `, at most ${duration(until - from)},` : "";
  return {
    state: "waiting",
    pill: "Needs approval",
    title: "The trip is over budget",
    message: decision ? decidedOf(decision) : `The seat is held, and the run waits${most} with nothing in memory. What does the boss say?`,
    ask: !decision || decision.is === "lost",
  };
}

function decidedOf({ approved, is }) {
  if (is === "lost") return "The server did not confirm that decision, and the run still waits. What does the boss say?";
  const word = approved ? "Approved" : "Rejected";
  return is === "sent" ? `${word}: telling the server.` : `${word}: the run goes on.`;
}

/** Tell who took over after a crash, and what was not run again. */
function resumption(run) {
  const pass = run.passes.at(-1);
  const dead = run.passes.findLast((other) => other.end === "died");
  if (!dead) return "";
  const kept = run.passes.find((other) => other.epoch > dead.epoch)?.memoized.length ?? 0;
  return `Process ${pass.pid} took over from ${dead.pid}. ${kept ? `${counted(kept, "finished step")} ${kept === 1 ? "was" : "were"} not run again.` : ""}`;
}

/** @param {Booking} booking @returns {Outcome} */
function endOf({ run, world }) {
  const { run_status: ended, status, body } = run.result;
  const receipt = [...moneyAndSeat(world), ...papers(world)];
  const died = crashes(run);
  const survived = died ? `${counted(died, "crash")} survived. ${resumption(run)}` : "";
  if (ended === "cancelled") {
    return { state: "cancelled", pill: "Cancelled", title: "Cancelled", message: leftBehind(run, world), receipt };
  }
  if (ended === "completed" && status < 400) {
    const double = world.charges.length > 1;
    const again = Object.values(run.steps).flatMap((step) => step.attempts).filter(({ end }) => end === "failed").length;
    return {
      state: double ? "failed" : "completed",
      pill: double ? "Charged twice" : "Confirmed",
      title: double ? "Confirmed, and charged twice" : titleOf(body),
      message: double
        ? "The bank took the money, the server died before that was on disk, and the step ran again. Without a key the bank could not know that it was asked before."
        : survived || moved(run) || (again ? `${counted(again, "failed attempt")} tried again by itself. Nothing was done twice.` : calm(run)),
      receipt,
    };
  }
  const error = body?.error ?? {};
  return {
    state: "failed",
    pill: `Not booked (${status})`,
    title: "Not booked",
    message: [sentence(error.message ?? `The server answered ${status}`), survived].filter(Boolean).join("\n"),
    receipt,
  };
}

/** Tell what a cancelled run leaves as it is: the end of a handler takes things back, and this one has none. */
function leftBehind(run, { calls, charges, reservations, bookings }) {
  const still = (word, things) => (things.length ? `Still ${word}: ${things.join(", ")}.` : "");
  const left = [
    still("held", reservations.filter(({ status }) => status === "held").map(() => "seat")),
    still("booked", [
      ...reservations.filter(({ status }) => status === "ticketed").map(() => "seat"),
      ...bookings.filter(({ status }) => status === "booked").map(({ service }) => PARTS[service].toLowerCase()),
    ]),
    still("charged", charges.filter(({ status }) => status === "charged").map(({ amount }) => `$${amount}`)),
  ].filter(Boolean);
  const steps = cutOff(run).map((step) => stepId(step.key));
  return [
    "No further step begins; nothing is taken back.",
    ...(calls.length && !left.length && !steps.length ? ["Nothing is held, booked or charged."] : left),
    steps.length ? `${steps.join(", ")} ${steps.length > 1 ? "were" : "was"} under way, and may come through.` : "",
  ]
    .filter(Boolean)
    .join(" ");
}

/** Tell how a run went in which nothing went wrong. */
function calm(run) {
  const waited = Object.values(run.steps).some(({ waits }) => waits.length);
  if (waited) return "It waited with nothing in memory, and went on where it was.";
  return run.passes.length > 1 ? "The request was cut off, and the run went on where it was." : "Done in one go.";
}

/** Tell of processes that came and went while nothing was in memory. */
function moved(run) {
  const pids = [...new Set(run.passes.map((pass) => pass.pid))];
  return pids.length > 1 ? `Begun by process ${pids[0]}, ended by process ${pids.at(-1)}: in between it was only on disk.` : "";
}

const titleOf = (body) => (body?.heldSeconds === undefined ? "Booking confirmed" : "Held, and given back in time");
const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

/** Whether the bank was asked, and its answer is not on disk: the books, read before that, do not tell either. */
const isCharging = ({ steps }) =>
  Object.values(steps).some(({ key, state }) => stepId(key) === "process-payment" && (state === "running" || state === "lost"));

/** What became of the money and the seat, by the third parties' own books. */
function moneyAndSeat({ charges, reservations, bookings }, charging = false) {
  const rows = [["Money", charging && !charges.length ? "no answer from the bank yet" : moneyOf(charges, bookings)]];
  for (const { flight, status } of reservations) rows.push(["Seat", `${flight.seat} on ${flight.flightNumber}, ${SEATS[status]}`]);
  for (const { service, status, price } of bookings) rows.push([PARTS[service], status === "cancelled" ? "cancelled, nothing to pay" : `booked, $${price}`]);
  return rows;
}

const SEATS = { ticketed: "yours", held: "held", released: "given back" };
const PARTS = { airline: "Flight", hotels: "Hotel", cars: "Car" };

function moneyOf(charges, bookings) {
  if (charges.length === 0) {
    const total = bookings.reduce((sum, { status, price }) => (status === "booked" ? sum + price : sum), 0);
    return total ? `$${total}, not charged yet` : "nothing was charged";
  }
  const [{ amount, card, status }] = charges;
  if (charges.length > 1) return `$${amount} charged ${charges.length === 2 ? "twice" : `${charges.length} times`} to ${card}`;
  return status === "refunded" ? `$${amount} charged and refunded` : `$${amount} charged once to ${card}`;
}

function papers({ confirmation }) {
  if (!confirmation) return [];
  return [
    ["Ticket", `${confirmation.confirmationNumber}, PNR ${confirmation.pnr}`],
    ["E-ticket", confirmation.eTicket],
  ];
}

/** How the request itself went, which is an ordinary one. */
function exchangeOf({ exchange, run }) {
  if (!exchange) return "";
  const { method, path, count, answer, lost } = exchange;
  const sent = `${method} ${path}${count > 1 ? `, sent ${count} times with one Idempotency-Key: one booking` : ""}`;
  if (lost) return `${sent}: the connection broke. The run does not need it.`;
  if (!answer) return `${sent}: waiting for the answer`;
  if (!answer.redirected) return `${sent}: ${answer.status}, in the same response, no redirect`;
  return run.result
    ? `${sent}: ${run.result.status}, by a redirect to the URL that waits`
    : `${sent}: redirected, and waits there for the answer`;
}
