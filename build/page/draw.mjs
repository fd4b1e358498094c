// The times of a file along a line, and courses of values.

import { Float } from '../foreign/cbor.mjs';
import { h } from './element.mjs';
import { float, instant, word } from './words.mjs';

const SECOND = 1_000_000_000n;

// Rows of { label, text, from, to } in nanoseconds; a bound that is missing is open.
function rowsOf(report) {
  const { o, r, say } = report, rows = [], point = (label, ns) => rows.push({ label, text: instant(ns), from: ns, to: ns });
  const receipt = ({ name, time }) => rows.push({ label: say('timeReceipt', name), text: report.second(time), from: time * SECOND, to: time * SECOND, proved: true });
  const { notBefore, notAfter } = r;
  if (notBefore !== undefined || notAfter !== undefined) {
    const text = notBefore === undefined ? say('timeTo', report.second(notAfter))
      : notAfter === undefined ? say('timeFrom', report.second(notBefore)) : say('timeBoth', report.second(notBefore), report.second(notAfter));
    rows.push({ label: say('timeClosed'), text, from: notBefore && notBefore * SECOND, to: notAfter && notAfter * SECOND, proved: true });
  }
  report.lower.forEach(receipt);
  if (o.kind === 'proof') {
    const times = new Set(r.entry.readings.map(m => m.time).filter(t => t !== null));
    if (times.size === 1) point(say('timeMeasured'), [...times][0]);
    point(say('timeReceived'), r.entry.received);
  }
  point(say('timeSealed'), r.header.time);
  report.upper.forEach(receipt);
  return rows;
}

export function timeLine(report) {
  const { say } = report, rows = rowsOf(report);
  const times = rows.flatMap(r => [r.from, r.to]).filter(t => t !== undefined);
  const least = times.reduce((a, b) => (b < a ? b : a)), most = times.reduce((a, b) => (b > a ? b : a));
  const at = t => 4 + 92 * (most === least ? 0.5 : Number(t - least) / Number(most - least));
  const line = rows.map(({ label, text, from, to, proved }) => {
    const x = from === undefined ? 0 : at(from), end = to === undefined ? 100 : at(to);
    const mark = from === to
      ? h('circle', { cx: `${x}%`, cy: '50%', r: 5, class: proved ? 'proved' : 'claimed' })
      : h('rect', { x: `${x}%`, y: 3, width: `${Math.max(end - x, 0.8)}%`, height: 12, rx: 3, class: 'span' });
    return h('li', {}, h('span', { class: 'what' }, label),
      h('svg', { class: 'track', 'aria-hidden': 'true' }, h('line', { x1: 0, x2: '100%', y1: '50%', y2: '50%' }), mark), h('span', { class: 'when' }, text));
  });
  return h('section', { class: 'times' }, h('h4', {}, say('timeHeading')), h('ul', {}, line),
    report.upper.length + report.lower.length === 0 ? h('p', { class: 'hint' }, say('timeNone')) : null);
}

const MOST = 24; // series that are drawn

// Series of numbers, by device and name: of a bundle, each with two values at least.
function seriesOf(entries) {
  const series = new Map();
  for (const { entry } of entries) {
    for (const { device, name, unit, value, time } of entry.readings) {
      const number = value instanceof Float ? value.value : typeof value === 'bigint' ? Number(value) : NaN;
      if (Number.isNaN(number)) continue;
      const key = JSON.stringify([device, name, unit]);
      if (!series.has(key)) series.set(key, { device, name, unit, points: [] });
      series.get(key).points.push([time ?? entry.received, number]);
    }
  }
  return [...series.values()].filter(s => s.points.length > 1);
}

export function charts(report) {
  const { o, say } = report, all = seriesOf(o.entries);
  if (all.length === 0) return null;
  const drawn = all.slice(0, MOST).map(({ device, name, unit, points }) => {
    points.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
    const values = points.map(p => p[1]), least = values.reduce((a, b) => Math.min(a, b)), most = values.reduce((a, b) => Math.max(a, b));
    const [from] = points[0], [to] = points.at(-1);
    const x = t => (from === to ? 500 : Number(t - from) / Number(to - from) * 1000), y = v => (most === least ? 50 : 95 - (v / 2 - least / 2) / (most / 2 - least / 2) * 90); // halves: the difference of two can be none
    const told = v => `${float(v)}${unit === '' ? '' : ` ${word(unit)}`}`;
    const text = say('chart', word(device), word(name), points.length, instant(from), instant(to), told(least), told(most));
    return h('figure', {}, h('svg', { viewBox: '0 0 1000 100', preserveAspectRatio: 'none', role: 'img', 'aria-label': text },
      h('polyline', { points: points.map(([t, v]) => `${x(t).toFixed(1)},${y(v).toFixed(1)}`).join(' ') })), h('figcaption', {}, text));
  });
  return h('section', { class: 'charts' }, h('h4', {}, say('chartsHeading')), drawn, all.length > MOST ? h('p', { class: 'hint' }, say('chartsMore')) : null);
}
