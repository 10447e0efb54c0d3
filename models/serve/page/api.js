// The HTTP API of the server that this page came from.

// A request that did not succeed. `kind` is its word in words.js: offline, token, model, context, busy, refused, draining, server, broken, trace, failed.
export class Failure extends Error {
  constructor(kind, message = '', more = {}) {
    super(message);
    Object.assign(this, { kind, ...more });
  }
}

async function call(path, { body, token, signal } = {}) {
  const headers = body ? { 'Content-Type': 'application/json' } : {};
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { method: body ? 'POST' : 'GET', headers, signal, body: body && JSON.stringify(body) });
  } catch (failure) {
    if (failure.name === 'AbortError') throw failure;
    throw new Failure('offline', failure.message);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const text = await response.text().catch(() => '');
  let error = {};
  try {
    const told = JSON.parse(text);
    error = told.error ?? { message: typeof told.detail === 'string' ? told.detail : JSON.stringify(told.detail ?? told) };
  } catch {
    error = { message: text.slice(0, 300) || response.statusText };
  }
  const wait = Number(response.headers.get('Retry-After')) || 1;
  return new Failure(kind(response.status, error.code), error.message ?? '', { status: response.status, code: error.code, wait });
}

function kind(status, code) {
  if (code === 'context_length_exceeded') return 'context';
  if (code === 'internal_error') return 'failed';
  if (status === 401) return 'token';
  if (status === 404) return 'model';
  if (status === 429) return 'busy';
  if (status === 503) return 'draining';
  return status < 500 ? 'refused' : 'server';
}

export async function models(token) {
  const listed = await (await call('v1/models', { token })).json();
  return listed.data ?? [];
}

// The pieces of an answer as they come: {text, logprobs, end, usage}, each where there is one.
export async function* answer(body, { token, signal }) {
  const asked = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await call('v1/chat/completions', { body: asked, token, signal });
  if (response.headers.get('Content-Type')?.includes('application/json')) {
    yield piece(await response.json());
    return;
  }
  for await (const event of events(response)) {
    if (event === '[DONE]') return;
    const chunk = JSON.parse(event);
    if (chunk.error) throw new Failure(kind(chunk.error.status ?? 500, chunk.error.code), chunk.error.message, { status: chunk.error.status ?? 500 });
    yield piece(chunk);
  }
  throw new Failure('broken');
}

function piece(chunk) {
  const choice = chunk.choices?.[0];
  const said = choice?.delta ?? choice?.message;
  return { text: said?.content ?? '', logprobs: choice?.logprobs?.content ?? [], end: choice?.finish_reason ?? '', usage: chunk.usage };
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      waiting += value;
      const whole = waiting.split(/\r?\n\r?\n/);
      waiting = whole.pop();
      for (const event of whole) {
        const data = event.split(/\r?\n/).filter((line) => line.startsWith('data:'));
        if (data.length) yield data.map((line) => line.slice(5).trimStart()).join('\n');
      }
    }
  } catch (failure) {
    if (failure.name === 'AbortError') throw failure;
    throw new Failure('broken', failure.message);
  } finally {
    reader.cancel().catch(() => {});
  }
}

// The passages of a model's answer that stand in its training rows. A `Failure` of the kind `trace` where the server cannot tell.
export async function trace(text, model, token) {
  try {
    return (await (await call('trace', { body: { text, model }, token })).json()).spans;
  } catch (failure) {
    if (failure.status === 404 && failure.code !== 'model_not_found') failure.kind = 'trace';
    throw failure;
  }
}
