/** The timeline: which process worked when, and what each step did in that time. */

import { byId, make, setData, setText } from "./dom.js";
import { stepId } from "./run.js";
import { scale, ticks } from "./scale.js";
import { counted, duration } from "./words.js";

// An axis of less is mostly one bar that shrinks.
const SHORTEST_SECONDS = 3;

const chart = byId("timeline");
/** @type {Map<string, HTMLElement>} */
let items = new Map();
/** @type {{[lane: string]: HTMLElement}} */
let tracks = {};

/** Make the lanes of a pattern's steps, so that no lane appears later and pushes others down. */
export function layOut(stepIds) {
  items = new Map();
  tracks = {};
  chart.style.setProperty("--steps", stepIds.length);
  chart.replaceChildren(lane("process", "process"), ...stepIds.map((step) => lane(step, "step")), lane("", "axis"));
}

function lane(name, kind) {
  const track = make("div", { class: "track" });
  tracks[kind === "axis" ? "axis" : name] = track;
  return make("div", { class: `lane ${kind}` }, make("div", { class: "label" }, name), track);
}

/**
 * @param {import("./run.js").Run} run
 * @param {number} now
 * @param {number} heard  until when the server was heard of: it may not run any more
 */
export function showTimeline(run, now, heard) {
  if (run.startedAt === null) return;
  const end = Math.max(run.endedAt ?? now, run.startedAt + SHORTEST_SECONDS);
  const busy = run.passes.map(({ from, to }) => ({ from, to: to ?? end }));
  const { part, cuts } = scale(busy, run.startedAt, end);
  const drawn = new Set();
  const draw = (item) => {
    if (!tracks[item.lane]) return;
    drawn.add(item.key);
    place(item, part);
  };
  [...processItems(run, now, heard), ...stepItems(run, now, heard)].forEach(draw);
  [...axisItems(run, end, cuts, part)].forEach(draw);
  for (const [key, element] of items) {
    if (!drawn.has(key)) {
      element.remove();
      items.delete(key);
    }
  }
  chart.setAttribute("aria-label", summary(run));
}

function place({ key, lane, is, from, to, text = "", title = "", odd = false, point = false }, part) {
  let element = items.get(key);
  if (!element) {
    element = make("div");
    items.set(key, element);
    tracks[lane].append(element);
  }
  element.className = is === "tick" || is === "break" ? is : "item";
  setData(element, { is, odd: odd ? "" : null });
  setText(element, text);
  if (element.title !== title) element.title = title;
  const left = part(from) * 100;
  // Moved as a picture, in hundredths of the track: nothing is laid out anew because time goes on.
  element.style.translate = `${left.toFixed(3)}cqw`;
  if (!point) element.style.width = `${(part(to) * 100 - left).toFixed(3)}%`;
}

function* processItems(run, now, heard) {
  const pids = [...new Set(run.passes.map((pass) => pass.pid))];
  for (const [index, pass] of run.passes.entries()) {
    const { epoch, pid, from, to, end, seen } = pass;
    const next = run.passes[index + 1];
    const died = end === "died";
    yield {
      key: `pass ${epoch}`,
      lane: "process",
      is: "pass",
      odd: pids.indexOf(pid) % 2 === 1,
      from,
      to: died ? seen : (to ?? Math.max(heard, seen)),
      text: `pid ${pid}`,
      title: `Process ${pid}, pass ${epoch}${pass.why ? `: ${pass.why}` : ""}`,
    };
    if (died) {
      const back = next?.from ?? run.endedAt ?? now;
      yield { key: `down ${epoch}`, lane: "process", is: "down", from: seen, to: back, text: "killed", title: `Process ${pid} died; ${duration(back - seen)} until another went on` };
    } else if (to === null && now > heard) {
      yield { key: `unheard ${epoch}`, lane: "process", is: "unheard", from: heard, to: now, text: "no answer" };
    } else if (to !== null && end !== "ended") {
      const back = next?.from ?? run.endedAt ?? now;
      if (back - to > 0.2) yield { key: `idle ${epoch}`, lane: "process", is: "idle", from: to, to: back, title: "Nothing of this run is in memory" };
    }
  }
}

function* stepItems(run, now, heard) {
  for (const step of Object.values(run.steps)) {
    const lane = stepId(step.key);
    for (const [index, { attempt, from, to, end, pid }] of step.attempts.entries()) {
      const until = to ?? Math.max(heard, from);
      const title = `${step.key}, attempt ${attempt}, process ${pid}: ${end ?? "running"}, ${duration(until - from)}`;
      yield { key: `attempt ${step.key} ${index}`, lane, is: end ?? "running", from, to: until, title };
    }
    for (const [index, { from, to, until, op }] of step.waits.entries()) {
      const title = `${step.key}: ${op === "retry" ? "waits for its next attempt" : "waits"}`;
      yield { key: `wait ${step.key} ${index}`, lane, is: "wait", from, to: to ?? Math.min(run.endedAt ?? now, until ?? Infinity), title };
    }
    for (const [index, at] of step.replays.entries()) {
      yield { key: `memo ${step.key} ${index}`, lane, is: "memo", from: at, to: at, point: true, title: `${step.key}: taken from its memo, not run again` };
    }
  }
}

function* axisItems(run, end, cuts, part) {
  const length = end - run.startedAt;
  // On an axis that is cut, round times would crowd: the ends of the cuts say more.
  const times = cuts.length ? cuts.flatMap(({ from, to }) => [from, to]).map((at) => at - run.startedAt) : ticks(length);
  const taken = [];
  for (const [index, time] of [0, ...times.filter((time) => time > 0)].entries()) {
    const from = run.startedAt + time;
    const at = part(from);
    if (at > 0.97 || taken.some((other) => Math.abs(other - at) < 0.08)) continue;
    taken.push(at);
    yield { key: `tick ${index}`, lane: "axis", is: "tick", from, to: from, point: true, text: time ? duration(time) : "0" };
  }
  for (const [index, { from, to }] of cuts.entries()) {
    const middle = (from + to) / 2;
    yield { key: `break ${index}`, lane: "axis", is: "break", from: middle, to: middle, point: true, title: `${duration(to - from)}, shortened` };
  }
}

function summary(run) {
  const done = Object.values(run.steps).filter((step) => step.state === "completed").length;
  const pids = new Set(run.passes.map((pass) => pass.pid)).size;
  return `${counted(done, "step")} done in ${counted(run.passes.length, "pass")} of ${counted(pids, "process")}`;
}
