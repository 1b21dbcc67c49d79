/**
 * What the page knows of a run: a pure function from one run event to the next state. It touches no page and no clock.
 *
 * The kinds of events are those of docs/run-events.md. Times are seconds since the epoch.
 */

import { describe } from "./words.js";

/** @typedef {{kind: string, id: string, at: number, step?: string, [field: string]: any}} RunEvent */

/**
 * One pass of the handler over the run, by one process.
 * @typedef {object} Pass
 * @property {number} epoch
 * @property {number} pid
 * @property {number} from
 * @property {?number} to  null while it goes on
 * @property {?("interrupted"|"died"|"ended")} end
 * @property {string} why
 * @property {number} seen  the last moment at which it was certainly alive
 * @property {string[]} memoized  keys of the steps that it took from their memos
 */

/**
 * One attempt of a step. When one that died with its process, or was cut off by the cancellation of its run, really
 * ended, nobody knows: its end is that of the pass.
 * @typedef {{attempt: number, epoch: number, pid: number, from: number, to: ?number,
 *   end: ?("completed"|"failed"|"died"|"cancelled")}} Attempt
 */

/**
 * A time in which a step waits: for its next attempt, for a time or for an event. `until` is null without a limit.
 * @typedef {{op: string, from: number, until: ?number, to: ?number}} Wait
 */

/**
 * @typedef {object} Step
 * @property {string} key
 * @property {"running"|"lost"|"retrying"|"waiting"|"completed"|"failed"|"cancelled"} state
 * @property {number} attempt
 * @property {string} progress  what it told last
 * @property {?{name: string, message: string}} error
 * @property {Attempt[]} attempts
 * @property {Wait[]} waits
 * @property {number[]} replays  the times at which it was taken from its memo
 */

/**
 * @typedef {object} Run
 * @property {"unknown"|"running"|"waiting"|"lost"|"completed"|"failed"|"cancelled"} status
 * @property {?number} startedAt
 * @property {?number} endedAt
 * @property {?number} wakeAt  when it goes on, while it waits
 * @property {number} lastId  of the events taken in, so that none is taken in twice
 * @property {Pass[]} passes
 * @property {{[key: string]: Step}} steps  in the order in which they were first heard of
 * @property {?string} active  key of the step that was heard of last
 * @property {{at: number, pid: ?number, tone: string, text: string}[]} log
 * @property {?{run_status: string, status: number, body: any}} result
 */

/** @type {Run} */
export const UNKNOWN = Object.freeze({
  status: "unknown",
  startedAt: null,
  endedAt: null,
  wakeAt: null,
  lastId: 0,
  passes: [],
  steps: {},
  active: null,
  log: [],
  result: null,
});

/**
 * Return the state after *event*. The one before is not changed.
 * @param {Run} run
 * @param {RunEvent} event
 * @returns {Run}
 */
export function reduce(run, event) {
  if (event.kind === "result") return { ...run, result: event };
  const id = Number(event.id);
  if (id <= run.lastId) return run;
  const change = CHANGES[event.kind];
  const changed = change ? change(NEXT_PROCESS.has(event.kind) ? run : seen(run, event.at), event) : run;
  const line = describe(event, run);
  const pid = changed.passes.at(-1)?.pid ?? null;
  return { ...changed, lastId: id, log: line ? [...run.log, { at: event.at, pid, ...line }] : run.log };
}

/** @param {Run} run */
export const hasEnded = (run) => run.endedAt !== null;

/** @param {Run} run */
export const crashes = (run) => run.passes.filter((pass) => pass.end === "died").length;

/** The steps that were under way when the run was cancelled: what came of them is not recorded. */
export const cutOff = (run) => Object.values(run.steps).filter(({ attempts }) => attempts.at(-1)?.end === "cancelled");

/** The ID of a step from its key: `book/pay:1` is a later step `pay` of a branch. */
export const stepId = (key) => key.slice(key.lastIndexOf("/") + 1).replace(/:\d+$/, "");

/** @type {{[kind: string]: (run: Run, event: RunEvent) => Run}} */
const CHANGES = {
  "run.started": (run, event) => ({ ...begin(run, event, []), status: "running", startedAt: event.at }),
  "run.reentered": (run, event) => replay({ ...begin(run, event, event.memoized), status: "running" }, event),
  "run.interrupted": (run, event) => ({
    ...endPass(run, event.at, "interrupted", event.why),
    status: "waiting",
    wakeAt: event.until ?? null,
  }),
  "run.retrying": (run, event) => ({
    ...endPass(run, event.at, "interrupted", event.error.message),
    status: "waiting",
    wakeAt: event.until ?? null,
  }),
  "run.recovered": (run, event) => ({ ...loseSteps(endPass(run, event.at, "died", "")), status: "lost" }),
  "run.completed": (run, event) => end(run, event, "completed"),
  "run.failed": (run, event) => end(run, event, "failed"),
  "run.cancelled": (run, event) => leaveSteps(end(run, event, "cancelled")),
  "step.started": (run, event) => startAttempt(run, event, event.at),
  "step.progress": (run, event) => change(run, event, () => ({ progress: event.text })),
  "step.retrying": (run, event) =>
    change(endAttempt(run, event, "failed"), event, (step) => ({
      state: "retrying",
      error: event.error,
      progress: "",
      waits: [...step.waits, { op: "retry", from: event.at, until: event.until, to: null }],
    })),
  "step.failed": (run, event) =>
    change(endAttempt(run, event, "failed"), event, () => ({ state: "failed", error: event.error })),
  "step.waiting": (run, event) =>
    change(run, event, (step) => ({
      state: "waiting",
      waits: [...endWaits(step, event.at), { op: event.op, from: event.at, until: event.until ?? null, to: null }],
    })),
  "step.completed": (run, event) =>
    change(endAttempt(run, event, "completed"), event, (step) => ({
      state: "completed",
      error: null,
      waits: endWaits(step, event.at),
    })),
};

/** What is told of a pass by another one, perhaps of another process, long after it was last seen. */
const NEXT_PROCESS = new Set(["run.recovered", "run.reentered"]);

/** Note on the pass that goes on that it was alive at *at*. */
function seen(run, at) {
  return changeLast(run, (pass) => (pass.to === null ? { seen: at } : {}));
}

function begin(run, { at, epoch, pid }, memoized) {
  const before = endPass(run, at, "interrupted", "").passes;
  return { ...run, wakeAt: null, passes: [...before, { epoch, pid, from: at, to: null, end: null, why: "", seen: at, memoized }] };
}

function endPass(run, at, how, why) {
  return changeLast(run, (pass) => (pass.to === null ? { to: at, end: how, why } : {}));
}

function changeLast(run, change) {
  const last = run.passes.at(-1);
  return last ? { ...run, passes: [...run.passes.slice(0, -1), { ...last, ...change(last) }] } : run;
}

function end(run, event, status) {
  return { ...endPass(run, event.at, "ended", ""), status, endedAt: event.at, wakeAt: null };
}

/** Note the steps that a pass takes from their memos. */
function replay(run, event) {
  const steps = { ...run.steps };
  for (const key of event.memoized) {
    if (steps[key]) steps[key] = { ...steps[key], replays: [...steps[key].replays, event.at] };
  }
  return { ...run, steps };
}

/** The process is gone, and so is every attempt that executed in it: its end was not recorded. */
function loseSteps(run) {
  const dead = run.passes.at(-1);
  return changeEach(run, (step) => ({
    attempts: endOpen(step, dead.to, "died"),
    state: step.state === "running" ? "lost" : step.state,
  }));
}

/** The run was cancelled: what had not ended stays as it is. */
function leaveSteps(run) {
  const at = run.endedAt;
  return changeEach(run, (step) =>
    step.state === "completed" || step.state === "failed"
      ? {}
      : { state: "cancelled", attempts: endOpen(step, at, "cancelled"), waits: endWaits(step, at) },
  );
}

function changeEach(run, how) {
  const steps = Object.entries(run.steps).map(([key, step]) => [key, { ...step, ...how(step) }]);
  return { ...run, steps: Object.fromEntries(steps) };
}

function startAttempt(run, event, from) {
  const { epoch, pid } = run.passes.at(-1) ?? { epoch: 0, pid: 0 };
  return change(run, event, (step) => ({
    state: "running",
    attempt: event.attempt,
    progress: "",
    waits: endWaits(step, from),
    attempts: [...step.attempts, { attempt: event.attempt, epoch, pid, from, to: null, end: null }],
  }));
}

/** End the attempt that goes on. A quick one has no start of its own: it is in the event of its end. */
function endAttempt(run, event, how) {
  if (event.started_at === undefined || event.started_at === null) return run;
  const open = run.steps[event.step]?.attempts.at(-1)?.to === null;
  const begun = open ? run : startAttempt(run, event, event.started_at);
  return change(begun, event, (step) => ({
    attempts: [...step.attempts.slice(0, -1), { ...step.attempts.at(-1), to: event.started_at + event.duration, end: how }],
  }));
}

const endOpen = (step, at, end) => step.attempts.map((attempt) => (attempt.to === null ? { ...attempt, to: at, end } : attempt));
const endWaits = (step, at) => step.waits.map((wait) => (wait.to === null ? { ...wait, to: at } : wait));

/** @type {Omit<Step, "key">} */
const NEW_STEP = { state: "running", attempt: 1, progress: "", error: null, attempts: [], waits: [], replays: [] };

function change(run, { step: key }, how) {
  const step = run.steps[key] ?? { key, ...NEW_STEP };
  return { ...run, active: key, steps: { ...run.steps, [key]: { ...step, ...how(step) } } };
}
