/** The code panel: marks the lines of each step by what the step is doing, and keeps the active one in sight. */

import { motion, setData } from "./dom.js";
import { hasEnded, stepId } from "./run.js";
import { due, duration, timeLeft } from "./words.js";

// A line that stands for every step whose ID is computed.
const ANY_STEP = "*";
// For so long the reader's own scrolling is respected.
const HANDS_OFF_MS = 4000;

let touched = -Infinity;
let shown = null;

for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"]) {
  document.querySelector(".card.code").addEventListener(kind, () => (touched = performance.now()), { passive: true });
}

/**
 * @param {string} kind
 * @param {import("./run.js").Run} run
 * @param {number} now
 * @param {number} heard  until when the server was heard of: it may not run any more
 */
export function showCode(kind, run, now, heard) {
  const panel = document.querySelector(`.listing[data-kind=${kind}] pre`);
  const places = placesOf([...panel.querySelectorAll("[data-step]")], run);
  for (const line of panel.querySelectorAll("[data-step]")) {
    const step = places.get(line);
    const isLast = places.get(line.nextElementSibling) !== step;
    const replayed = step?.state === "completed" && step.replays.length > 0;
    setData(line, {
      state: step?.state ?? "pending",
      memo: replayed ? "" : null,
      note: step && isLast ? noteOf(step, now, heard) : null,
    });
  }
  const lines = [...places].filter(([, step]) => hasEnded(run) || step.key === run.active).map(([line]) => line);
  follow(panel, lines);
}

/**
 * Return which step each line is of. An ID may stand in several places, of which a run passes one: it is the first
 * one below the step that came before it.
 */
function placesOf(lines, run) {
  const places = new Map();
  let above = -1;
  for (const step of Object.values(run.steps)) {
    const literal = lines.filter((line) => line.dataset.step === stepId(step.key));
    const candidates = literal.length ? literal : lines.filter((line) => line.dataset.step === ANY_STEP);
    const number = (line) => Number(line.dataset.number);
    const first = candidates.find((line) => number(line) > above) ?? candidates[0];
    if (!first) continue;
    // A call that fills several lines.
    for (let line = first, at = number(first); line && number(line) === at; at += 1) {
      places.set(line, step);
      line = candidates.find((other) => number(other) === at + 1);
    }
    above = Math.max(above, number(first));
  }
  return places;
}

/** @param {import("./run.js").Step} step */
function noteOf(step, now, heard) {
  const last = step.attempts.at(-1);
  const wait = step.waits.at(-1);
  switch (step.state) {
    case "running":
      if (now > heard) return `attempt ${step.attempt}, no answer`;
      return `attempt ${step.attempt}${last ? `, ${duration(Math.max(0, now - last.from))}` : ""}`;
    case "lost":
      return "the process died in here";
    case "retrying":
      return `attempt ${step.attempt} failed, again ${due(wait, now)}`;
    case "waiting":
      return wait.until ? `waits, ${timeLeft(wait, now)}` : "waits";
    case "failed":
      return "failed for good";
    case "cancelled":
      return "cancelled here";
    default:
      return step.replays.length ? "on disk, not run again" : last?.to ? duration(last.to - last.from) : "done";
  }
}

/** Bring *lines* to the middle of the panel: those of the active step, in the end those of all steps. */
function follow(panel, lines) {
  const key = lines.map((line) => line.dataset.number).join();
  if (!key || key === shown || performance.now() - touched < HANDS_OFF_MS) return;
  shown = key;
  const places = lines.map((line) => line.offsetTop - panel.offsetTop);
  const middle = (Math.min(...places) + Math.max(...places) + lines[0].offsetHeight) / 2;
  // Where nobody sees the panel move, as on a small screen, it is there at once, and painted as a whole.
  panel.scrollTo({ top: middle - panel.clientHeight / 2, behavior: isInSight(panel) ? motion() : "auto" });
}

function isInSight(panel) {
  const { top, bottom } = panel.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}
