/** The execution log: one line for each thing that happened, the newest in sight. */

import { byId, make } from "./dom.js";

// Older lines make room for newer ones.
const MOST_LINES = 500;

const list = byId("log");
let shown = 0;
// Whether the reader has not scrolled back: then the newest line stays in sight, also when lines break anew.
let atEnd = true;

const toEnd = () => (list.scrollTop = list.scrollHeight);
list.addEventListener("scroll", () => (atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40), { passive: true });
addEventListener("resize", () => atEnd && toEnd());

byId("clear").addEventListener("click", () => list.replaceChildren());

/** @param {import("./run.js").Run} run */
export function showLog(run) {
  if (run.log.length < shown) {
    list.replaceChildren();
    shown = 0;
  }
  if (run.log.length === shown) return;
  list.append(...run.log.slice(shown).slice(-MOST_LINES).map(lineOf));
  shown = run.log.length;
  while (list.childElementCount > MOST_LINES) list.firstElementChild.remove();
  if (atEnd) toEnd();
}

function lineOf({ at, pid, tone, text }) {
  const time = new Date(at * 1000);
  const shownTime = time.toLocaleTimeString([], { hourCycle: "h23" });
  return make(
    "li",
    { "data-tone": tone },
    make("time", { datetime: time.toISOString() }, shownTime),
    make("span", { class: "pid", title: "process" }, String(pid ?? "")),
    make("span", { class: "text" }, text),
  );
}
