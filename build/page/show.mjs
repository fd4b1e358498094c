// The report of a file, of two together, and of all, as elements.

import { toBase32, toHex } from '../foreign/bytes.mjs';
import { charts, timeLine } from './draw.mjs';
import { h } from './element.mjs';
import { proofOrInside } from './judge.mjs';
import { REASONS, Report, plural } from './report.mjs';
import { instant, nameOf, printable, value, word } from './words.mjs';

const STEPS = {
  proof: ['decoding', 'chain', 'keys', 'signature', 'entry', 'block', 'receipts', 'beacon'],
  bundle: ['decoding', 'chain', 'keys', 'signature', 'entry', 'block', 'receipts'],
  fork: ['decoding', 'chain', 'fork', 'receipts'],
};

export function fileArticle(o, say, { anybody, remove }) {
  const report = new Report(o, say), heading = title(o, say, anybody);
  const article = h('article', { class: heading.class, 'data-verdict': heading.verdict, 'data-check': heading.check, 'data-file': o.name, 'aria-label': nameOf(o.name) },
    h('header', {}, h('h3', {}, h('bdi', {}, nameOf(o.name))), h('strong', { class: 'verdict' }, heading.text), h('button', { type: 'button', class: 'remove', onclick: remove, 'aria-label': `${say('remove')}: ${nameOf(o.name)}` }, '×')));
  const why = explained(o, report, say, anybody);
  if (why !== '') article.append(h('p', { class: 'why' }, printable(why)));
  const r = proofOrInside(o);
  const tells = o.shown !== undefined || heading.verdict === 'waiting';
  if (o.shown !== undefined) {
    const brief = report.brief();
    if (brief !== '') article.append(h('p', { class: 'brief' }, printable(brief)));
    article.append(...list(say('proved'), report.proved(), 'proved'), ...list(say('beware'), report.beware(), 'beware'), ...list(say('notProved'), report.notProved(), 'not-proved'));
    if (o.kind !== 'fork') article.append(timeLine(report));
  }
  if (tells && r !== undefined) {
    article.append(facts(report.facts()));
    if (o.kind !== 'fork') article.append(...readings(o, r, say));
    const courses = o.kind === 'bundle' ? charts(report) : null;
    if (courses !== null) article.append(courses);
  }
  if (o.kind !== undefined && heading.verdict !== 'waiting') article.append(steps(o, r, say));
  return article;
}

function title(o, say, anybody) {
  if (!anybody && o.kind !== undefined && o.fault === undefined && o.check === 'chain') {
    if (o.sound) return { class: 'waiting', verdict: 'waiting', text: say('unproved') };
    return { class: 'bad', verdict: 'not_verified', check: o.besides?.check ?? o.check, text: say('not_verified') };
  }
  const good = o.verdict === 'verified', fork = good && o.kind === 'fork';
  const grade = fork ? 'bad' : good ? 'good' : ['not_trusted', 'too_few_receipts'].includes(o.verdict) ? 'doubt' : 'bad';
  return { class: grade, verdict: o.verdict, check: o.check, text: say(fork ? 'forkVerified' : o.verdict) };
}

function explained(o, report, say, anybody) {
  if (o.refused !== undefined) return o.refused(say);
  if (anybody || o.check !== 'chain' || o.fault !== undefined) return report.explain();
  const r = o.inside;
  if (r !== undefined) {
    const bad = report.badText();
    return say(o.kind === 'fork' ? 'waitingFork' : 'waiting', toBase32(r.chain)) + (bad === '' ? '' : say('noteBesides', bad));
  }
  const { check, why } = o.besides ?? o;
  return say('waitingBad', check, say(check), why);
}

function list(heading, all, kind) {
  return all.length === 0 ? [] : [h('section', { class: kind }, h('h4', {}, heading), h('ul', {}, all.map(text => h('li', {}, printable(text)))))];
}

function facts(all) {
  const dl = h('dl', {});
  for (const [what, text, how] of all) {
    const kept = how === 'pre' || how === 'hex';
    dl.append(h('div', { class: how }, h('dt', {}, what), h('dd', {}, kept ? h('pre', {}, text) : printable(text))));
  }
  return dl;
}

const PART = 100; // readings that are shown at once

function* readingsOf(o, r) {
  if (o.kind === 'proof') for (const m of r.entry.readings) yield [r.number, m];
  else for (const { entry, number } of o.entries) for (const m of entry.readings) yield [number, m];
}

function readings(o, r, say) {
  const all = [...readingsOf(o, r)];
  if (all.length === 0) return [];
  const body = h('tbody', {}), more = h('button', { type: 'button', onclick: () => next() }), bundle = o.kind === 'bundle';
  let at = 0;
  const remarks = m => [m.derived ? say('derived') : '', ...[0n, 1n, 2n].map(bit => (m.quality & (1n << bit) ? say(`quality${bit}`) : ''))].filter(t => t !== '').join('; ');
  const next = () => {
    for (const [number, m] of all.slice(at, at + PART)) {
      body.append(h('tr', {}, bundle ? h('td', { class: 'number' }, String(number)) : null, h('td', {}, word(m.device)), h('td', {}, word(m.name)),
        h('td', { class: 'number' }, value(m.value)), h('td', {}, m.unit === '' ? '' : word(m.unit)), h('td', {}, m.time === null ? '' : instant(m.time)), h('td', {}, remarks(m))));
    }
    at += PART;
    more.textContent = say('readingsMore', all.length - at);
    more.hidden = at >= all.length;
  };
  next();
  const heads = [...bundle ? ['factEntry'] : [], 'device', 'name', 'value', 'unit', 'measured', 'remarks'];
  return [h('section', { class: 'readings' }, h('h4', {}, say('readingsHeading')),
    h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': say('readingsHeading') },
      h('table', {}, h('thead', {}, h('tr', {}, heads.map(key => h('th', { scope: 'col' }, say(key))))), body)), more)];
}

function steps(o, r, say) {
  const all = STEPS[o.kind], failed = o.check === undefined ? all.length : all.indexOf(o.check);
  const state = i => (i === failed ? 'stepFails' : o.check === undefined || i < failed && o.kind !== 'bundle' ? 'stepHolds' : 'stepNot');
  const items = all.map((check, i) => {
    const text = say(`step_${o.kind === 'bundle' && check === 'entry' ? 'entries' : check}`);
    const line = [h('span', { class: `mark ${state(i)}`, 'aria-hidden': 'true' }, { stepHolds: '✓', stepFails: '✗', stepNot: '–' }[state(i)]), ` ${check}: ${text} `, h('em', {}, say(state(i)))];
    const bytes = bytesOf(check, o, r, say);
    if (bytes.length === 0) return h('li', {}, h('p', {}, line));
    const inside = h('div', {});
    return h('li', {}, h('details', { ontoggle: () => inside.childElementCount === 0 && inside.append(...bytes.flatMap(([what, b]) => [h('p', {}, what), dump(b, say)])) }, h('summary', {}, line), inside));
  });
  return h('details', { class: 'steps' }, h('summary', {}, say('stepsHeading')), h('ol', {}, items));
}

// What a check looked at, as bytes.
function bytesOf(check, o, r, say) {
  if (check === 'decoding') return [[say('bytesFile', o.bytes.length), o.bytes]];
  if (r === undefined || o.kind === 'fork') return [];
  if (check === 'entry' && o.kind === 'proof') return [[say('bytesEntry', r.entryBytes.length), r.entryBytes]];
  const headers = { keys: r.sight.setters, signature: r.sight.headers.filter(header => !r.sight.setters.includes(header)) }[check] ?? [];
  return headers.slice(0, 64).map(header => [say('bytesHeader', header.height, header.bytes.length, toHex(header.hash)), header.bytes]);
}

function dump(bytes, say) {
  const lines = [], most = 4096;
  for (let at = 0; at < bytes.length && at < most; at += 16) {
    const part = bytes.subarray(at, at + 16);
    lines.push(`${at.toString(16).padStart(6, '0')}  ${toHex(part).replace(/../g, '$& ').padEnd(48)} ${Array.from(part, b => (b > 31 && b < 127 ? String.fromCharCode(b) : '·')).join('')}`);
  }
  if (bytes.length > most) lines.push(say('bytesMore', bytes.length - most));
  return h('pre', { class: 'dump', tabindex: 0 }, lines.join('\n'));
}

// What two files show together.
export function togetherArticle(found, say) {
  const { kind, files, shown } = found, names = say('and', ...files.map(o => nameOf(o.name)));
  const pairs = [[say('factChain'), toBase32(shown.chain), 'code']];
  if (shown.gateway !== undefined) pairs.push([say('factGateway'), printable(shown.gateway)]);
  let text, also = [];
  if (kind === 'two_histories') {
    text = say(files.some(o => o.check !== undefined) ? 'togetherShort' : 'together');
    pairs.push([say('factBecause'), say(REASONS[found.why])]);
    also = [...list(say('proved'), [say('signedBoth')], 'proved'), ...list(say('notProved'), [say('notHow')], 'not-proved'), h('p', { class: 'hint' }, say('evidence'))];
  } else if (kind === 'times_that_fall') {
    text = new Report(files[0], say).reversal(found.reversal);
  } else {
    text = say('otherHistory', found.number, found.head.height, found.head.hash, found.hash);
  }
  return h('article', { class: 'bad together', 'data-together': kind, 'data-files': JSON.stringify(files.map(o => o.name)), 'aria-label': names },
    h('header', {}, h('h3', {}, h('bdi', {}, names)), h('strong', { class: 'verdict' }, say(kind))), h('p', { class: 'why' }, printable(text)), facts(pairs), also);
}

const VERDICTS = ['verified', 'not_verified', 'not_trusted', 'too_few_receipts', 'unreadable', 'not_judged'];

// All files in one line.
export function tally(all, findings, untold, say) {
  const parts = VERDICTS.map(v => [all.filter(o => o.verdict === v).length, v]).filter(([n]) => n > 0).map(([n, v]) => `${n} ${say(v)}`);
  return say('tally', plural(say, 'file', all.length), parts.join(', '), (findings.length > 0 ? plural(say, 'together', findings.length) : '') + (untold > 0 ? plural(say, 'untold', untold) : ''));
}

