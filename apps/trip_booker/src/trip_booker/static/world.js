/** The third parties' own books: the calls that they really received, whatever our processes remember. */

import { byId, make, setData, setText } from "./dom.js";

const PAUSE_MS = 200;

/** @typedef {{calls: any[], charges: any[], reservations: any[], bookings: any[], confirmation: any}} World */

/** @type {World} */
export const NOTHING = { calls: [], charges: [], reservations: [], bookings: [], confirmation: null };

/**
 * Return a function that asks for the books again, soon and never twice at once; *told* is called with them.
 * @param {string} bookingId
 * @param {(world: World) => void} told
 */
export function reader(bookingId, told) {
  let asked = false;
  let busy = false;
  async function read() {
    if (busy) return;
    busy = true;
    while (asked) {
      asked = false;
      try {
        const response = await fetch(`/api/bookings/${encodeURIComponent(bookingId)}`);
        told(await response.json());
      } catch {
        // The server is gone; its successor will be asked.
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    busy = false;
  }
  return () => {
    asked = true;
    read();
  };
}

/**
 * @param {World} world
 * @param {boolean} stale  whether nobody is there to read the books again
 */
export function showWorld(world, stale) {
  const { calls, charges } = world;
  const count = charges.length;
  const card = byId("charges");
  setData(card, { charges: count > 1 ? "many" : count });
  setText(card.querySelector("b"), String(count));
  setText(card.querySelector("span"), `${wordsOf(charges)}${stale ? ", when last asked" : ""}`);
  const rows = byId("calls");
  if (calls.length < rows.childElementCount) rows.replaceChildren();
  if (calls.length === rows.childElementCount) return;
  rows.append(...calls.slice(rows.childElementCount).map(rowOf));
  const panel = rows.closest(".scroll");
  panel.scrollTop = panel.scrollHeight;
}

function wordsOf(charges) {
  const total = charges.reduce((sum, charge) => sum + charge.amount, 0);
  const refunded = charges.filter((charge) => charge.status === "refunded").length;
  const times = charges.length === 1 ? "charge on the card" : "charges on the card";
  return `${times}${total ? `, $${total} in all` : ""}${refunded ? `, ${refunded} refunded` : ""}`;
}

function rowOf({ service, action, outcome, pid, result }) {
  const is = result === null ? "refused" : outcome === "replayed" ? "replayed" : outcome === "charged" ? "charged" : "done";
  return make("tr", { "data-call": is }, ...[service, action, outcome, String(pid)].map((text) => make("td", {}, ...breakable(text))));
}

/** A code or an action, which may be broken after each of its words where the column is narrow. */
const breakable = (text) => text.split(/(?<=[_-])/).flatMap((word, index) => (index ? [make("wbr"), word] : [word]));
