/** What the page says of run events, in lines of the log. Pure. */

/**
 * Return the line of the log for *event*; null for an event that needs none.
 * @param {import("./run.js").RunEvent} event
 * @param {import("./run.js").Run} run  as it was before
 * @returns {?{tone: "good"|"warn"|"bad"|"memo"|"soft"|"plain", text: string}}
 */
export function describe(event, run) {
  const describer = LINES[event.kind];
  return describer ? describer(event, run) : null;
}

/** @param {number} count @param {string} word */
export const counted = (count, word) => `${count} ${word}${count === 1 ? "" : word.endsWith("s") ? "es" : "s"}`;

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 0.0995) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** Time left as a clock shows it: `0:14`, `23:59:03`. Zero only when the time has come. */
export function clock(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** How much is left of a wait with an end: `0:14 left`. It may be over, and nobody there to notice. */
export const timeLeft = ({ until }, now) => (until > now ? `${clock(until - now)} left` : "its time is over");

/** When a wait is over, as its end of a sentence: `in 0.8 s`, `now`. */
export const due = ({ until }, now) => (until - now > 0.05 ? `in ${duration(until - now)}` : "now");

/** What a step waits for, by the kind of step. */
export const waitsFor = (op) => (op === "sleep" ? "sleeps" : "waits for an event");

const list = (keys) => keys.join(", ");
const line = (tone, text) => ({ tone, text });
const ended = (word) => (event) => `${event.step} ${word}${event.attempt > 1 ? ` at attempt ${event.attempt}` : ""}`;

const LINES = {
  "run.started": ({ method, path }) => line("plain", `Run accepted: ${method} ${path}`),
  "run.reentered": ({ pid, memoized }) =>
    memoized.length
      ? line("memo", `Process ${pid} goes on. Not run again, taken from disk: ${list(memoized)}`)
      : line("memo", `Process ${pid} goes on. No step had finished`),
  "run.interrupted": ({ why, until, at }) =>
    line("soft", until > at + 0.05 ? `Out of memory until it goes on in ${duration(until - at)}: ${why}` : `Pass interrupted: ${why}`),
  "run.retrying": ({ error }) => line("warn", `The handler failed and is tried again: ${error.message}`),
  "run.recovered": (_, run) => line("bad", `Process ${run.passes.at(-1)?.pid ?? ""} died. The run is on disk, and goes on`),
  "run.completed": ({ status, duration: took }) => line(status < 400 ? "good" : "warn", `Answered ${status} after ${duration(took)}`),
  "run.failed": ({ status, error }) => line("bad", `Failed with ${status}${error ? `: ${error.message}` : ""}`),
  "run.cancelled": () => line("warn", "Cancelled: no step begins any more, and none takes anything back"),
  "step.started": ({ step, attempt }, run) => {
    const again = run.steps[step]?.state === "lost";
    return line("plain", `${step} ${again ? "runs again: its end was never recorded" : attempt > 1 ? `attempt ${attempt}` : "runs"}`);
  },
  "step.progress": ({ step, text }) => line("soft", `${step}: ${text}`),
  "step.retrying": ({ step, attempt, error, until, at }) =>
    line("warn", `${step} failed at attempt ${attempt}, again in ${duration(Math.max(0, until - at))}: ${error.message}`),
  "step.failed": (event) => line("bad", `${ended("failed for good")(event)}: ${event.error.message}`),
  "step.waiting": ({ step, op, until, at }) =>
    line("warn", `${step} ${waitsFor(op)}${until ? (op.startsWith("sleep") ? " for " : ", at most ") + duration(until - at) : ""}`),
  "step.completed": (event) =>
    line("good", `${ended("is done and on disk")(event)}${event.duration ? `, ${duration(event.duration)}` : ""}`),
};
