/**
 * The time axis: in proportion, but long times in which nothing is in memory are cut short. Pure.
 *
 * A run may wait for a day between two steps of a second; both must be seen.
 */

// What an idle time may take up: so many seconds, or this part of the time in which something went on.
const IDLE_SECONDS = 3;
const IDLE_PART = 0.6;

/**
 * @param {{from: number, to: number}[]} busy  when something went on, in order
 * @param {number} start
 * @param {number} end
 * @returns {{part: (time: number) => number, cuts: {from: number, to: number}[]}} where a time is, from 0 to 1, and
 *   which idle times are cut
 */
export function scale(busy, start, end) {
  const idle = [];
  let free = start;
  let worked = 0;
  for (const { from, to } of busy) {
    if (from > free) idle.push({ from: free, to: from });
    worked += Math.max(0, to - Math.max(from, free));
    free = Math.max(free, to);
  }
  if (end > free) idle.push({ from: free, to: end });

  const longest = Math.max(IDLE_SECONDS, worked * IDLE_PART);
  const cuts = idle.filter(({ from, to }) => to - from > longest);
  const shownOf = (time) =>
    cuts.reduce((shown, { from, to }) => {
      const within = Math.min(Math.max(time - from, 0), to - from);
      return shown - within + (within * longest) / (to - from);
    }, time - start);
  const whole = Math.max(shownOf(end), 1e-3);
  return { part: (time) => Math.min(1, Math.max(0, shownOf(time) / whole)), cuts };
}

/** Return about *count* round times from 0 to *length*, in seconds. */
export function ticks(length, count = 6) {
  const rough = length / count;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1e-3)));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? rough;
  return Array.from({ length: Math.floor(length / step + 1e-6) + 1 }, (_, index) => index * step);
}
