// The page of `hanlin serve`: conversations with its models.
import * as api from './api.js';
import { Conversations, save } from './conversations.js';
import { LANGUAGES, h, say, sayFailure, speak, translate } from './dom.js';
import * as history from './history.js';
import { Choice, adopt, form } from './knobs.js';
import { Thread, sends } from './thread.js';
import { begun, halt, interrupt, runs, write } from './writing.js';

const at = (id) => document.getElementById(id);
const narrow = matchMedia('(max-width: 860px)');

let troubles = new Set(); // words of what is wrong with the storage
history.open((word) => {
  troubles.add(word);
  notices();
});

const prefs = history.read('preferences', {});
const choice = new Choice(prefs.decoding);
let token = history.read('token', '');
let models = []; // as the server lists them
let connecting = null; // the last look for them, while it lasts
let unreachable = null; // why there are none
let talk = history.begin('');

const conversations = new Conversations(at('list'), { current: () => talk, choose, begin, tell });

// Preferences

const keep = (changed) => history.write('preferences', Object.assign(prefs, changed));
const language = () => (LANGUAGES.includes(prefs.language) ? prefs.language : navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en');

function dress() {
  speak(language());
  document.documentElement.dataset.theme = prefs.theme ?? 'auto';
  document.title = say('title');
  translate(document.body);
  at('language').value = language();
  at('theme').value = prefs.theme ?? 'auto';
  knobs();
  notices();
  show();
}

function knobs() {
  form(at('knobs'), choice, () => keep({ decoding: choice }));
}

// Conversations

const thread = new Thread(at('thread'), {
  ask,
  goOn: (turn, lane, answer) => run(turn, lane, answer, { more: true }),
  retry: (turn, lane, answer) => {
    Object.assign(answer, { text: '', leftOut: 0, likely: null, tokens: null });
    run(turn, lane, answer);
  },
  regenerate: (turn, lane) => {
    history.addVersion(turn, lane, begun(modelOf(turn, lane)));
    show({ keep: true });
    run(turn, lane, history.shown(turn, lane));
  },
  showTurn: (turn) => branch(() => (talk.chosen[turn.after] = turn.id)),
  showVersion: (turn, lane, to) => branch(() => (turn.lanes[lane].shown = to)),
  removeTurn: (turn) => undoable(() => history.removeTurn(talk, turn)),
  removeVersion: (turn, lane) => undoable(() => history.removeVersion(talk, turn, lane)),
  trace: (text, model) => api.trace(text, model, token),
  remedy: (kind) => {
    if (kind === 'model') at('model').focus();
    else drawer('settings', true, kind === 'token' ? at('token') : null);
  },
  tell,
});

function modelOf(turn, lane) {
  if (turn.lanes.length === 1) return prefs.model;
  return prefs.beside ? [prefs.model, prefs.second][lane] : (history.shown(turn, lane)?.model ?? prefs.model);
}

function branch(change) {
  change();
  history.save(talk);
  show({ keep: true });
}

function undoable(change) {
  halt(runs(talk));
  const before = structuredClone(talk);
  branch(change);
  tell(say('deleted'), say('undo'), () => {
    history.save(before);
    if (talk.id === before.id) talk = before;
    show({ keep: true });
  });
}

// Show the conversation, at its end unless its place is to be kept.
function show({ keep: kept = false } = {}) {
  const place = at('scroll').scrollTop;
  if (at('thread').contains(document.activeElement)) at('scroll').focus({ preventScroll: true }); // what had the focus is drawn anew
  const empty = !talk.turns.length;
  document.body.classList.toggle('empty', empty);
  if (empty) thread.welcome(models.filter((model) => modelNames().includes(model.id)));
  else thread.show(talk);
  at('system').value = talk.system;
  at('scroll').scrollTop = kept ? place : at('scroll').scrollHeight;
  window.history.replaceState(null, '', empty ? location.pathname : `#${talk.id}`);
  list();
  controls();
}

const modelNames = () => (prefs.beside ? [prefs.model, prefs.second] : [prefs.model]);

function choose(other) {
  talk = other;
  restoreDraft();
  show();
  drawer('history', false);
  if (!narrow.matches) at('message').focus(); // on a phone the keyboard would cover what was chosen
}

function begin() {
  choose(history.begin(talk.system));
}

function list() {
  conversations.show();
  at('export').disabled = !history.all().length;
}

// Questions and answers

async function ask(text, instead = null) {
  const own = talk;
  if (!(await ready()) || own !== talk || runs(talk).length) return;
  hush(); // what could be undone was before this
  const turn = history.ask(talk, text, modelNames().length, instead);
  modelNames().forEach((model, lane) => history.addVersion(turn, lane, begun(model)));
  talk.changed = Date.now();
  history.save(talk);
  show();
  turn.lanes.forEach((_, lane) => run(turn, lane, history.shown(turn, lane)));
}

async function run(turn, lane, answer, { more = false } = {}) {
  const own = talk;
  const drawing = { due: false };
  const draw = () => {
    drawing.due = false;
    const end = atEnd();
    thread.update(answer);
    if (end && own === talk) toEnd();
    else controls();
  };
  const written = write(own, turn, lane, answer, { fields: choice.request(), token, more, onChange: () => {
    if (!drawing.due) requestAnimationFrame(draw);
    drawing.due = true;
  } });
  list();
  controls();
  at('spoken').textContent = say('answering', { model: answer.model });
  await written;
  draw();
  list();
  controls();
  at('spoken').textContent = answer.error ? '' : say('answered', { model: answer.model, text: answer.text }); // a failure is an alert already
  if (answer.error?.kind === 'model') connect();
}

const atEnd = () => at('scroll').scrollHeight - at('scroll').scrollTop - at('scroll').clientHeight < 48;

function toEnd() {
  at('scroll').scrollTop = at('scroll').scrollHeight;
  controls();
}

function controls() {
  const busy = runs(talk).length > 0;
  at('halt').hidden = !busy;
  at('send').hidden = busy;
  at('send').disabled = !at('message').value.trim();
  at('to-end').hidden = atEnd();
}

// Models

function connect() {
  const look = learnModels().finally(() => {
    if (connecting === look) connecting = null;
  });
  connecting = look;
  return look;
}

// True once models are known: the page may have just opened, or the server been away.
async function ready() {
  if (!models.length) await (connecting ?? connect());
  return models.length > 0;
}

async function learnModels() {
  try {
    models = await api.models(token);
    unreachable = models.length ? null : { kind: 'model', message: '' };
  } catch (failure) {
    models = [];
    unreachable = failure;
  }
  const names = models.map((model) => model.id);
  if (names.length && !names.includes(prefs.model)) keep({ model: names[0] });
  if (names.length && !names.includes(prefs.second)) keep({ second: names.find((name) => name !== prefs.model) ?? names[0] });
  picks();
  notices();
  if (!talk.turns.length) show();
}

function picks() {
  for (const [id, name] of [['model', prefs.model], ['second', prefs.second]]) {
    const options = models.map(({ id: model }) => h('option', { value: model, selected: model === name }, model));
    at(id).replaceChildren(...(options.length ? options : [h('option', {}, say('no_models'))]));
    at(id).disabled = !options.length;
  }
  at('beside').setAttribute('aria-pressed', Boolean(prefs.beside));
  at('second').hidden = at('versus').hidden = !prefs.beside;
  document.body.classList.toggle('two', Boolean(prefs.beside));
  if (adopt(models.find((model) => model.id === prefs.model)?.defaults)) knobs();
}

function notices() {
  const notes = [...troubles].map((word) => h('p', {}, say(word)));
  if (unreachable) {
    const enter = unreachable.kind === 'token' && h('button.plain', { type: 'button', onclick: () => drawer('settings', true, at('token')) }, say('enter_token'));
    notes.push(h('p', {}, h('span', {}, sayFailure(unreachable, prefs.model ?? '')), enter || null, h('button.plain', { type: 'button', onclick: connect }, say('retry'))));
  }
  at('notice').replaceChildren(...notes);
}

// Drawers: the list of conversations on a narrow page, and the settings.

function drawer(name, open, focus = null) {
  const panel = at(name);
  if (name === 'settings') {
    panel.hidden = !open;
    keep({ settings: open && !narrow.matches });
  }
  panel.classList.toggle('open', open);
  const button = at(`open-${name}`);
  const was = button.getAttribute('aria-expanded') === 'true';
  button.setAttribute('aria-expanded', open);
  modal();
  if (open) (focus ?? (narrow.matches ? panel.querySelector('header button') : null))?.focus();
  else if (was && panel.contains(document.activeElement)) button.focus();
}

// On a narrow page an open drawer covers the rest, which then takes neither focus nor clicks.
function modal() {
  const open = ['history', 'settings'].find((name) => at(name).classList.contains('open') && narrow.matches);
  at('scrim').hidden = !open;
  document.querySelector('main').inert = Boolean(open);
  at('history').inert = narrow.matches && open !== 'history';
}

function closeDrawers() {
  const open = narrow.matches && ['history', 'settings'].filter((name) => at(name).classList.contains('open'));
  if (!open || !open.length) return false;
  open.forEach((name) => drawer(name, false));
  return true;
}

let telling = 0;

const hush = () => at('toast').replaceChildren();

function tell(text, offer = null, act = null) {
  clearTimeout(telling);
  const button = offer && h('button.link', { type: 'button', onclick: () => {
    hush();
    act();
  } }, offer);
  at('toast').replaceChildren(h('p', {}, text, button || null));
  telling = setTimeout(hush, 8000);
}

// The message that is written but not sent

const draftName = () => `draft.${talk.turns.length ? talk.id : 'new'}`;

function restoreDraft() {
  at('message').value = history.read(draftName(), '');
  grow();
}

function grow() {
  at('message').parentNode.dataset.text = at('message').value;
}

async function submit(event) {
  event.preventDefault();
  const text = at('message').value.trim();
  if (!text || !(await ready()) || at('message').value.trim() !== text || runs(talk).length) return;
  history.write(draftName(), null);
  at('message').value = '';
  grow();
  ask(text);
}

function listen() {
  const on = (id, event, act) => at(id).addEventListener(event, act);
  on('composer', 'submit', submit);
  on('message', 'keydown', (event) => sends(event) && submit(event));
  on('message', 'input', () => {
    grow();
    controls();
    history.write(draftName(), at('message').value || null);
  });
  on('halt', 'click', () => {
    halt(runs(talk));
    at('message').focus();
  });
  on('to-end', 'click', toEnd);
  on('scroll', 'scroll', controls);
  on('new', 'click', begin);
  on('export', 'click', () => save(history.all()));
  on('import', 'click', () => at('file').click());
  on('file', 'change', () => conversations.load(at('file')));
  on('language', 'change', () => {
    keep({ language: at('language').value });
    dress();
    picks();
  });
  on('theme', 'change', () => {
    keep({ theme: at('theme').value });
    document.documentElement.dataset.theme = prefs.theme;
  });
  for (const id of ['model', 'second']) {
    on(id, 'change', () => {
      keep({ [id]: at(id).value });
      picks();
      if (!talk.turns.length) show();
    });
  }
  on('beside', 'click', () => {
    keep({ beside: !prefs.beside });
    picks();
    if (!talk.turns.length) show();
  });
  on('open-history', 'click', () => drawer('history', true));
  on('close-history', 'click', () => drawer('history', false));
  on('open-settings', 'click', () => drawer('settings', at('settings').hidden));
  on('close-settings', 'click', () => drawer('settings', false));
  on('scrim', 'click', closeDrawers);
  on('system', 'input', () => {
    talk.system = at('system').value;
    keep({ system: talk.system });
    if (talk.turns.length) history.save(talk);
  });
  on('reset', 'click', () => {
    choice.reset();
    keep({ decoding: choice });
    knobs();
  });
  const access = () => {
    token = at('token').value.trim();
    history.write('token', at('remember').checked && token ? token : null);
  };
  on('token', 'input', access);
  on('token', 'change', connect);
  on('remember', 'change', access);
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || event.isComposing) return;
    if (!closeDrawers()) halt(runs(talk));
  });
  narrow.addEventListener('change', modal);
  document.addEventListener('visibilitychange', () => document.hidden || runs(talk).length || connect());
  window.addEventListener('pagehide', interrupt);
  window.addEventListener('storage', elsewhere);
}

// Another tab changed a conversation. One that is being written here is left alone.
function elsewhere(event) {
  if (!event.key || runs(talk).length) return;
  const id = history.reread(event.key);
  if (id === null) return;
  if (id === talk.id && history.find(id)) {
    talk = history.find(id);
    show({ keep: true });
  } else list();
}

listen();
at('token').value = token;
at('remember').checked = Boolean(token);
talk = history.find(location.hash.slice(1)) ?? history.begin(prefs.system ?? '');
dress();
picks();
restoreDraft();
if (prefs.settings && !narrow.matches) drawer('settings', true);
modal();
controls();
connect();
