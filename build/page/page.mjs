// The page: what is trusted, which files are here, and when they are judged again.

import { utf8 } from '../foreign/bytes.mjs';
import { Failed } from '../foreign/checks.mjs';
import { parseTrust } from '../foreign/trust.mjs';
import { subtle } from '../foreign/webcrypto.mjs';
import chinese from './chinese.mjs';
import { h } from './element.mjs';
import english from './english.mjs';
import style from './page.css';
import { NOBODY, judge, named, together } from './judge.mjs';
import { LIMIT, enclosedIn, isText } from './mail.mjs';
import { plural } from './report.mjs';
import { fileArticle, tally, togetherArticle } from './show.mjs';
import { nameOf, printable } from './words.mjs';

const TRUST_LIMIT = 16 * 2 ** 20;
const languages = { en: english, zh: chinese };
const at = id => document.getElementById(id);

let language = (navigator.languages ?? [navigator.language]).find(l => /^(en|zh)\b/i.test(l))?.slice(0, 2).toLowerCase() ?? 'en';
let files = []; // { name, bytes, outcome }: what was refused has no bytes, and what was not judged no outcome
let trusting; // what trustOf makes of the field as it stands, once that is asked for
let taken; // a trust file that the field was filled from
let judged = { trust: NOBODY, trusted: speaks => speaks('trustNone'), outcomes: [], findings: [] };
let turn = 0; // of judging: what an older one finds is not shown

// Whether something is being done, for those who hear the page, and for tests.
let tasks = 0;
function busy(more) {
  tasks += more;
  document.body.setAttribute('aria-busy', String(tasks > 0));
}

const say = (key, ...parts) => languages[language][key].replace(/\{(\d)\}/g, (_, i) => String(parts[i]));

function speak() {
  document.documentElement.lang = language === 'zh' ? 'zh-Hans' : 'en';
  document.title = say('title');
  for (const e of document.querySelectorAll('[data-say]')) e.textContent = say(e.dataset.say);
  for (const b of document.querySelectorAll('[data-language]')) b.setAttribute('aria-pressed', String(b.dataset.language === language));
  show();
}

// The trust in the field, null where it cannot be used, and what is said of it. A chain's name alone trusts that chain, and nobody else.
// Of a file it is the bytes that count: a field changes the ends of lines.
async function trustOf(text) {
  const words = text.trim();
  if (words === '') return [NOBODY, speaks => speaks('trustNone')];
  if (words.length > TRUST_LIMIT) return [null, speaks => speaks('trustLong')];
  try {
    const file = taken?.text === text ? taken : undefined;
    const trust = await parseTrust(file?.bytes ?? utf8(/^[a-z2-7]{52}$/.test(words) ? `chain ${words}` : text));
    if (trust.chains.length === 0) return [null, speaks => speaks('trustNoChain')];
    return [trust, speaks => speaks('trustSummary', plural(speaks, 'chain', trust.chains.length), plural(speaks, 'aggregator', named(trust)), trust.quorum)
      + (file ? speaks('trustFrom', nameOf(file.name)) : '')];
  } catch (e) {
    if (!(e instanceof Failed)) throw e;
    return [null, speaks => speaks('trustWrong', e.line ?? 1, e.why)];
  }
}

async function judgeAll() {
  busy(1);
  try {
    await judgeFiles(++turn);
  } finally {
    busy(-1);
  }
}

async function judgeFiles(mine) {
  const [trust, trusted] = await (trusting ??= trustOf(at('trust').value));
  const outcomes = [], progress = new Progress(mine);
  for (const file of files.filter(f => trust !== null || f.bytes === undefined)) {
    if (file.bytes !== undefined && file.outcome?.trust !== trust) {
      const outcome = await judge(file.name, file.bytes, trust, read => progress.during(file, read));
      if (mine !== turn) return; // whatever an older one made of it
      file.outcome = Object.assign(outcome, { file });
    }
    outcomes.push(file.outcome);
    await progress.room(file, 0);
  }
  if (mine !== turn) return;
  judged = { trust, trusted, outcomes, ...together(outcomes) };
  at('progress').hidden = true;
  show();
}

// Gives the page room to move every few hundredths of a second, and says how far it is from two seconds on.
class Progress {
  constructor(mine) {
    this.mine = mine;
    this.begun = this.last = performance.now();
  }

  // Within a file: what is not wanted any more ends there.
  async during(file, read) {
    await this.room(file, read);
    if (this.mine !== turn) throw new Error('judged anew');
  }

  async room(file, read) {
    const now = performance.now();
    if (now - this.last < 40) return;
    if (now - this.begun > 2000) {
      const percent = Math.floor(100 * read / Math.max(1, file.bytes?.length ?? 1));
      at('progress').hidden = false;
      at('bar').value = percent;
      at('far').textContent = say('working', nameOf(file.name), percent);
    }
    await new Promise(go => setTimeout(go));
    this.last = performance.now();
  }
}

// Whoever reads the page sees no verdict by a trust that is not in the field any more.
function trustChanges() {
  turn++;
  trusting = undefined;
  judged = { trust: NOBODY, trusted: () => '', outcomes: [], findings: [] };
  show();
}

function show() {
  const { trust, trusted, outcomes, findings, untold } = judged, anybody = trust !== null && trust.chains.length > 0;
  at('trusted').textContent = printable(trusted(say));
  at('trusted').className = trust === null ? 'wrong' : '';
  at('trust').setAttribute('aria-invalid', String(trust === null));
  at('files').hidden = files.length === 0;
  at('results').hidden = outcomes.length === 0;
  at('tally').textContent = anybody && outcomes.length > 1 ? tally(outcomes, findings, untold, say) : '';
  at('found').replaceChildren(...findings.map(found => togetherArticle(found, say)), ...outcomes.map(o => fileArticle(o, say, { anybody, remove: () => remove(o.file) })));
}

// What had the keyboard is gone with the file.
function remove(file) {
  files = files.filter(f => f !== file);
  at('choose').focus({ preventScroll: true });
  judgeAll();
}

function refuse(name, refused, verdict = 'unreadable') {
  const file = { name };
  file.outcome = { name, file, refused, verdict, undone: [], entries: [] };
  files.push(file);
}

async function take(list) {
  busy(1);
  for (const file of list) {
    if (file.size > LIMIT) {
      const size = (file.size / 2 ** 20).toFixed(1);
      refuse(file.name, speaks => speaks('tooLarge', size));
      continue;
    }
    try {
      const bytes = new Uint8Array(await file.arrayBuffer());
      if (isTrust(bytes)) takeTrust(file.name, bytes);
      else files.push({ name: file.name, bytes });
    } catch (e) {
      const why = e instanceof Error ? e.message : String(e);
      refuse(file.name, speaks => speaks('cannotRead', why));
    }
  }
  await judgeAll();
  busy(-1);
}

// A trust file is told by its words, for it may have any name.
function isTrust(bytes) {
  if (bytes.length === 0 || bytes.length > TRUST_LIMIT || !isText(bytes)) return false;
  const first = new TextDecoder().decode(bytes).split('\n').map(line => line.trim()).find(line => line !== '' && !line.startsWith('#'));
  return first !== undefined && /^(chain|aggregator|quorum|device|person)\s/.test(first);
}

// Whoever is checked could put a trust file among the others: none takes the place of what stands in the field.
function takeTrust(name, bytes) {
  const field = at('trust'), text = new TextDecoder().decode(bytes).replace(/\r\n?/g, '\n'); // as a field has it
  if (field.value === text) return;
  if (field.value.trim() !== '') {
    refuse(name, speaks => speaks('trustNotTaken'), 'not_judged');
    return;
  }
  taken = { name, bytes, text };
  field.value = text;
  trustChanges();
}

// The proof that this page came with.
function takeEnclosed() {
  const found = at('enclosed') && enclosedIn(at('enclosed').outerHTML);
  if (!found) return;
  files.push(found);
  at('came').hidden = false;
  at('saved').href = URL.createObjectURL(new Blob([found.bytes]));
  at('saved').download = found.name;
}

function listen() {
  let pause;
  at('trust').addEventListener('input', () => {
    trustChanges();
    if (pause === undefined) busy(1);
    clearTimeout(pause);
    pause = setTimeout(async () => {
      pause = undefined;
      await judgeAll();
      busy(-1);
    }, 200);
  });
  at('choose').addEventListener('change', e => {
    take([...e.target.files]);
    e.target.value = '';
  });
  at('check').addEventListener('click', () => {
    const text = at('paste').value;
    if (text.trim() === '') return;
    at('paste').value = '';
    take([new File([text], say('pasted'))]);
  });
  at('clear').addEventListener('click', () => {
    files = [];
    judgeAll();
  });
  for (const b of document.querySelectorAll('[data-language]')) b.addEventListener('click', () => { language = b.dataset.language; speak(); });
  // Files may be dropped anywhere; a browser would show them in place of the page. Text goes into a field as ever.
  const carriesText = e => e.target.matches?.('textarea') && !e.dataTransfer.types.includes('Files');
  addEventListener('dragover', e => {
    if (carriesText(e)) return;
    e.preventDefault();
    document.body.classList.add('over');
  });
  addEventListener('dragleave', e => e.relatedTarget === null && document.body.classList.remove('over'));
  addEventListener('drop', e => {
    if (carriesText(e)) return;
    e.preventDefault();
    document.body.classList.remove('over');
    take([...e.dataTransfer.files]);
  });
}

document.head.append(h('style', {}, style)); // the page's policy names its hash
at('by-hand').hidden = subtle !== undefined;
takeEnclosed();
listen();
speak();
at('works').hidden = false;
judgeAll();
