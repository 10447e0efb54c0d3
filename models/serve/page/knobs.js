// The decoding knobs: their form, what is chosen, and the fields of a request that say so.
import { h, say } from './dom.js';

export const MODES = ['greedy', 'sampling', 'beam', 'contrastive'];
const MODE = 'sampling';

// Each knob: the request's field, the setting of models/serve/settings.py that it becomes, and the modes that it belongs to (none: all of them).
const KNOBS = [
  { name: 'temperature', field: 'temperature', setting: 'temperature', modes: ['sampling'], value: 0.7, min: 0.05, max: 2, step: 0.05, slider: true },
  { name: 'top_p', field: 'top_p', setting: 'top_p', modes: ['sampling'], value: 0.9, min: 0.05, max: 1, step: 0.01, slider: true },
  { name: 'top_k', field: 'top_k', setting: 'top_k', modes: ['sampling'], value: 0, min: 0, max: 1000, step: 1 },
  { name: 'beams', field: 'beams', setting: 'beams', modes: ['beam'], value: 4, min: 2, max: 16, step: 1, slider: true },
  { name: 'length_penalty', field: 'length_penalty', setting: 'length_penalty', modes: ['beam'], value: 1, min: -2, max: 4, step: 0.1, slider: true },
  { name: 'contrastive_alpha', field: 'contrastive_alpha', setting: 'contrastive_alpha', modes: ['contrastive'], value: 0.6, min: 0.05, max: 1, step: 0.05, slider: true },
  { name: 'candidates', field: 'top_k', setting: 'top_k', modes: ['contrastive'], value: 4, min: 2, max: 50, step: 1 },
  { name: 'max_tokens', field: 'max_tokens', setting: 'max_new_tokens', value: 512, min: 1, max: 100_000, step: 1 },
  { name: 'repetition_penalty', field: 'repetition_penalty', setting: 'repetition_penalty', value: 1, min: 0.5, max: 2, step: 0.05, slider: true },
  { name: 'presence_penalty', field: 'presence_penalty', setting: 'presence_penalty', value: 0, min: -2, max: 2, step: 0.1, slider: true },
  { name: 'frequency_penalty', field: 'frequency_penalty', setting: 'frequency_penalty', value: 0, min: -2, max: 2, step: 0.1, slider: true },
  { name: 'seed', field: 'seed', value: null, min: 0, max: 2 ** 31 - 1, step: 1, rare: true },
  { name: 'stop', field: 'stop', setting: 'stop', value: '', rare: true, lines: true },
  { name: 'logit_bias', field: 'logit_bias', setting: 'logit_bias', value: '', rare: true, lines: true },
  { name: 'alternatives', field: 'top_logprobs', setting: 'alternatives', value: null, min: 0, max: 20, step: 1, rare: true },
];
const USUAL = new Map(KNOBS.map((knob) => [knob, knob.value]));
const STOPS = 16; // most stop texts of a request
const BIAS = /^\s*(\d+)\s*[:：=,，\s]\s*([-−+]?\d+(?:\.\d+)?)\s*$/;

const lines = (text) => text.split('\n').filter((line) => line.trim());

function biases(text) {
  const good = {};
  const bad = [];
  for (const line of lines(text)) {
    const found = BIAS.exec(line);
    const bias = found && Number(found[2].replace('−', '-'));
    if (found && Math.abs(bias) <= 100) good[found[1]] = bias;
    else bad.push(line.trim());
  }
  return { good, bad };
}

const usable = (knob, value) =>
  value === null ? knob.value === null : Number.isFinite(value) && value >= knob.min && value <= knob.max && (knob.step < 1 || Number.isInteger(value));

// Take the defaults of a model, as the server tells them, for ours. True where that changed any.
export function adopt(defaults = {}) {
  let changed = false;
  for (const knob of KNOBS) {
    const own = defaults[knob.name];
    const value = own !== undefined && usable(knob, own) ? own : USUAL.get(knob);
    changed ||= value !== knob.value;
    knob.value = value;
  }
  return changed;
}

// What is chosen: {mode, values of knobs that are not at their default}.
export class Choice {
  constructor(given) {
    this.mode = MODES.includes(given?.mode) ? given.mode : MODE;
    this.values = {};
    for (const knob of KNOBS) {
      const value = given?.values?.[knob.name];
      if (value !== undefined && (knob.lines ? typeof value === 'string' : usable(knob, value))) this.set(knob, value);
    }
  }

  get(knob) {
    return this.values[knob.name] ?? knob.value;
  }

  set(knob, value) {
    if (value === knob.value) delete this.values[knob.name];
    else this.values[knob.name] = value;
  }

  reset() {
    this.mode = MODE;
    this.values = {};
  }

  // The fields of a request. A sample always has a seed, so that it can be told and drawn again.
  request() {
    const fields = this.mode === 'sampling' ? {} : { temperature: 0 };
    for (const knob of KNOBS.filter((one) => !one.modes || one.modes.includes(this.mode))) {
      const value = this.get(knob);
      if (knob.name === 'stop') {
        if (lines(value).length) fields.stop = lines(value).slice(0, STOPS);
      } else if (knob.name === 'logit_bias') {
        if (lines(value).length) fields.logit_bias = biases(value).good;
      } else if (value !== null) fields[knob.field] = value;
    }
    if ('top_logprobs' in fields) fields.logprobs = true;
    if (this.mode === 'sampling') fields.seed ??= crypto.getRandomValues(new Uint32Array(1))[0] % 2 ** 31;
    return fields;
  }
}

// The form of the knobs in a node, with what is chosen; `onChange` is called when a person changes it.
export function form(node, choice, onChange) {
  const modes = h('div.modes', { role: 'radiogroup', 'aria-label': say('mode') }, MODES.map((mode) => h(
    'label', {},
    h('input', { type: 'radio', name: 'mode', value: mode, checked: choice.mode === mode, 'aria-describedby': 'mode-hint', onchange: () => {
      choice.mode = mode;
      show();
      onChange();
    } }),
    h('span', {}, say(mode)),
  )));
  const hint = h('p.hint', { id: 'mode-hint' });
  const rows = KNOBS.map((knob) => [knob, row(knob, choice, onChange)]);
  const some = (test) => rows.filter(([knob]) => test(knob)).map(([, element]) => element);
  const rare = h('details', { open: rows.some(([knob]) => knob.rare && knob.name in choice.values) },
    h('summary', {}, say('rarely')), some((knob) => knob.rare));
  const show = () => {
    hint.textContent = say(`${choice.mode}_hint`);
    for (const [knob, element] of rows) element.hidden = Boolean(knob.modes) && !knob.modes.includes(choice.mode);
  };
  show();
  node.replaceChildren(modes, hint, ...some((knob) => knob.modes), h('h3', {}, say('limits')), ...some((knob) => !knob.modes && !knob.rare), rare);
}

function row(knob, choice, onChange) {
  const id = `knob-${knob.name}`;
  const value = choice.get(knob);
  const wrong = h('p.wrong', { id: `${id}-wrong`, role: 'alert' });
  const described = { 'aria-describedby': `${id}-hint ${id}-wrong`, name: knob.name, id };
  const box = knob.lines
    ? h('textarea', { ...described, rows: 2, value, spellcheck: false })
    : h('input', { ...described, type: 'number', min: knob.min, max: knob.max, step: 'any', value: value ?? '', inputMode: 'decimal' });
  const slider = knob.slider && h('input', { type: 'range', min: knob.min, max: knob.max, step: knob.step, value, 'aria-label': say(knob.name) });
  const changed = () => element.classList.toggle('changed', knob.name in choice.values);
  const take = () => {
    wrong.textContent = '';
    if (knob.lines) {
      choice.set(knob, box.value);
      if (knob.name === 'stop' && lines(box.value).length > STOPS) wrong.textContent = say('bad_stop', { n: STOPS });
      if (knob.name === 'logit_bias') wrong.textContent = biases(box.value).bad.map((line) => say('bad_bias', { line })).slice(0, 1).join('');
    } else {
      const given = box.value.trim() === '' && !box.validity.badInput ? null : Number.isNaN(box.valueAsNumber) ? NaN : box.valueAsNumber;
      if (usable(knob, given)) {
        choice.set(knob, given);
        if (slider) slider.value = given;
      } else wrong.textContent = say('out_of_range', { min: knob.min, max: knob.max, value: choice.get(knob) ?? say('empty_value') });
    }
    box.setAttribute('aria-invalid', Boolean(wrong.textContent));
    changed();
    onChange();
  };
  box.addEventListener('input', take);
  slider?.addEventListener('input', () => {
    box.value = slider.value;
    take();
  });
  const standard = knob.value === null || knob.value === '' ? say('default_none') : say('default', { value: knob.value });
  const element = h('div.knob', {},
    h('label', { htmlFor: id }, say(knob.name), h('code', {}, knob.field)),
    h(`div.set${slider ? '.slides' : ''}`, {}, slider || null, box),
    h('p.hint', { id: `${id}-hint` }, `${say(`${knob.name}_hint`)} `, h('span.standard', {}, standard)),
    wrong);
  changed();
  return element;
}
