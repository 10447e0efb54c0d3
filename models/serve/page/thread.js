// The turns of a conversation on the page: questions, answers, and what can be done with them.
import { action, copy, h, icon, label, say, sayAll, sayFailure } from './dom.js';
import * as history from './history.js';
import { draw, mark, places, redraw } from './markdown.js';
import { isRunning } from './writing.js';

const ENDS = { length: 'end_length', stopped: 'end_stopped', interrupted: 'end_interrupted' };
const CONTINUED = ['length', 'stopped', 'interrupted'];
const PARTS = ['system', 'user', 'assistant', 'chosen', 'rejected']; // what a traced text is in its row; else the whole of it
const REMEDIES = { token: 'enter_token', model: 'choose_model', refused: 'open_settings' };

const fixed = (number, digits) => number.toLocaleString(document.documentElement.lang, { maximumFractionDigits: digits });

// `acts` are what buttons do: ask, regenerate, goOn, showVersion, showTurn, removeTurn, removeVersion, trace, remedy, send, tell.
export class Thread {
  constructor(node, acts) {
    this.node = node;
    this.acts = acts;
    this.answers = new Map(); // answer's id → the elements that change while it is written
  }

  show(talk) {
    this.talk = talk;
    this.answers.clear();
    this.node.replaceChildren(...history.path(talk).map((turn) => this.turn(turn)));
  }

  // An empty conversation, with the models that will answer.
  welcome(models) {
    this.answers.clear();
    const examples = sayAll('examples_list').map((example) => {
      const [text, meaning] = example.split(' = ');
      const shown = h('span', {}, h('span', { lang: 'zh-Hans' }, text), meaning && h('small', {}, meaning));
      return h('button.example', { type: 'button', onclick: () => this.acts.ask(text) }, shown, icon('go'));
    });
    const named = models.map(({ id, context }) => (context ? say('with_context', { model: id, n: context }) : id)).join(' · ');
    this.node.replaceChildren(h(
      'div.welcome', {}, h('img', { src: 'icon.svg', alt: '', width: 84, height: 84 }), h('h2', {}, say('welcome')),
      h('p', {}, named && say('welcome_sub', { models: named })), h('div.examples', { 'aria-label': say('examples'), role: 'group' }, examples),
    ));
  }

  turn(turn) {
    const wide = turn.lanes.length > 1;
    const lanes = turn.lanes.map((lane, number) => this.lane(turn, number));
    return h(`section.turn${wide ? '.wide' : ''}`, {}, this.question(turn), h('div.lanes', {}, lanes));
  }

  question(turn) {
    const siblings = history.siblings(this.talk, turn);
    const at = siblings.indexOf(turn);
    const body = h('div.said', {}, turn.text);
    const box = h('article.question', { 'aria-label': say('you') }, h('span.who', { 'aria-hidden': 'true', lang: 'zh-Hans' }, '问'), body, h(
      'div.acts', {},
      siblings.length > 1 ? pager(at, siblings.length, (to) => this.acts.showTurn(siblings[to])) : null,
      action('edit', say('edit'), () => box.replaceWith(this.editor(turn, box))),
      action('copy', say('copy'), () => this.copied(turn.text)),
      action('delete', say('delete'), () => this.acts.removeTurn(turn)),
    ));
    return box;
  }

  editor(turn, box) {
    const field = h('textarea', { value: turn.text, rows: 1, 'aria-label': say('edit_label') });
    const close = () => {
      form.replaceWith(box);
      box.querySelector('button').focus();
    };
    const grow = h('div.grow', {}, field);
    const sync = () => (grow.dataset.text = field.value);
    const send = (event) => {
      event.preventDefault();
      if (field.value.trim()) this.acts.ask(field.value.trim(), turn);
    };
    const form = h('form.question.editor', { onsubmit: send }, grow, h(
      'div.acts', {},
      h('button.plain', { type: 'button', onclick: close }, say('cancel')),
      h('button.strong', { type: 'submit' }, say('ask_again')),
    ));
    field.addEventListener('input', sync);
    field.addEventListener('keydown', (event) => {
      if (sends(event)) send(event);
      else if (event.key === 'Escape') {
        event.stopPropagation();
        close();
      }
    });
    sync();
    requestAnimationFrame(() => {
      field.focus();
      field.setSelectionRange(field.value.length, field.value.length);
    });
    return form;
  }

  lane(turn, number) {
    const box = h('article.answer');
    this.fill(box, turn, number);
    return box;
  }

  fill(box, turn, lane) {
    const answer = history.shown(turn, lane);
    const { versions, shown } = turn.lanes[lane];
    if (!answer) {
      box.replaceChildren(h('p.end', {}, say('no_answer')), h('div.acts', {}, this.again(turn, lane)));
      return;
    }
    const parts = {
      box, turn, lane, answer,
      text: h('div.text'),
      end: h('div.ends'),
      facts: h('span.facts'),
      acts: h('div.acts'),
      extra: h('div.extra'),
    };
    label(box, answer.model);
    box.replaceChildren(
      h('div.by', {}, h('span.who', { 'aria-hidden': 'true', lang: 'zh-Hans' }, '答'), h('span.name', {}, answer.model),
        versions.length > 1 ? pager(shown, versions.length, (to) => this.acts.showVersion(turn, lane, to)) : null),
      parts.text, parts.end, h('div.foot', {}, parts.acts, parts.facts), parts.extra,
    );
    this.answers.set(answer.id, parts);
    this.update(answer);
  }

  // Draw what changed of an answer, if it is on show.
  update(answer) {
    const parts = this.answers.get(answer.id);
    if (!parts) return;
    const busy = isRunning(answer);
    parts.box.setAttribute('aria-busy', busy);
    parts.box.classList.toggle('writing', busy);
    draw(parts.text, answer.text);
    if (busy && parts.busy) {
      if (answer.text) parts.end.replaceChildren();
      return;
    }
    parts.busy = busy;
    parts.end.replaceChildren(...(busy ? (answer.text ? [] : [h('p.waiting', {}, say('waiting'))]) : this.ending(parts)));
    parts.facts.replaceChildren(...(busy ? [] : facts(answer)));
    parts.acts.replaceChildren(...(busy ? [] : this.buttons(parts)));
  }

  ending({ turn, lane, answer }) {
    const notes = [];
    const note = (...children) => notes.push(h('p.end', {}, ...children));
    if (answer.leftOut) note(say('left_out', { n: answer.leftOut }));
    const goOn = () => (answer.text ? h('button.link', { type: 'button', onclick: () => this.acts.goOn(turn, lane, answer) }, say('continue')) : null);
    if (answer.error) notes.push(this.failure(turn, lane, answer));
    else if (CONTINUED.includes(answer.end)) note(say(ENDS[answer.end]), ' ', goOn());
    else if (!answer.text.trim()) note(say('end_empty'));
    return notes;
  }

  failure(turn, lane, answer) {
    const { kind } = answer.error;
    const buttons = [];
    if (REMEDIES[kind]) buttons.push(h('button.plain', { type: 'button', onclick: () => this.acts.remedy(kind) }, say(REMEDIES[kind])));
    buttons.push(h('button.plain', { type: 'button', onclick: () => this.acts.retry(turn, lane, answer) }, say('retry')));
    if (kind === 'broken' && answer.text) {
      buttons.push(h('button.plain', { type: 'button', onclick: () => this.acts.goOn(turn, lane, answer) }, say('continue')));
    }
    return h('div.failure', { role: 'alert' }, h('p', {}, sayFailure(answer.error, answer.model)), h('div.acts', {}, buttons));
  }

  again(turn, lane) {
    return action('again', say('regenerate'), () => this.acts.regenerate(turn, lane));
  }

  buttons(parts) {
    const { turn, lane, answer } = parts;
    const panels = [];
    const toggle = (name, off, on, make) => {
      const button = action(name, say(off), () => this.toggle(parts, button, panels, off, on, make), { shown: true, 'aria-expanded': 'false' });
      button.restore = () => this.renamed(button, off, false);
      panels.push(button);
      return button;
    };
    return [
      action('copy', say('copy'), () => this.copied(answer.text)),
      this.again(turn, lane),
      action('delete', say('delete'), () => this.acts.removeVersion(turn, lane)),
      answer.text.trim() ? toggle('source', 'trace', 'trace_hide', () => this.trace(parts)) : null,
      answer.likely?.length ? toggle('tokens', 'tokens', 'tokens_hide', () => this.tokens(parts)) : null,
    ].filter(Boolean);
  }

  renamed(button, key, open) {
    button.setAttribute('aria-expanded', open);
    label(button, say(key));
    button.lastChild.textContent = say(key);
  }

  toggle(parts, button, panels, off, on, make) {
    const open = button.getAttribute('aria-expanded') === 'true';
    panels.forEach((other) => other.restore());
    redraw(parts.text, parts.answer.text);
    parts.text.hidden = false;
    parts.extra.replaceChildren();
    if (open) return;
    this.renamed(button, on, true);
    make();
    parts.extra.scrollIntoView({ block: 'nearest' });
  }

  async copied(text) {
    this.acts.tell(say((await copy(text)) ? 'copied' : 'copy_failed'));
  }

  async trace(parts) {
    const status = h('p.hint', { role: 'status' }, say('tracing'));
    parts.extra.replaceChildren(status);
    let spans;
    try {
      spans = await this.acts.trace(parts.answer.text, parts.answer.model);
    } catch (failure) {
      parts.extra.replaceChildren(h('p.failure', { role: 'alert' }, sayFailure(failure, parts.answer.model)));
      return;
    }
    if (!status.isConnected) return;
    if (!spans.length) status.textContent = say('trace_none');
    else {
      status.textContent = say('trace_found', { n: spans.length });
      parts.extra.append(this.sources(parts, spans));
      parts.extra.scrollIntoView({ block: 'nearest' });
      if (parts.text.clientHeight < innerHeight / 2) parts.text.scrollIntoView({ block: 'nearest' }); // with its marks in sight
    }
  }

  sources(parts, spans) {
    const at = places(parts.answer.text);
    const items = spans.map((span, number) => h(
      'li', { tabIndex: -1 },
      h('button.quote', { type: 'button', onclick: () => chosen(number, marks.find((one) => one.number === number)) }, h('q', {}, span.text.trim())),
      span.rows.map((row) => sourceRow(row, span.text)),
      span.count > span.rows.length ? h('p.hint', {}, say('more_places', { n: span.count - span.rows.length })) : null,
    ));
    const marks = [];
    const passages = spans.map((span) => [at[span.start], at[span.end]]);
    mark(parts.text, passages, (number) => {
      const passage = h('mark.passage', { tabIndex: 0, role: 'button', onclick: () => chosen(number, items[number]), onkeydown: (event) => {
        if (event.key === 'Enter' || event.key === ' ') {
          event.preventDefault();
          chosen(number, items[number]);
        }
      } });
      marks.push(Object.assign(passage, { number }));
      return passage;
    });
    const chosen = (number, target) => {
      [...marks.map((one) => [one, one.number]), ...items.map((item, other) => [item, other])].forEach(([one, other]) => one.classList.toggle('chosen', other === number));
      target?.focus({ preventScroll: true });
      target?.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
    };
    return h('ol.sources', {}, items);
  }

  // The answer as its tokens, each shaded by how unlikely it was, with the others that were likely.
  tokens(parts) {
    const others = h('div.others', { role: 'status' });
    const share = (logprob) => `${fixed(100 * Math.exp(logprob), 1)} %`;
    const buttons = parts.answer.likely.map(([token, logprob, alternatives]) => {
      const level = Math.min(4, Math.floor(-logprob / 0.8));
      const name = say('probability', { token: visible(token), share: share(logprob) });
      return h(`button.token.level-${level}`, { type: 'button', label: name, onclick: (event) => {
        buttons.forEach((button) => button.classList.toggle('chosen', button === event.currentTarget));
        const listed = alternatives.some(([other]) => other === token) ? alternatives : [[token, logprob], ...alternatives];
        others.replaceChildren(...listed.map(([other, chance]) => h(
          `span.other${other === token ? '.chosen' : ''}`, {}, h('b', {}, visible(other)), ` ${share(chance)}`,
        )));
      } }, visible(token));
    });
    parts.text.hidden = true;
    parts.extra.replaceChildren(h('p.hint', {}, say('tokens_hint')), h('div.tokens', {}, buttons), others);
  }
}

const visible = (token) => token.replaceAll('\n', '⏎').replace(/^ +| +$/g, (spaces) => '␣'.repeat(spaces.length)) || '∅';

// A row of the training data, with the passage in its excerpt.
function sourceRow(row, passage) {
  const parts = row.excerpt.split(passage.trim());
  const excerpt = parts.flatMap((part, at) => (at ? [h('mark', {}, passage.trim()), part] : [part]));
  return h('div.row', {},
    h('div.where', {},
      h('span.chip.stage', {}, row.stage), h('span.chip', {}, row.source),
      h('span.chip', {}, row.licence ? say('licence', { licence: row.licence }) : say('licence_none')), PARTS.includes(row.part) ? h('span', {}, say(`part_${row.part}`)) : null, h('span.number', {}, say('row', { row: row.row }))),
    h('p.excerpt', {}, excerpt));
}

function facts(answer) {
  const known = [];
  if (!answer.tokens) return known;
  known.push(say('tokens_n', { n: answer.tokens }));
  if (answer.speed) known.push(say('per_second', { n: fixed(answer.speed, answer.speed < 10 ? 1 : 0) }));
  if (answer.first !== null && answer.first !== undefined) known.push(say('first_token', { n: fixed(answer.first, 2) }));
  if (answer.seed !== null && answer.seed !== undefined) known.push(say('seed_n', { n: answer.seed }));
  return known.map((text) => h('span', {}, text));
}

function pager(at, all, go) {
  const step = (name, key, to) => h('button.act', { type: 'button', label: say(key), disabled: to < 0 || to >= all, onclick: () => go(to) }, icon(name));
  return h('span.pager', {}, step('left', 'previous', at - 1), h('span', { 'aria-label': say('version', { n: at + 1, all }) }, `${at + 1}/${all}`), step('right', 'next', at + 1));
}

// Enter sends, but neither with Shift nor while an input method composes a word: Safari tells the latter only by the key's code.
export const sends = (event) => event.key === 'Enter' && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
