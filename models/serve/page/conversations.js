// The list of conversations: opened, renamed, deleted, exported and imported.
import { action, download, h, say } from './dom.js';
import * as history from './history.js';
import { sends } from './thread.js';
import { halt, runs } from './writing.js';

const DAY = 864e5; // milliseconds

export class Conversations {
  // `acts`: current(), choose(conversation), begin(), tell(text, offer, act).
  constructor(node, acts) {
    this.node = node;
    this.acts = acts;
  }

  show() {
    const day = (time) => new Date(time).toDateString();
    const groups = { today: [], yesterday: [], earlier: [] };
    for (const talk of history.all()) {
      const name = day(talk.changed) === day(Date.now()) ? 'today' : day(talk.changed) === day(Date.now() - DAY) ? 'yesterday' : 'earlier';
      groups[name].push(talk);
    }
    const filled = Object.entries(groups).filter(([, talks]) => talks.length);
    const parts = filled.flatMap(([name, talks]) => [h('h2', {}, say(name)), h('ul', {}, talks.map((talk) => this.entry(talk)))]);
    this.node.replaceChildren(...(parts.length ? parts : [h('p.hint', {}, say('none_yet'))]));
  }

  entry(talk) {
    const here = talk.id === this.acts.current().id;
    const title = talk.title || say('new');
    const acts = h('div.acts', { hidden: true },
      action('edit', say('rename'), () => this.rename(talk, item), { shown: true }),
      action('export', say('export'), () => save([talk], talk.title), { shown: true }),
      action('delete', say('delete'), () => this.remove(talk), { shown: true }));
    const more = action('more', say('more', { title }), () => {
      acts.hidden = !acts.hidden;
      more.setAttribute('aria-expanded', !acts.hidden);
    }, { 'aria-expanded': 'false' });
    const open = h('button.open', { type: 'button', 'aria-current': here ? 'true' : null, onclick: () => this.acts.choose(talk) }, title);
    const item = h(`li${here ? '.here' : ''}${runs(talk).length ? '.busy' : ''}`, {}, h('div', {}, open, more), acts);
    return item;
  }

  rename(talk, item) {
    const field = h('input', { value: talk.title, maxLength: 80, 'aria-label': say('rename_label') });
    let open = true;
    const close = (title) => {
      if (!open) return;
      open = false;
      if (title.trim()) {
        Object.assign(talk, { title: title.trim(), named: true });
        history.save(talk);
      }
      this.show();
    };
    field.addEventListener('keydown', (event) => {
      if (sends(event)) close(field.value);
      else if (event.key === 'Escape') {
        event.stopPropagation();
        close('');
      }
    });
    field.addEventListener('blur', () => close(field.value));
    item.replaceChildren(field);
    field.focus();
    field.select();
  }

  remove(talk) {
    halt(runs(talk));
    history.remove(talk);
    if (talk.id === this.acts.current().id) this.acts.begin();
    else this.show();
    this.acts.tell(say('deleted'), say('undo'), () => {
      history.save(talk);
      this.show();
    });
  }

  async load(field) {
    const [file] = field.files;
    if (!file) return;
    try {
      const found = history.take(await file.text(), say('import_form'));
      this.acts.tell(say('imported', { n: found.length }));
      this.acts.choose(found[0]);
    } catch (failure) {
      this.acts.tell(say('import_failed', { file: file.name, why: failure.message }));
    }
    field.value = '';
  }
}

export function save(talks, name = '') {
  const plain = name.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '').slice(0, 40);
  download(`hanlin${plain ? `-${plain}` : ''}.json`, history.exported(talks));
}
