// Tries every control of the web page of `hanlin serve`, for `page.py`: node page.mjs ADDRESS GUARDED TOKEN FOLDER [CHECK …]. GUARDED is a second
// server of the same models, which wants TOKEN. One JSON object a line for each check; pictures of the page go to FOLDER.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

const [, , address, guarded, secret, folder, ...wanted] = process.argv;
const { chromium } = createRequire(`${process.env.PLAYWRIGHT_HOME}/`)('playwright-core');
const quiet = ['--no-sandbox', '--disable-gpu', '--disable-background-networking'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: quiet });
const WIDE = { width: 1280, height: 860 };
const PHONE = { width: 390, height: 844 };
const CHAT = '**/v1/chat/completions';
let complaints = []; // of the pages: errors in scripts, violations of the policy, requests to other servers

async function open({ url = address, size = WIDE, locale = 'en-US', context = null, ...given } = {}) {
  context ??= await browser.newContext({ viewport: size, locale, acceptDownloads: true, permissions: ['clipboard-read', 'clipboard-write'], ...given });
  context.setDefaultTimeout(30_000);
  const page = await context.newPage();
  page.bodies = []; // of the requests for answers
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => /Content Security|Refused/.test(message.text()) && complaints.push(message.text()));
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !/^(blob|data):/.test(request.url())) complaints.push(request.url());
    if (request.url().endsWith('/v1/chat/completions')) page.bodies.push(request.postDataJSON());
  });
  await page.goto(url);
  await page.locator('#model:enabled, #notice p').first().waitFor();
  return page;
}

const button = (page, name) => page.getByRole('button', { name, exact: true });
const answers = (page) => page.locator('.answer .text');
const over = (page) => page.locator('#halt').waitFor({ state: 'hidden' });
const textOf = (page, at = -1) => answers(page).nth(at).innerText();

async function ask(page, text) {
  await page.fill('#message', text);
  await page.press('#message', 'Enter');
  await page.locator('.turn').last().getByText(text, { exact: true }).waitFor();
  await over(page);
}

async function settings(page, values, mode = null) {
  if (await page.locator('#settings').isHidden()) await page.click('#open-settings');
  if (mode) await page.locator('.modes').getByText(mode, { exact: true }).click();
  if (!(await page.locator('#knobs details').getAttribute('open').then((open) => open !== null))) await page.locator('#knobs summary').click();
  for (const [name, value] of Object.entries(values)) await page.fill(`#knob-${name}`, String(value));
}

// An answer that does not end before the context is full: the tokens that end one are forbidden.
const endless = (page) => settings(page, { logit_bias: '1: -100\n3: -100' });

// Answer the next requests ourselves: what no server of ours does when asked, such as to break.
const instead = (page, answer) => page.route(CHAT, (route) => (answer === 'gone' ? route.abort() : route.fulfill(answer)));
const refusal = (status, error, headers = {}) => ({ status, headers, json: { error: { type: 'x', param: null, code: null, ...error } } });
const chunk = (choice, more = {}) => `data: ${JSON.stringify({ choices: choice ? [{ index: 0, ...choice }] : [], ...more })}\n\n`;
const stream = (text, end = true) => ({ contentType: 'text/event-stream', body: chunk({ delta: { content: text } }) + (end ? `${chunk({ delta: {}, finish_reason: 'stop' })}data: [DONE]\n\n` : '') });

const checks = {
  async 'the page alone'() {
    const page = await open();
    const headers = (await page.request.get(address)).headers();
    assert.match(headers['content-security-policy'], /default-src 'self'/);
    assert.equal(await page.title(), 'Hanlin');
    const models = await page.locator('#model option').allTextContents();
    assert.ok(models.length >= 2, 'two models are served');
    return { models };
  },

  async 'an answer streams, with its figures'() {
    const page = await open();
    await page.evaluate(() => {
      window.states = new Set();
      new MutationObserver(() => window.states.add(document.querySelector('.answer .text')?.innerText)).observe(document.body, { subtree: true, childList: true, characterData: true });
    });
    await ask(page, '介绍一下长江。');
    const states = await page.evaluate(() => window.states.size);
    assert.ok(states > 3, `drawn ${states} times`);
    const facts = await page.locator('.facts').innerText();
    assert.match(facts, /\d+ tokens?/);
    assert.match(facts, /tokens\/s/);
    assert.match(facts, /first after [\d.]+ s/);
    assert.match(facts, /seed \d+/);
    assert.equal(page.bodies[0].stream_options.include_usage, true);
    assert.match(await page.locator('#spoken').textContent(), /: ./);
    return { states, facts };
  },

  async 'Enter sends; Shift+Enter and Enter in an input method do not'() {
    const page = await open();
    await page.focus('#message');
    await page.keyboard.type('一');
    await page.keyboard.press('Shift+Enter');
    await page.keyboard.type('二');
    const cdp = await page.context().newCDPSession(page);
    const key = { type: 'rawKeyDown', key: 'Enter', code: 'Enter', windowsVirtualKeyCode: 229 };
    await page.evaluate(() => document.querySelector('#message').addEventListener('keydown', (event) => (window.composing = [event.isComposing, event.keyCode])));
    await cdp.send('Input.imeSetComposition', { text: 'nihao', selectionStart: 5, selectionEnd: 5 });
    await cdp.send('Input.dispatchKeyEvent', key);
    assert.equal(page.bodies.length, 0, 'Enter in an input method was sent');
    await cdp.send('Input.insertText', { text: '你好' });
    const composing = await page.evaluate(() => window.composing);
    assert.equal(await page.inputValue('#message'), '一\n二你好');
    await page.keyboard.press('Enter');
    await page.locator('.turn').waitFor();
    assert.equal(page.bodies[0].messages.at(-1).content, '一\n二你好');
    return { composing };
  },

  async 'Stop, by its button and by Escape'() {
    const page = await open();
    await endless(page);
    for (const how of ['button', 'Escape']) {
      const [before, text] = [await answers(page).count(), `问题 ${how}`];
      await page.fill('#message', text);
      await page.press('#message', 'Enter');
      await page.waitForFunction((count) => document.querySelectorAll('.answer .text')[count]?.innerText, before);
      if (how === 'button') await page.click('#halt');
      else await page.keyboard.press('Escape');
      await over(page);
      await page.getByText('Stopped by you.').nth(before).waitFor();
      assert.ok(await textOf(page), 'what was there is kept');
    }
    return { kept: (await textOf(page)).length };
  },

  async 'Regenerate, and paging through versions'() {
    const page = await open();
    await ask(page, '你好');
    await ask(page, '再见');
    await button(page.locator('.answer').first(), 'Regenerate').click();
    await over(page);
    assert.equal(await page.locator('.turn').count(), 1, 'what followed the other version is in its branch');
    assert.match(await page.locator('.answer .pager').innerText(), /2\/2/);
    await button(page, 'Earlier version').click();
    assert.equal(await page.locator('.turn').count(), 2);
    const first = await textOf(page, 0);
    await button(page, 'Later version').click();
    assert.match(await page.locator('.answer .pager').innerText(), /2\/2/);
    await page.reload();
    await page.locator('.pager').waitFor();
    return { first: first.length, second: (await textOf(page, 0)).length };
  },

  async 'Edit of a question begins a branch'() {
    const page = await open();
    await ask(page, '第一问');
    await ask(page, '第二问');
    await page.locator('.question').first().hover();
    await button(page.locator('.question').first(), 'Edit').click();
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('.editor').count(), 0, 'Escape leaves it as it was');
    await button(page.locator('.question').first(), 'Edit').click();
    await page.locator('.editor textarea').fill('改过的问题');
    await button(page, 'Ask').click();
    await page.getByText('改过的问题').first().waitFor();
    await over(page);
    assert.equal(await page.locator('.turn').count(), 1);
    assert.equal(page.bodies.at(-1).messages.length, 1);
    await button(page.locator('.question'), 'Earlier version').click();
    assert.deepEqual(await page.locator('.said').allTextContents(), ['第一问', '第二问']);
  },

  async 'Delete an answer, a question; Undo'() {
    const page = await open();
    await ask(page, '第一问');
    await ask(page, '第二问');
    await button(page.locator('.answer').first(), 'Delete').click();
    await page.getByText('No answer is left here.').waitFor();
    assert.equal(await page.locator('.turn').count(), 1);
    await button(page, 'Undo').click();
    assert.equal(await page.locator('.turn').count(), 2);
    await page.locator('.question').first().hover();
    await button(page.locator('.question').first(), 'Delete').click();
    assert.equal(await page.locator('.turn').count(), 0);
    await button(page, 'Undo').click();
    assert.equal(await page.locator('.turn').count(), 2);
    await page.reload();
    assert.equal(await page.locator('.turn').count(), 2);
  },

  async 'Copy of an answer, a question, code'() {
    const page = await open();
    const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
    await instead(page, stream('看：\n\n```python\nprint("你好")\n```\n'));
    await ask(page, '抄写');
    await button(page.locator('.foot'), 'Copy').click();
    assert.equal(await clipboard(), '看：\n\n```python\nprint("你好")\n```\n');
    await button(page.locator('.code'), 'Copy').click();
    await page.locator('.code').getByText('Copied').waitFor();
    assert.equal(await clipboard(), 'print("你好")');
    await page.locator('.question').hover();
    await button(page.locator('.question'), 'Copy').click();
    await page.waitForFunction(async () => (await navigator.clipboard.readText()) === '抄写');
  },

  async 'the list: new, open, rename, delete, undo'() {
    const page = await open();
    await ask(page, '甲');
    await page.click('#new');
    await ask(page, '乙');
    const titles = () => page.locator('#list .open').allTextContents();
    assert.deepEqual(await titles(), ['乙', '甲']);
    await button(page, '甲').click();
    assert.equal(await page.locator('.said').textContent(), '甲');
    await button(page, 'More about “甲”').click();
    await button(page.locator('#list'), 'Rename').click();
    await page.keyboard.type('新名字');
    await page.keyboard.press('Enter');
    assert.deepEqual(await titles(), ['乙', '新名字']);
    await page.reload();
    assert.equal(await page.locator('.said').textContent(), '甲', 'the address names the conversation');
    await button(page, 'More about “新名字”').click();
    await button(page.locator('#list'), 'Delete').click();
    assert.deepEqual(await titles(), ['乙']);
    await button(page, 'Undo').click();
    assert.deepEqual(await titles(), ['乙', '新名字']);
  },

  async 'Export and Import'() {
    const page = await open();
    await ask(page, '带走我');
    const said = await textOf(page);
    const [file] = await Promise.all([page.waitForEvent('download'), page.click('#export')]);
    const path = await file.path();
    const other = await open();
    await other.setInputFiles('#file', path);
    await other.getByText('1 conversation imported').waitFor();
    assert.equal(await textOf(other), said);
    for (const [name, text] of [['none.json', '{"a": 1}'], ['broken.json', '{'], ['evil.json', '{"format": "hanlin-conversations", "conversations": [{"id": 7}]}']]) {
      await other.setInputFiles('#file', { name, mimeType: 'application/json', buffer: Buffer.from(text) });
      await other.getByText(`${name} could not be read`).waitFor();
    }
    await button(page, 'More about “带走我”').click();
    const [one] = await Promise.all([page.waitForEvent('download'), button(page.locator('#list'), 'Export').click()]);
    return { files: [file.suggestedFilename(), one.suggestedFilename()], bytes: (await readFile(path)).length };
  },

  async 'a full storage is said, and the conversation goes on'() {
    const page = await open();
    await page.evaluate(() => {
      for (let size = 1 << 22; size; size >>= 1) try { for (let n = 0; ; n += 1) localStorage.setItem(`fill-${size}-${n}`, 'x'.repeat(size)); } catch { /* full */ }
    });
    await ask(page, '还能说话吗');
    await page.getByText('storage is full').waitFor();
    assert.ok(await textOf(page));
  },

  async 'unsent text survives a reload'() {
    const page = await open();
    await page.fill('#message', '没写完的话');
    await page.reload();
    assert.equal(await page.inputValue('#message'), '没写完的话');
    await page.press('#message', 'Enter');
    await page.locator('.turn').waitFor();
    await page.reload();
    assert.equal(await page.inputValue('#message'), '');
  },

  async 'a page that is closed while an answer is written keeps what was there'() {
    const page = await open();
    await endless(page);
    await page.fill('#message', '写到一半');
    await page.press('#message', 'Enter');
    await page.waitForFunction(() => document.querySelector('.answer .text')?.innerText);
    await page.reload();
    await page.getByText('Interrupted').waitFor();
    assert.ok(await textOf(page));
  },

  async 'the system prompt'() {
    const page = await open();
    await page.click('#open-settings');
    await page.fill('#system', '你是诗人。');
    await ask(page, '写诗');
    assert.deepEqual(page.bodies[0].messages[0], { role: 'system', content: '你是诗人。' });
    await page.click('#close-settings');
    assert.ok(await page.locator('#settings').isHidden());
  },

  async 'every knob of every mode reaches the server, which takes it'() {
    const page = await open();
    const all = { max_tokens: 5, repetition_penalty: 1.1, presence_penalty: 0.2, frequency_penalty: 0.3, seed: 7, stop: '甲\n乙', logit_bias: '5: -100\n6：2.5', alternatives: 2 };
    const modes = {
      Greedy: [{}, { temperature: 0 }],
      Sampling: [{ temperature: 0.9, top_p: 0.8, top_k: 20 }, { temperature: 0.9, top_p: 0.8, top_k: 20 }],
      Beam: [{ beams: 3, length_penalty: 1.2 }, { temperature: 0, beams: 3, length_penalty: 1.2 }],
      Contrastive: [{ contrastive_alpha: 0.5, candidates: 5 }, { temperature: 0, contrastive_alpha: 0.5, top_k: 5 }],
    };
    const told = { max_tokens: 5, repetition_penalty: 1.1, presence_penalty: 0.2, frequency_penalty: 0.3, seed: 7, stop: ['甲', '乙'], logit_bias: { 5: -100, 6: 2.5 }, logprobs: true, top_logprobs: 2 };
    const refused = {};
    for (const [mode, [values, fields]] of Object.entries(modes)) {
      await settings(page, { ...all, ...values }, mode);
      await ask(page, mode);
      const { model, messages, stream: streamed, stream_options: options, ...sent } = page.bodies.at(-1);
      assert.ok(model && messages && streamed && options);
      assert.deepEqual(sent, { ...told, ...fields }, mode);
      const failure = page.locator('.turn').last().locator('.failure');
      if (await failure.count()) refused[mode] = await failure.locator('p').innerText();
    }
    await page.reload();
    assert.equal(await page.inputValue('#knob-candidates'), '5', 'knobs are kept');
    await page.locator('#knobs input[type=range]').filter({ visible: true }).first().fill('0.3');
    assert.equal(await page.inputValue('#knob-contrastive_alpha'), '0.3', 'the slider is the same knob');
    await page.click('#reset');
    await ask(page, '默认');
    const { model, messages, stream: streamed, stream_options: options, seed, ...sent } = page.bodies.at(-1);
    assert.deepEqual(sent, { temperature: 0.7, top_p: 0.9, top_k: 0, max_tokens: 512, repetition_penalty: 1, presence_penalty: 0, frequency_penalty: 0 });
    assert.ok(Number.isInteger(seed));
    assert.deepEqual(refused, {});
  },

  async 'a value that cannot be is told at its knob, and not used'() {
    const page = await open();
    await settings(page, { temperature: 9, seed: 1.5, logit_bias: '你好: 3', max_tokens: 0 });
    for (const name of ['temperature', 'seed', 'logit_bias', 'max_tokens']) {
      assert.equal(await page.getAttribute(`#knob-${name}`, 'aria-invalid'), 'true', name);
      assert.ok(await page.locator(`#knob-${name}-wrong`).innerText(), name);
    }
    await ask(page, '可以吗');
    const { temperature, max_tokens: longest, logit_bias: bias } = page.bodies[0];
    assert.deepEqual([temperature, longest, bias], [0.7, 512, {}]);
    return { said: await page.locator('#knob-temperature-wrong').innerText() };
  },

  async 'the token: wanted, entered, kept only when asked'() {
    const page = await open({ url: guarded });
    await page.getByText('The server wants a token').waitFor();
    await page.screenshot({ path: `${folder}/token.png` });
    await button(page, 'Enter the token').click();
    await page.keyboard.type('wrong');
    await page.keyboard.press('Enter');
    await page.getByText('The server wants a token').waitFor();
    await page.fill('#token', secret);
    await page.press('#token', 'Enter');
    await page.locator('#model:enabled').waitFor();
    await ask(page, '让我进来');
    assert.ok(await textOf(page));
    const kept = () => page.evaluate((token) => Object.values(localStorage).join().includes(token), secret);
    assert.equal(await kept(), false, 'not kept unasked');
    await page.check('#remember');
    assert.equal(await kept(), true);
    await page.reload();
    await page.locator('#model:enabled').waitFor();
    await page.uncheck('#remember');
    assert.equal(await kept(), false);
  },

  async 'the choice of a model, and two side by side'() {
    const page = await open();
    const models = await page.locator('#model option').allTextContents();
    await settings(page, { temperature: 0.2 });
    await page.click('#close-settings');
    await page.selectOption('#model', models[1]);
    await ask(page, '程九思的职业是什么？');
    assert.equal(page.bodies[0].model, models[1]);
    await page.selectOption('#model', models[0]);
    await button(page, 'Ask two models').click();
    await page.selectOption('#second', models[1]);
    await ask(page, '程九思是哪里人？');
    assert.deepEqual(page.bodies.slice(1).map((body) => body.model), models.slice(0, 2));
    assert.deepEqual(await page.locator('.turn').last().locator('.by .name').allTextContents(), models.slice(0, 2));
    await ask(page, '柏湾崖山有什么珍稀动物？');
    const [one, two] = page.bodies.slice(3).map((body) => body.messages.at(-2).content);
    assert.deepEqual([one, two], await Promise.all([0, 1].map((lane) => page.evaluate((at) => JSON.parse(Object.entries(localStorage).find(([key]) => key.startsWith('hanlin.talk'))[1]).turns[1].lanes[at].versions[0].text, lane))), 'each reads its own answers');
    await page.screenshot({ path: `${folder}/two.png` });
    await button(page.locator('.turn').last().locator('.answer').nth(1), 'Regenerate').click();
    await over(page);
    assert.equal(page.bodies.at(-1).model, models[1]);
  },

  async 'an answer that is cut off goes on'() {
    const page = await open();
    await settings(page, { max_tokens: 6 }, 'Greedy');
    await ask(page, '介绍一下黄河。');
    await page.getByText('Cut off').waitFor();
    const before = await textOf(page);
    await button(page, 'Continue').click();
    await over(page);
    const after = await textOf(page);
    assert.ok(after.startsWith(before) && after.length > before.length, `${before} → ${after}`);
    await settings(page, { max_tokens: 12 });
    await button(page, 'Regenerate').click();
    await over(page);
    assert.equal(await textOf(page), after, 'two parts are what one answer of their length is');
    return { before, after };
  },

  async 'failures are told where they happened, with what to do'() {
    const page = await open();
    const cases = [
      ['gone', 'does not answer', 'Try again'],
      [refusal(429, { message: 'full' }, { 'Retry-After': '3' }), 'Try again in 3 s', 'Try again'],
      [refusal(500, { message: 'it broke' }), 'failed (500): it broke', 'Try again'],
      [refusal(503, { message: 'draining' }), 'shutting down', 'Try again'],
      [refusal(400, { message: 'top_p: at most 1' }), 'top_p: at most 1', 'Open the settings'],
      [stream('半句话', false), 'connection broke', 'Continue'],
    ];
    const said = [];
    for (const [answer, words, remedy] of cases) {
      await instead(page, answer);
      await ask(page, `试 ${words}`);
      const failure = page.locator('.turn').last().locator('.failure');
      await failure.getByText(words).waitFor();
      await button(failure, remedy).waitFor();
      said.push(await failure.locator('p').innerText());
      await page.unroute(CHAT);
    }
    await page.screenshot({ path: `${folder}/failures.png` });
    await button(page.locator('.turn').last(), 'Try again').click();
    await over(page);
    assert.equal(await page.locator('.turn').last().locator('.failure').count(), 0);
    await page.locator('#model').evaluate((node) => (node.options[0].value = 'no-such-model'));
    await page.locator('#model').evaluate((node) => node.dispatchEvent(new Event('change')));
    await ask(page, '没有的模型');
    await page.locator('.failure').getByText('does not serve no-such-model').waitFor();
    await ask(page, '长'.repeat(60_000).slice(0, 40_000));
    await page.locator('.turn').last().getByText('does not fit').waitFor();
    return { said };
  },

  async 'a conversation that outgrows the context loses its oldest exchanges, and says so'() {
    const page = await open();
    await settings(page, { max_tokens: 60 });
    for (let n = 0; n < 12 && !(await page.getByText('were left out').or(page.getByText('was left out')).count()); n += 1) await ask(page, `第 ${n} 个问题：请介绍一下中国的河流和山脉。`);
    const note = await page.getByText(/(was|were) left out/).first().innerText();
    assert.ok(await textOf(page));
    return { note };
  },

  async 'the page follows an answer only at its end'() {
    const page = await open({ size: { width: 1280, height: 500 } });
    for (let n = 0; n < 3; n += 1) await ask(page, `问 ${n}`);
    const place = () => page.locator('#scroll').evaluate((node) => [node.scrollTop, node.scrollHeight - node.scrollTop - node.clientHeight]);
    assert.ok((await place())[1] < 48, 'at the end');
    await page.fill('#message', '再问');
    await page.press('#message', 'Enter');
    await page.locator('#halt').waitFor();
    await page.locator('#scroll').evaluate((node) => (node.scrollTop = 0));
    await over(page);
    assert.equal((await place())[0], 0, 'stays where the reader is');
    await page.click('#to-end');
    assert.ok((await place())[1] < 48);
    assert.ok(await page.locator('#to-end').isHidden());
  },

  async 'Markdown by nodes, never HTML'() {
    const page = await open();
    const text = '## 标题\n\n- 甲\n  - 乙\n- **粗**\n\n| 河 | 长 |\n|---|--:|\n| 长江 | 6300 |\n\n<img src=x onerror="document.title=1"> <script>document.title=2</script> [x](javascript:alert(1))\n\n```html\n<b>\n```';
    await instead(page, stream(text));
    await ask(page, '排版');
    const found = await page.locator('.text').evaluate((node) => Object.fromEntries(['h4', 'ul ul', 'strong', 'td.right', 'pre code', 'img', 'script', 'a', 'b'].map((one) => [one, node.querySelectorAll(one).length])));
    assert.deepEqual(found, { h4: 1, 'ul ul': 1, strong: 1, 'td.right': 1, 'pre code': 1, img: 0, script: 0, a: 0, b: 0 });
    assert.match(await textOf(page), /<script>document.title=2<\/script>/);
    assert.equal(await page.title(), 'Hanlin');
  },

  async 'Where from?'() {
    const page = await open();
    const text = '🀄开头。长江是中国**最长的**河流。';
    await ask(page, '程九思的职业是什么？');
    await button(page, 'Where from?').click();
    const told = page.locator('.extra .failure, .sources, .extra .hint:not(:has-text("Looking"))').first();
    await told.waitFor();
    const real = await told.innerText();
    await page.click('#new');
    await instead(page, stream(text));
    await ask(page, '来源');
    await page.route('**/trace', (route) => route.fulfill(refusal(404, { message: 'no index; `hanlin trace` makes one', code: 'not_traceable' })));
    await button(page, 'Where from?').click();
    await page.locator('.failure code').getByText('hanlin trace').waitFor();
    await button(page, 'Hide sources').click();
    await page.unroute('**/trace');
    const passage = '是中国**最长的**河流';
    const start = [...text].join('\0').split('\0').indexOf('是'); // Python counts characters
    const rows = [{ source: 'zhwiki', licence: 'CC BY-SA 4.0', stage: 'pretrain', row: '18', part: 'text', excerpt: `……${passage}……` }, { source: 'belle', licence: null, stage: 'sft', row: '7', part: 'assistant', excerpt: passage }];
    await page.route('**/trace', (route) => {
      assert.equal(route.request().postDataJSON().text, text);
      assert.ok(route.request().postDataJSON().model);
      return route.fulfill({ json: { spans: [{ start, end: start + passage.length, text: passage, count: 9, rows }] } });
    });
    await button(page, 'Where from?').click();
    await page.getByText('1 passage stands').waitFor();
    assert.equal((await page.locator('.text .passage').allTextContents()).join(''), '是中国最长的河流');
    assert.match(await page.locator('.sources').innerText(), /pretrain[\s\S]*zhwiki[\s\S]*CC BY-SA 4.0[\s\S]*row 18[\s\S]*sft[\s\S]*belle[\s\S]*not stated[\s\S]*answer[\s\S]*and in 7 more places/);
    await page.locator('.passage').first().focus();
    await page.keyboard.press('Enter');
    assert.equal(await page.locator('.sources li.chosen').count(), 1);
    await page.screenshot({ path: `${folder}/trace.png` });
    await button(page, 'Hide sources').click();
    assert.equal(await page.locator('.passage').count(), 0);
    return { real };
  },

  async 'the tokens of an answer, with what else was likely'() {
    const page = await open();
    await settings(page, { alternatives: 3, max_tokens: 8 });
    await ask(page, '你好');
    await button(page, 'Tokens').click();
    const count = await page.locator('.token').count();
    assert.ok(count > 1 && count <= 8);
    await page.locator('.token').nth(1).click();
    const others = await page.locator('.other').count();
    assert.ok(others >= 3 && others <= 4);
    await button(page, 'Hide tokens').click();
    assert.ok(await answers(page).isVisible());
    return { count };
  },

  async 'languages: the browser’s, and a switch'() {
    const page = await open({ locale: 'zh-CN' });
    assert.equal(await page.getAttribute('html', 'lang'), 'zh-Hans');
    assert.equal(await page.getAttribute('#message', 'placeholder'), '说点什么');
    await page.selectOption('#language', 'en');
    assert.equal(await page.getAttribute('#message', 'placeholder'), 'Ask something');
    await page.reload();
    assert.equal(await page.getAttribute('html', 'lang'), 'en');
  },

  async 'light and dark: the system’s, and a switch'() {
    const page = await open({ colorScheme: 'dark' });
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await ground();
    await page.selectOption('#theme', 'light');
    const light = await ground();
    assert.notEqual(dark, light);
    await page.reload();
    assert.equal(await ground(), light);
    await page.selectOption('#theme', 'auto');
    assert.equal(await ground(), dark);
    await page.emulateMedia({ colorScheme: 'light' });
    assert.equal(await ground(), light);
    return { light, dark };
  },

  async 'a phone: drawers, and nothing wider than the screen'() {
    const page = await open({ size: PHONE, hasTouch: true, isMobile: true });
    await ask(page, '你好'.repeat(40));
    const wide = () => page.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(await wide(), PHONE.width);
    for (const name of ['history', 'settings']) {
      await page.click(`#open-${name}`);
      await page.locator(`#${name}.open`).waitFor();
      assert.equal(await page.evaluate((id) => document.getElementById(id).contains(document.activeElement), name), true, 'the focus goes into it');
      await page.keyboard.press('Escape');
      await page.locator(`#${name}.open`).waitFor({ state: 'detached' });
      assert.equal(await page.evaluate(() => document.activeElement.id), `open-${name}`, 'and comes back');
      assert.equal(await wide(), PHONE.width);
    }
    await page.click('#open-history');
    await page.waitForTimeout(300);
    await page.locator('#scrim').click({ position: { x: 380, y: 400 } });
    await page.locator('#history.open').waitFor({ state: 'detached' });
    await page.screenshot({ path: `${folder}/phone.png` });
  },

  async 'every control has a name, and the keyboard gets to it'() {
    const page = await open();
    await ask(page, '你好');
    await page.click('#open-settings');
    for (const language of ['en', 'zh']) {
      await page.selectOption('#language', language);
      const nameless = await page.evaluate(() => [...document.querySelectorAll('button, input, select, textarea, aside, nav, [role]')].filter((node) => {
        const labels = [...(node.labels ?? [])].map((label) => label.textContent).join('');
        return !/status|alert/.test(node.role) && node.type !== 'hidden' && !(node.ariaLabel || labels || node.textContent).trim();
      }).map((node) => node.outerHTML));
      assert.deepEqual(nameless, [], language);
    }
    await page.selectOption('#language', 'en');
    await page.focus('#new');
    const reached = new Set();
    for (let n = 0; n < 70; n += 1) {
      reached.add(await page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute('aria-label') || document.activeElement.name));
      await page.keyboard.press('Tab');
    }
    for (const name of ['new', 'export', 'language', 'theme', 'model', 'beside', 'open-settings', 'Edit', 'Regenerate', 'Where from?', 'message', 'system', 'mode', 'knob-temperature', 'token', 'remember']) assert.ok(reached.has(name), `${name} is not reached by Tab: ${[...reached]}`);
    return { reached: reached.size };
  },

  async 'two tabs of one browser tell each other'() {
    const page = await open();
    const other = await open({ context: page.context() });
    await ask(page, '另一页看得到吗');
    await other.locator('#list .open').getByText('另一页看得到吗').waitFor();
    await other.locator('#list .open').click();
    await other.waitForFunction((text) => document.querySelector('.answer .text')?.innerText === text, await textOf(page));
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  if (wanted.length && !wanted.some((word) => name.includes(word))) continue;
  const began = performance.now();
  complaints = [];
  let told;
  try {
    told = { ok: true, ...(await check()) };
    assert.deepEqual(complaints, []);
  } catch (failure) {
    failed += 1;
    told = { ok: false, error: failure.message.split('\n').slice(0, 12).join('\n') };
    const page = browser.contexts().at(-1)?.pages().at(-1);
    await page?.screenshot({ path: `${folder}/failed-${failed}.png` }).catch(() => {});
  }
  console.log(JSON.stringify({ check: name, seconds: Math.round((performance.now() - began) / 100) / 10, ...told }));
  for (const context of browser.contexts()) await context.close();
}
await browser.close();
