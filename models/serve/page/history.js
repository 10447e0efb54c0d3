// Conversations and preferences, kept in the browser's storage.
//
// A conversation is a tree of turns. A turn is a question and, for each model that was asked (a lane), the versions of its answer; it comes after
// the versions that were shown when it was asked. Another version, or another question in the same place, begins a branch.
const PREFIX = 'hanlin.';
const FORMAT = 'hanlin-conversations';

const talks = new Map(); // id → conversation
let trouble = null; // told when the storage fails: (`storage_full` or `storage_none`)

export const identity = () => Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36).padStart(2, '0')).join('');

export function open(onTrouble) {
  trouble = onTrouble;
  try {
    for (const key of Object.keys(localStorage)) if (key.startsWith(`${PREFIX}talk.`)) reread(key);
  } catch {
    trouble('storage_none');
  }
}

// Take a conversation as it is stored now: at the start, and when another tab changed it. Its id, or null where it is none of ours.
export function reread(key) {
  if (!key.startsWith(`${PREFIX}talk.`)) return null;
  const id = key.slice(PREFIX.length + 5);
  const found = parsed(localStorage.getItem(key));
  const talk = found && checked(found);
  if (talk) talks.set(id, settled(talk));
  else talks.delete(id);
  return id;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

export function read(name, other) {
  try {
    return parsed(localStorage.getItem(PREFIX + name)) ?? other;
  } catch {
    return other;
  }
}

// Store a value under a name, or remove it where the value is null. False where the storage is full or missing.
export function write(name, value) {
  try {
    if (value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, JSON.stringify(value));
    return true;
  } catch (failure) {
    trouble(failure.name === 'QuotaExceededError' ? 'storage_full' : 'storage_none');
    return false;
  }
}

export const all = () => [...talks.values()].sort((a, b) => b.changed - a.changed);
export const find = (id) => talks.get(id);

export function begin(system) {
  return { id: identity(), title: '', named: false, made: Date.now(), changed: Date.now(), system, turns: [], chosen: {} };
}

export function save(talk) {
  talks.set(talk.id, talk);
  return write(`talk.${talk.id}`, talk);
}

export function remove(talk) {
  talks.delete(talk.id);
  write(`talk.${talk.id}`, null);
  write(`draft.${talk.id}`, null);
}

// Turns

export const shown = (turn, lane) => turn.lanes[lane]?.versions[turn.lanes[lane].shown];
const after = (turn) => `${turn.id}:${turn.lanes.map((_, lane) => shown(turn, lane)?.id ?? '').join('+')}`;
export const siblings = (talk, turn) => talk.turns.filter((other) => other.after === turn.after);

// The turns on show, one after the other.
export function path(talk) {
  const found = [];
  for (let place = ''; ; place = after(found.at(-1))) {
    const here = talk.turns.filter((turn) => turn.after === place);
    if (!here.length) return found;
    found.push(here.find((turn) => turn.id === talk.chosen[place]) ?? here.at(-1));
  }
}

// A new question: at the end, or in the place of another turn.
export function ask(talk, text, lanes, instead = null) {
  const last = path(talk).at(-1);
  const place = instead ? instead.after : last ? after(last) : '';
  const turn = { id: identity(), after: place, text, lanes: Array.from({ length: lanes }, () => ({ versions: [], shown: -1 })) };
  talk.turns.push(turn);
  talk.chosen[place] = turn.id;
  if (!talk.named && (!talk.title || talk.turns.length === 1)) talk.title = text.replace(/\s+/g, ' ').trim().slice(0, 60);
  return turn;
}

export function addVersion(turn, lane, answer) {
  turn.lanes[lane].versions.push(answer);
  turn.lanes[lane].shown = turn.lanes[lane].versions.length - 1;
}

export function removeTurn(talk, turn) {
  prune(talk, (other) => other.after.startsWith(`${turn.id}:`));
  talk.turns = talk.turns.filter((other) => other !== turn);
}

export function removeVersion(talk, turn, lane) {
  const { versions, shown: at } = turn.lanes[lane];
  const [gone] = versions.splice(at, 1);
  turn.lanes[lane].shown = Math.min(at, versions.length - 1);
  prune(talk, (other) => other.after.startsWith(`${turn.id}:`) && other.after.split(/[:+]/).includes(gone.id));
}

function prune(talk, test) {
  for (const turn of talk.turns.filter(test)) {
    prune(talk, (other) => other.after.startsWith(`${turn.id}:`));
    talk.turns = talk.turns.filter((other) => other !== turn);
  }
}

// The messages that a lane's model reads before it answers a turn: the system prompt, and exchanges that have an answer.
export function messages(talk, turn, lane, leaveOut = 0) {
  const turns = path(talk);
  const before = turns.slice(0, turns.indexOf(turn)).map((one) => [one.text, (shown(one, lane) ?? shown(one, 0))?.text]);
  const exchanges = before.filter(([, answer]) => answer);
  const said = exchanges.slice(leaveOut).flatMap(([question, answer]) => [message('user', question), message('assistant', answer)]);
  const system = talk.system.trim() ? [message('system', talk.system)] : [];
  return { messages: [...system, ...said, message('user', turn.text)], exchanges: exchanges.length };
}

export const message = (role, content) => ({ role, content });

// Files

export const exported = (some) => ({ format: FORMAT, version: 1, conversations: some });

// Conversations of an exported file, as new ones where their id is taken. `Error` where the file is none.
export function take(text, why) {
  const file = JSON.parse(text);
  const found = file?.format === FORMAT && Array.isArray(file.conversations) ? file.conversations.map(checked).filter(Boolean) : [];
  if (!found.length) throw new Error(why);
  for (const talk of found) {
    if (talks.has(talk.id)) talk.id = identity();
    save(settled(talk));
  }
  return found;
}

// An answer that nobody writes any more was interrupted.
function settled(talk) {
  for (const { versions } of talk.turns.flatMap((turn) => turn.lanes)) for (const one of versions) if (!one.end) one.end = 'interrupted';
  return talk;
}

// What is read from outside, with nothing in it that is not as it should be; null where it is no conversation.
function checked(given) {
  const text = (value) => (typeof value === 'string' ? value : '');
  const number = (value) => (Number.isFinite(value) ? value : null);
  if (!given || !text(given.id) || !Array.isArray(given.turns)) return null;
  const version = (one) => ({
    id: text(one?.id) || identity(), model: text(one?.model), text: text(one?.text), end: text(one?.end), seed: number(one?.seed),
    tokens: number(one?.tokens), speed: number(one?.speed), first: number(one?.first), leftOut: number(one?.leftOut) ?? 0,
    error: one?.error ? { kind: text(one.error.kind) || 'server', message: text(one.error.message), status: number(one.error.status), wait: number(one.error.wait) } : null,
    likely: Array.isArray(one?.likely) ? one.likely.filter(Array.isArray).map(([token, logprob, others]) => [text(token), number(logprob), pairs(others)]) : null,
  });
  const pairs = (others) => (Array.isArray(others) ? others.filter(Array.isArray).map(([token, logprob]) => [text(token), number(logprob)]) : []);
  const lane = (one) => {
    const versions = Array.isArray(one?.versions) ? one.versions.map(version) : [];
    return { versions, shown: versions[one?.shown] ? one.shown : versions.length - 1 };
  };
  const turns = given.turns.filter((turn) => text(turn?.id) && Array.isArray(turn.lanes) && turn.lanes.length);
  return {
    id: given.id, title: text(given.title), named: given.named === true, system: text(given.system),
    made: number(given.made) ?? Date.now(), changed: number(given.changed) ?? Date.now(),
    turns: turns.map((turn) => ({ id: turn.id, after: text(turn.after), text: text(turn.text), lanes: turn.lanes.map(lane) })),
    chosen: given.chosen && typeof given.chosen === 'object' ? Object.fromEntries(Object.entries(given.chosen).filter(([, id]) => text(id))) : {},
  };
}
