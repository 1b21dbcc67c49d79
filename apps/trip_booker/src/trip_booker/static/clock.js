/** The server's clock, which the events' times are of. */

const told = Number(document.querySelector("meta[name=server-time]").content);
const [navigation] = performance.getEntriesByType("navigation");
const ahead = told - (performance.timeOrigin + (navigation?.responseStart ?? 0)) / 1000;
// Less than that is the way of the page, not a clock that is wrong.
const correction = Math.abs(ahead) > 1 ? ahead : 0;

/** Return the time at the server, in seconds since the epoch. */
export const now = () => Date.now() / 1000 + correction;
