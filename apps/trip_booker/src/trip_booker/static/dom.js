/** Small ways to change the page. Text is only ever set as text, and nothing is written that is there already. */

/** @type {(id: string) => any} */
export const byId = (id) => document.getElementById(id);

/** The elements that belong to one kind of trip, of which those of *kind* are shown. */
export function showKind(selector, kind) {
  for (const element of document.querySelectorAll(selector)) element.hidden = element.dataset.kind !== kind;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set attributes, and remove those whose value is null. */
export function setData(element, data) {
  for (const [name, value] of Object.entries(data)) {
    if (value === null) delete element.dataset[name];
    else if (element.dataset[name] !== String(value)) element.dataset[name] = String(value);
  }
}

/** Return a new element with attributes and children, which are elements or texts. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const motion = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");
