/** The stream of a run's events: read from the start, or from where it was lost, until the run has ended. */

export const KINDS = [
  ...["run.started", "run.reentered", "run.interrupted", "run.retrying", "run.recovered"],
  ...["run.completed", "run.failed", "run.cancelled"],
  ...["step.started", "step.progress", "step.retrying", "step.failed", "step.waiting", "step.completed", "result"],
];

const REOPEN_MS = 500;

/**
 * Watch the run whose wait URL is *url*, while somebody looks at the page. Ends by itself after the result.
 * @param {string} url
 * @param {object} told
 * @param {(event: import("./run.js").RunEvent) => void} told.event
 * @param {(connected: boolean) => void} told.connection
 * @returns {() => void} stops watching
 */
export function watch(url, told) {
  let lastId = "";
  let source;
  let timer;

  function open() {
    close();
    const address = new URL(url, location.href);
    if (lastId) address.searchParams.set("lastEventId", lastId);
    source = new EventSource(address);
    source.onopen = () => told.connection(true);
    source.onerror = lost;
    for (const kind of KINDS) source.addEventListener(kind, receive);
  }

  function receive(message) {
    lastId = message.lastEventId;
    told.event({ ...JSON.parse(message.data), kind: message.type, id: lastId });
    if (message.type === "result") stop();
  }

  function lost() {
    told.connection(false);
    // It has given up: a proxy answered in place of the server. Otherwise the browser connects again by itself.
    if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, REOPEN_MS);
  }

  function close() {
    clearTimeout(timer);
    source?.close();
  }

  // For all of its tabs together a browser has six connections to a server: one that nobody sees needs none.
  const turn = () => (document.hidden ? close() : open());

  function stop() {
    document.removeEventListener("visibilitychange", turn);
    close();
  }

  document.addEventListener("visibilitychange", turn);
  turn();
  return stop;
}
