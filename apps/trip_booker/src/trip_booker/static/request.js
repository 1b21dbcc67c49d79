/** The requests of a booking. Its reference is the Idempotency-Key: sent twice, it is one booking. */

// How much earlier the booking is sent than the request to watch it. That one starts the run if there is none yet.
const HEAD_START_MS = 120;
const RETRY_MS = 500;
// A server that takes longer is taken for one that does not answer.
const DECISION_MS = 10_000;
// A browser sends a GET that it has sent already only when the first one is answered, to take its answer for both.
const UNSHARED = "no-store";

/** @typedef {{method: string, url: string, headers: {[name: string]: string}, body?: string}} Request */

/** Whoever knows the booking's reference may watch it: the key is looked up in its name. */
const credentials = (bookingId) => ({ Authorization: `Booking ${bookingId}`, "Idempotency-Key": bookingId });

/**
 * Return the request that books what the form says.
 * @param {{bookingId: string, method: string, path: string, fields: {[name: string]: any}, switches: URLSearchParams}} wanted
 * @returns {Request}
 */
export function request({ bookingId, method, path, fields, switches }) {
  const query = new URLSearchParams(switches);
  const headers = credentials(bookingId);
  if (method === "GET") {
    const parameters = new URLSearchParams({ bookingId, ...fields });
    for (const [name, value] of query) parameters.append(name, value);
    return { method, url: `${path}?${parameters}`, headers };
  }
  const url = query.size ? `${path}?${query}` : path;
  const body = JSON.stringify({ bookingId, ...fields });
  return { method, url, headers: { ...headers, "Content-Type": "application/json" }, body };
}

/**
 * Send *booking* and return how it was answered. No redirect is followed: who waits behind it holds one of the six
 * connections that a browser has to a server, and the stream at that URL tells the same answer.
 * @param {Request} booking
 * @returns {Promise<{status: ?number, redirected: boolean}>} without a status if it was redirected
 * @throws {TypeError} the connection was lost
 */
export async function send({ url, ...options }) {
  const response = await fetch(url, { ...options, cache: UNSHARED, redirect: "manual" });
  await response.text();
  const redirected = response.type === "opaqueredirect";
  return { status: redirected ? null : response.status, redirected };
}

/**
 * Return the wait URL of the run of *booking*, which streams its events. Tries until the server answers.
 * @param {Request} booking
 * @param {Promise<unknown>} answered  settles when the booking itself is answered, or its connection is lost
 */
export async function attach(booking, answered) {
  await Promise.race([pause(HEAD_START_MS), answered.catch(() => {})]);
  const { url, headers, ...options } = booking;
  return untilAnswered(() => locate(url, { ...options, headers: { ...headers, Accept: "text/event-stream" } }));
}

/**
 * Return the wait URL of a run that was started before, null if there is none. Tries until the server answers.
 * @param {string} endpoint  ID of the endpoint
 * @param {string} bookingId
 */
export function lookUp(endpoint, bookingId) {
  const url = `/_inngest/runs?${new URLSearchParams({ endpoint, key: bookingId })}`;
  return untilAnswered(() => locate(url, { headers: { ...credentials(bookingId), Accept: "text/event-stream" } }));
}

/** Tell the run of *bookingId*, which waits for it, what was decided. Returns whether the server took it. */
export async function decide(bookingId, approved) {
  try {
    const response = await fetch(`/api/trips/${encodeURIComponent(bookingId)}/decision`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ approved }),
      signal: AbortSignal.timeout(DECISION_MS),
    });
    return response.ok;
  } catch {
    return false;
  }
}

/** Cancel the run with this wait URL. Returns whether the server answered. */
export async function cancel(url) {
  try {
    await fetch(url, { method: "DELETE" });
    return true;
  } catch {
    return false;
  }
}

/** Follow the redirect to the wait URL, and no further: the stream is read elsewhere. */
async function locate(url, options) {
  const stop = new AbortController();
  try {
    const response = await fetch(url, { ...options, cache: UNSHARED, signal: stop.signal });
    if (response.status >= 500) throw new TypeError(`the server answered ${response.status}`);
    return response.ok && response.redirected ? response.url : null;
  } finally {
    stop.abort();
  }
}

async function untilAnswered(work) {
  for (;;) {
    try {
      return await work();
    } catch {
      await pause(RETRY_MS);
    }
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
