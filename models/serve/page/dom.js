// Elements and words. Whatever a model or a person wrote becomes a text node, never HTML.
import refusals from './refusals.js';
import words from './words.js';

let column = 0;

export const LANGUAGES = ['en', 'zh'];

export function speak(language) {
  column = LANGUAGES.indexOf(language);
  document.documentElement.lang = language === 'zh' ? 'zh-Hans' : 'en';
}

// A text of the page; of "one|many", the form for the number `n`.
export function say(key, values = {}) {
  const forms = words[key][column].split('|');
  const text = forms[values.n === undefined || values.n === 1 ? 0 : forms.length - 1];
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}

// A failure of the server in words of the page; what the server says itself is English, of which Chinese knows the usual.
export function sayFailure({ kind = 'server', message = '', status, wait }, model) {
  const known = column && refusals.find(([pattern]) => new RegExp(pattern).test(message));
  const told = known ? message.replace(new RegExp(known[0]), known[1]) : message;
  return withCode(say(`error_${kind}`, { message: told, status, wait, model, where: location.host }));
}

export const sayAll = (key) => words[key][column].split('|');

// The texts of elements that name them: data-say is the content; data-label the accessible name and tooltip, data-hint the placeholder.
export function translate(root) {
  for (const node of root.querySelectorAll('[data-say]')) node.textContent = say(node.dataset.say);
  for (const node of root.querySelectorAll('[data-label]')) label(node, say(node.dataset.label));
  for (const node of root.querySelectorAll('[data-hint]')) node.placeholder = say(node.dataset.hint);
}

export function label(node, text) {
  node.setAttribute('aria-label', text);
  if (node.tagName === 'BUTTON') node.title = text;
}

// An element: h('p.note', {id: 'x', onclick: f}, child, 'text').
export function h(name, given = {}, ...children) {
  const [tag, ...classes] = name.split('.');
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(' ');
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (key === 'label') label(node, value);
    else if (key in node && key !== 'list') node[key] = value;
    else node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('class', 'icon');
  svg.append(use);
  return svg;
}

// A button of an icon, with its name beside it where `shown`.
export function action(name, text, onclick, { shown = false, ...given } = {}) {
  return h(`button.act${shown ? '.named' : ''}`, { type: 'button', label: text, onclick, ...given }, icon(name), shown ? h('span', {}, text) : null);
}

// A text with `code` in it.
function withCode(text) {
  return text.split('`').map((part, at) => (at % 2 ? h('code', {}, part) : part));
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = h('textarea', { value: text, className: 'unseen', 'aria-hidden': 'true' }); // where the page is not a secure context
    document.body.append(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    return done;
  }
}

export function download(name, value) {
  const address = URL.createObjectURL(new Blob([JSON.stringify(value, null, 1)], { type: 'application/json' }));
  h('a', { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
