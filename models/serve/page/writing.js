// The writing of an answer: the request, the pieces as they come, and how it ended.
import * as api from './api.js';
import * as history from './history.js';

const SAVE_EVERY = 1500; // milliseconds between two saves of an answer that is being written

const running = new Map(); // answer's id → {control, talk, answer}

export const isRunning = (answer) => running.has(answer?.id);
export const runs = (talk) => talk.turns.flatMap((turn) => turn.lanes.flatMap((lane) => lane.versions)).filter(isRunning);

export function halt(answers) {
  for (const answer of answers) running.get(answer.id)?.control.abort();
}

// The page is left: what is being written stays as it is.
export function interrupt() {
  for (const { talk, answer } of running.values()) {
    answer.end = 'interrupted';
    history.save(talk);
  }
}

export function begun(model) {
  return {
    id: history.identity(), model, text: '', end: '', seed: null, tokens: null, speed: null, first: null, leftOut: 0, error: null, likely: null,
  };
}

// Write an answer, or more of one that was cut off. `fields` are the decoding fields of the request; `onChange(answer)` draws what is there.
// Where the conversation outgrows the model's context, its oldest exchanges are left out, as `hanlin chat` does.
export async function write(talk, turn, lane, answer, { fields, token, onChange, more = false }) {
  const control = new AbortController();
  running.set(answer.id, { control, talk, answer });
  Object.assign(answer, { end: '', error: null, seed: fields.seed ?? null });
  const clock = new Clock(answer);
  let saved = performance.now();
  const already = more ? answer.text : '';
  onChange(answer);
  try {
    for (;;) {
      const { messages, exchanges } = history.messages(talk, turn, lane, answer.leftOut);
      const body = { model: answer.model, messages, ...fields };
      if (more) Object.assign(body, { messages: [...messages, history.message('assistant', already)], continue_final_message: true });
      try {
        for await (const piece of api.answer(body, { token, signal: control.signal })) {
          clock.take(piece);
          answer.text += piece.text;
          if (piece.logprobs.length) (answer.likely ??= []).push(...piece.logprobs.map(likely));
          if (piece.end) answer.end = piece.end;
          onChange(answer);
          if (performance.now() - saved > SAVE_EVERY) {
            history.save(talk);
            saved = performance.now();
          }
        }
        break;
      } catch (failure) {
        if (failure.kind !== 'context' || answer.leftOut >= exchanges) throw failure;
        answer.leftOut += 1;
      }
    }
    answer.end ||= 'stop';
  } catch (failure) {
    if (failure.name === 'AbortError') answer.end = 'stopped';
    else if (answer.end !== 'interrupted') {
      const { kind = 'server', message, status = null, wait = null } = failure;
      answer.end = 'error';
      answer.error = { kind, message, status, wait };
      if (!('kind' in failure)) console.error(failure);
    }
  }
  clock.end();
  running.delete(answer.id);
  talk.changed = Date.now();
  history.save(talk);
  onChange(answer);
}

const likely = (one) => [one.token, one.logprob, (one.top_logprobs ?? []).map((other) => [other.token, other.logprob])];

// Time to the first token, and tokens per second after it.
class Clock {
  constructor(answer) {
    this.answer = answer;
    this.asked = performance.now();
    this.pieces = 0;
    this.before = answer.tokens ?? 0; // of the part that is continued
    Object.assign(answer, { first: null, speed: null });
  }

  take({ text, usage }) {
    if (text) {
      this.pieces += 1;
      this.last = performance.now();
      this.begun ??= this.last;
      this.answer.first ??= (this.begun - this.asked) / 1000;
    }
    if (usage) this.count = usage.completion_tokens;
  }

  // Without a count from the server, which an answer that was stopped has not, pieces are counted: about one a token.
  end() {
    const tokens = this.count ?? this.pieces;
    this.answer.tokens = this.before + tokens;
    const seconds = (this.last - this.begun) / 1000;
    if (tokens > 1 && seconds > 0) this.answer.speed = (tokens - 1) / seconds;
    else if (tokens > 1 && this.begun) this.answer.speed = tokens / ((this.begun - this.asked) / 1000); // all at once, as beams come
  }
}
