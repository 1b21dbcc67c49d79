/** The rows of the steps: what each is doing, in words. */

import { setData, setText } from "./dom.js";
import { stepId } from "./run.js";
import { due, duration, timeLeft, waitsFor } from "./words.js";

const ICONS = { completed: "check", failed: "cross", retrying: "retry" };
// What it means that a wait for a person is over, by the code of the answer's error.
const REFUSALS = { NOT_APPROVED: "rejected", NOBODY_DECIDED: "nobody decided in time" };

/**
 * @param {string} kind
 * @param {import("./run.js").Run} run
 * @param {number} now
 * @param {number} heard  until when the server was heard of: it may not run any more
 */
export function showProgress(kind, run, now, heard) {
  const steps = Object.fromEntries(Object.values(run.steps).map((step) => [stepId(step.key), step]));
  for (const row of document.querySelectorAll(`.progress[data-kind=${kind}] li`)) {
    row.dataset.sub ??= row.querySelector(".sub").textContent;
    const step = steps[row.dataset.step];
    const unheard = step?.state === "running" && now > heard;
    const refused = step ? refusalOf(step, run) : null;
    setData(row, { state: step?.state ?? "pending", unheard: unheard ? "" : null, refused: refused ? "" : null });
    setText(row.querySelector(".sub"), step ? `${unheard ? "last heard: " : ""}${refused ?? wordsOf(step, now)}` : row.dataset.sub);
    setText(row.querySelector(".badge"), step ? badgeOf(step) : "");
    const icon = refused ? "cross" : (ICONS[step?.state] ?? null);
    const use = row.querySelector("use");
    row.dataset.icon ??= use.getAttribute("href");
    const href = icon ? `#icon-${icon}` : row.dataset.icon;
    if (use.getAttribute("href") !== href) use.setAttribute("href", href);
  }
}

/** What came of a wait for a person that did not end well; only the run's answer tells. */
const refusalOf = (step, run) =>
  step.waits.some(({ op }) => op === "wait-for-event") ? (REFUSALS[run.result?.body?.error?.code] ?? null) : null;

/** @param {import("./run.js").Step} step */
function wordsOf(step, now) {
  switch (step.state) {
    case "running":
      return step.progress || (step.attempt > 1 ? `attempt ${step.attempt}` : "running");
    case "lost":
      return "its process died before its end was on disk: runs again";
    case "retrying":
      return `${step.error.message}; again ${due(step.waits.at(-1), now)}`;
    case "waiting":
      return `${waitsFor(step.waits.at(-1).op)}${step.waits.at(-1).until ? `, ${timeLeft(step.waits.at(-1), now)}` : ""}`;
    case "failed":
      return step.error.message;
    case "cancelled":
      return step.attempts.at(-1)?.end === "cancelled" ? "under way when the run was cancelled" : "left when the run was cancelled";
    default:
      return step.replays.length ? "on disk, not run again" : "done, on disk";
  }
}

/** @param {import("./run.js").Step} step */
function badgeOf(step) {
  const last = step.attempts.at(-1);
  if (step.state === "completed" && last?.to) {
    const tries = step.attempt > 1 ? `attempt ${step.attempt} · ` : "";
    return tries + duration(last.to - last.from);
  }
  return step.attempt > 1 || step.state === "retrying" ? `attempt ${step.attempt}` : "";
}
