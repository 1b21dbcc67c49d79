/** The page: one booking at a time, shown from its run's events. Everything else here draws, reads or sends. */

import { now } from "./clock.js";
import { showCode } from "./code.js";
import { byId, motion, setText } from "./dom.js";
import * as form from "./form.js";
import { showLog } from "./log.js";
import { showOutcome } from "./outcome.js";
import { showProgress } from "./progress.js";
import { attach, cancel, decide, lookUp, send } from "./request.js";
import { UNKNOWN, cutOff, hasEnded, reduce } from "./run.js";
import { watch } from "./stream.js";
import { layOut, showTimeline } from "./timeline.js";
import { duration } from "./words.js";
import { NOTHING, reader, showWorld } from "./world.js";

// How often times are drawn that pass by themselves.
const TICK_MS = 100;
// Kinds of events before which a third party may have been called.
const CALLED = new Set(["step.completed", "step.retrying", "step.failed", "run.completed", "run.failed", "run.cancelled"]);
// A step in flight goes on after its run was cancelled, and no event tells of it: for so long the books are looked at.
const UNTOLD_SECONDS = 20;
const LOOK_MS = 1000;

/** @type {import("./outcome.js").Booking} */
const NONE = {
  ...{ id: null, url: null, run: UNKNOWN, world: NOTHING, connected: false, lostAt: null, unknown: false },
  ...{ decision: null, cancelling: false, exchange: null },
};

let booking = { ...NONE };
let request = null;
let stop = () => {};
let readWorld = () => {};
let frame = 0;
/** Events that came in since the last frame. */
let arrived = [];

function draw() {
  frame = 0;
  for (const event of arrived.splice(0)) booking.run = reduce(booking.run, event);
  const { run, world } = booking;
  const time = now();
  showOutcome(booking, time);
  showProgress(form.kind(), run, time, booking.lostAt ?? time);
  showCode(form.kind(), run, time, booking.lostAt ?? time);
  showTimeline(run, time, booking.lostAt ?? time);
  showLog(run);
  showWorld(world, booking.lostAt !== null);
  setText(byId("elapsed"), run.startedAt === null ? "0.0 s" : duration(Math.max(0.1, (run.endedAt ?? time) - run.startedAt)));
  form.setBusy(isUnderWay(), booking.exchange !== null);
}

const isUnderWay = () => booking.id !== null && !booking.unknown && !(hasEnded(booking.run) && booking.run.result);

/** Draw with the next frame, however many events come in until then. */
function redraw() {
  frame ||= requestAnimationFrame(draw);
}

function open(id) {
  stop();
  booking = { ...NONE, id };
  arrived = [];
  setText(byId("reference"), id ?? "none yet");
  layOut(form.stepIds());
  const mine = booking;
  readWorld = id
    ? reader(id, (world) => {
        mine.world = world;
        redraw();
      })
    : () => {};
  redraw();
}

function follow(url) {
  booking.url = url;
  stop = watch(url, {
    event(event) {
      arrived.push(event);
      if (CALLED.has(event.kind)) readWorld();
      redraw();
    },
    connection(connected) {
      booking.connected = connected;
      booking.lostAt = connected ? null : (booking.lostAt ?? now());
      redraw();
    },
  });
}

async function sendAgainOrFirst() {
  const mine = booking;
  const exchange = (mine.exchange ??= { method: request.method, path: request.path, count: 0, answer: null, lost: false });
  exchange.count += 1;
  const isFirst = exchange.count === 1;
  const answered = send(request);
  answered.then(
    (answer) => {
      // Of several answers that of the first request tells how it went.
      if (isFirst) exchange.answer = answer;
      redraw();
    },
    () => {
      exchange.lost = true;
      redraw();
    },
  );
  if (!isFirst) return;
  const url = await attach(request, answered);
  if (mine !== booking) return;
  if (url) follow(url);
  else booking.unknown = true;
  redraw();
}

function book() {
  if (!isUnderWay()) {
    const id = document.body.dataset.newBooking;
    document.body.dataset.newBooking = newReference();
    open(id);
    request = form.wanted(id);
    form.explain();
    history.pushState(null, "", form.address(id));
    // On a small screen: the way to break it, and what comes of it.
    if (byId("outcome").getBoundingClientRect().bottom > innerHeight) byId("kill").scrollIntoView({ behavior: motion() });
  }
  if (request) sendAgainOrFirst();
  redraw();
}

async function show(id) {
  open(id);
  const mine = booking;
  const url = await lookUp(form.endpoint(), id);
  if (mine !== booking) return;
  if (url) follow(url);
  else booking.unknown = true;
  redraw();
}

function newReference() {
  const bytes = crypto.getRandomValues(new Uint8Array(4));
  return `BK-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

byId("booking").addEventListener("submit", (event) => {
  event.preventDefault();
  book();
});
byId("booking").addEventListener("change", ({ target }) => {
  if (target.name !== "kind") return;
  // Its address shows no booking any more; the way back does.
  if (booking.id) history.pushState(null, "", form.address());
  open(null);
});
byId("kill").addEventListener("click", () => {
  // The server dies before it answers.
  fetch("/api/server/kill", { method: "POST" }).catch(() => {});
  if (!isUnderWay()) form.say("Killed, while nothing was under way. Book a trip, and kill it in the middle.");
});
byId("decision").addEventListener("click", async ({ target }) => {
  if (target.dataset.approved === undefined) return;
  const mine = booking;
  const approved = target.dataset.approved === "true";
  mine.decision = { approved, is: "sent" };
  // The buttons go away, and the focus with them.
  byId("outcome").focus();
  redraw();
  mine.decision = { approved, is: (await decide(mine.id, approved)) ? "taken" : "lost" };
  redraw();
});
byId("cancel").addEventListener("click", async () => {
  const mine = booking;
  mine.cancelling = true;
  byId("outcome").focus();
  redraw();
  // The event says that it is cancelled. Without an answer the button comes back with the connection.
  mine.cancelling = await cancel(mine.url);
});
addEventListener("popstate", () => location.reload());
setInterval(() => booking.run.startedAt !== null && !hasEnded(booking.run) && redraw(), TICK_MS);
setInterval(() => {
  const { status, endedAt } = booking.run;
  if (status === "cancelled" && cutOff(booking.run).length && now() - endedAt < UNTOLD_SECONDS) readWorld();
}, LOOK_MS);

form.showPattern();
if (document.body.dataset.booking) show(document.body.dataset.booking);
else open(null);
