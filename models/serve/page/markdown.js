// The little Markdown that answers have (headings, lists, tables, quotes, code, bold, italic) as elements. Links and HTML stay the text they are.
// Every text node is a slice of the source and knows where it begins, so that passages of an answer can be marked.
import { action, copy, h, say } from './dom.js';

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(?=\S)/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+•]|\d{1,9}[.)])\s+(?=\S)/;
const QUOTE = /^ {0,3}> ?/;
const DIVIDER = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const INLINE = /(`+)(.+?)\1(?!`)|(\*\*)(?=\S)(.+?)\3|(?<![\w*])(\*)(?=[^\s*])([^*\n]*[^\s*])\*(?![\w*])/gs;

const starts = new WeakMap(); // text node → where it begins in the source

class Reader {
  constructor(source) {
    this.source = source;
  }

  text(line) {
    return this.source.slice(line[0], line[1]);
  }

  slice(start, end) {
    const node = document.createTextNode(this.source.slice(start, end));
    starts.set(node, start);
    return node;
  }

  lines() {
    const lines = [];
    for (let start = 0; start <= this.source.length; ) {
      const found = this.source.indexOf('\n', start);
      const end = found < 0 ? this.source.length : found;
      lines.push([start, end]);
      start = end + 1;
    }
    return lines;
  }

  // Lines, each [start, end], as blocks: [lines taken, function that makes the element].
  *blocks(lines) {
    for (let at = 0; at < lines.length; ) {
      if (!this.text(lines[at]).trim()) {
        at += 1;
        continue;
      }
      const [count, make] = this.block(lines, at);
      yield [lines.slice(at, at + count), make];
      at += count;
    }
  }

  block(lines, at) {
    const text = this.text(lines[at]);
    const fence = FENCE.exec(text);
    if (fence) return this.fence(lines, at, fence);
    const heading = HEADING.exec(text);
    if (heading) {
      const [start, end] = lines[at];
      return [1, () => h(`h${Math.min(heading[1].length + 2, 6)}`, {}, this.inline(start + heading[0].length, end))];
    }
    if (RULE.test(text)) return [1, () => h('hr')];
    if (ITEM.test(text)) return this.list(lines, at);
    if (QUOTE.test(text)) {
      const taken = this.while(lines, at, (line) => QUOTE.test(line));
      const inner = taken.map(([start, end]) => [start + QUOTE.exec(this.source.slice(start, end))[0].length, end]);
      return [taken.length, () => h('blockquote', {}, this.elements(inner))];
    }
    if (text.includes('|') && lines[at + 1] && DIVIDER.test(this.text(lines[at + 1])) && this.text(lines[at + 1]).includes('-')) {
      const taken = this.while(lines, at, (line) => line.includes('|') || DIVIDER.test(line));
      return [taken.length, () => this.table(taken)];
    }
    const taken = this.while(lines, at, (line, number) => line.trim() && (number === at || !this.begins(line)));
    return [taken.length, () => h('p', {}, this.paragraph(taken))];
  }

  begins(line) {
    return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || ITEM.test(line) || QUOTE.test(line);
  }

  while(lines, at, test) {
    let end = at + 1;
    while (end < lines.length && test(this.text(lines[end]), end)) end += 1;
    return lines.slice(at, end);
  }

  elements(lines) {
    return [...this.blocks(lines)].map(([, make]) => make());
  }

  fence(lines, at, [, mark, language]) {
    let end = at + 1;
    const closes = (line) => line.trim().startsWith(mark) && !line.trim().slice(mark.length).replaceAll(mark[0], '');
    while (end < lines.length && !closes(this.text(lines[end]))) end += 1;
    const inner = lines.slice(at + 1, end);
    const make = () => {
      const code = h('code', {}, inner.map((line) => [this.slice(...line), '\n']));
      const whole = inner.map((line) => this.text(line)).join('\n');
      const name = h('span', {}, language.trim());
      const button = action('copy', say('copy'), async () => {
        if (await copy(whole)) button.lastChild.textContent = say('copied');
      }, { shown: true });
      return h('figure.code', {}, h('figcaption', {}, name, button), h('pre', { tabIndex: 0 }, code));
    };
    return [Math.min(end + 1, lines.length) - at, make];
  }

  list(lines, at) {
    const first = ITEM.exec(this.text(lines[at]));
    const indent = first[1].length;
    const ordered = /\d/.test(first[2]);
    const items = [];
    let end = at;
    for (; end < lines.length; end += 1) {
      const text = this.text(lines[end]);
      const item = ITEM.exec(text);
      const depth = /^\s*/.exec(text)[0].length;
      if (item && item[1].length <= indent + 1) {
        if (item[1].length < indent || /\d/.test(item[2]) !== ordered) break;
        items.push([[lines[end][0] + item[0].length, lines[end][1]]]);
      } else if (!text.trim()) {
        const next = lines[end + 1] && this.text(lines[end + 1]);
        if (!next || !(ITEM.test(next) || /^\s{2,}\S/.test(next))) break;
        items.at(-1).push(lines[end]);
      } else if (depth > indent || !this.begins(text)) {
        if (depth <= indent && !this.text(lines[end - 1]).trim()) break;
        items.at(-1).push([lines[end][0] + Math.min(depth, indent + first[2].length + 1), lines[end][1]]);
      } else break;
    }
    const make = () => {
      const start = ordered ? Number.parseInt(first[2], 10) : undefined;
      return h(ordered ? 'ol' : 'ul', { start }, items.map((inner) => h('li', {}, this.item(inner))));
    };
    return [end - at, make];
  }

  // A single paragraph of an item needs no element of its own.
  item(lines) {
    const found = this.elements(lines);
    return found.flatMap((node, at) => (at === 0 && node.tagName === 'P' ? [...node.childNodes] : [node]));
  }

  table(lines) {
    const cells = ([start, end]) => {
      const text = this.source.slice(start, end);
      const found = [];
      let from = /^\s*\|?/.exec(text)[0].length;
      const last = text.length - /\|?\s*$/.exec(text)[0].length;
      while (from <= last) {
        const bar = text.indexOf('|', from);
        const to = bar < 0 || bar > last ? last : bar;
        const inner = text.slice(from, to);
        const before = inner.length - inner.trimStart().length;
        found.push([start + from + before, start + from + Math.max(inner.trimEnd().length, before)]);
        from = to + 1;
      }
      return found;
    };
    const [head, divider, ...rows] = lines;
    const sides = cells(divider).map(([start, end]) => {
      const text = this.source.slice(start, end);
      return text.endsWith(':') ? (text.startsWith(':') ? 'middle' : 'right') : '';
    });
    const row = (tag, line) => h('tr', {}, cells(line).map(([start, end], at) => h(tag, { className: sides[at] ?? '' }, this.inline(start, end))));
    return h('div.table', { tabIndex: 0 }, h('table', {}, h('thead', {}, row('th', head)), h('tbody', {}, rows.map((line) => row('td', line)))));
  }

  // Lines that follow each other in the source are read as one, since bold may go over a line's end.
  paragraph(lines) {
    const runs = [];
    for (const [start, end] of lines) {
      if (runs.length && runs.at(-1)[1] + 1 === start) runs.at(-1)[1] = end;
      else runs.push([start, end]);
    }
    return runs.flatMap(([start, end], at) => [...(at ? ['\n'] : []), ...this.inline(start, end)]);
  }

  inline(start, end) {
    const nodes = [];
    let from = start;
    for (const found of this.source.slice(start, end).matchAll(INLINE)) {
      const at = start + found.index;
      if (at > from) nodes.push(this.slice(from, at));
      const [whole, ticks, , strong] = found;
      const mark = (ticks ?? strong ?? '*').length;
      from = at + whole.length;
      const inside = [at + mark, from - mark];
      if (ticks) nodes.push(h('code', {}, this.slice(...inside)));
      else nodes.push(h(strong ? 'strong' : 'em', {}, this.inline(...inside)));
    }
    if (from < end) nodes.push(this.slice(from, end));
    return nodes;
  }
}

// Draw a text that may have grown since it was last drawn here. Blocks that did not change stay as they are, and with them a selection.
export function draw(node, source) {
  const reader = new Reader(source);
  const before = node.drawn ?? [];
  const after = [];
  let same = true;
  for (const [lines, make] of reader.blocks(reader.lines())) {
    const text = source.slice(lines[0][0], lines.at(-1)[1]);
    const old = before[after.length];
    same = same && old?.text === text && old.start === lines[0][0];
    after.push(same ? old : { text, start: lines[0][0], element: make() });
  }
  before.filter((block) => !after.includes(block)).forEach((block) => block.element.remove());
  after.filter((block) => !before.includes(block)).forEach((block) => node.append(block.element));
  node.drawn = after;
}

export function redraw(node, source) {
  node.replaceChildren();
  node.drawn = [];
  draw(node, source);
}

// Mark passages, each [start, end) of the source, with elements that `make` gives for a passage's number.
export function mark(node, passages, make) {
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) if (starts.has(walker.currentNode)) texts.push(walker.currentNode);
  for (const text of texts) {
    const start = starts.get(text);
    const cuts = passages.map(([from, to], number) => [Math.max(from, start), Math.min(to, start + text.length), number]);
    let done = start;
    const parts = [];
    for (const [from, to, number] of cuts.filter(([a, b]) => a < b).sort((a, b) => a[0] - b[0])) {
      const begin = Math.max(from, done); // of passages that overlap, the first has the text
      if (begin >= to) continue;
      if (begin > done) parts.push(text.data.slice(done - start, begin - start));
      const inside = make(number);
      inside.append(text.data.slice(begin - start, to - start));
      parts.push(inside);
      done = to;
    }
    if (parts.length) text.replaceWith(...parts, text.data.slice(done - start));
  }
}

// Where the characters of a text (code points, as Python counts them) begin in JavaScript's count.
export function places(text) {
  const found = [];
  let at = 0;
  for (const character of text) {
    found.push(at);
    at += character.length;
  }
  return [...found, at];
}
