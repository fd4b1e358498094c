// "The bounds", "Silence", and aggregators that contradict themselves. Receipts are { name, time, height }.

import { need } from './checks.mjs';

// The q-th of each name's earliest time, smallest or largest first; undefined with fewer than q names.
function nth(receipts, q, descending) {
  const times = [...earliest(receipts).values()].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  if (descending) times.reverse();
  return times[Number(q) - 1];
}

// Each name's earliest time.
export function earliest(receipts) {
  const times = new Map();
  for (const { name, time } of receipts) {
    if (!times.has(name) || time < times.get(name)) times.set(name, time);
  }
  return times;
}

// Part of the check "receipts": quorum and bracket. Times are whole seconds.
export function bounds(upper, lower, quorum) {
  const q = quorum > 1n ? quorum : 1n;
  const names = [...earliest(upper).keys()].sort();
  need(BigInt(names.length) >= quorum, 'receipts', 'fewer upper times than the quorum');
  const last = nth(upper, q, false);
  const notAfter = last === undefined ? undefined : last + 1n;
  const notBefore = nth(lower, q, true);
  need(notBefore === undefined || notAfter === undefined || notBefore <= notAfter, 'receipts',
    'not before above not after');
  return { receiptedBy: names, notBefore, notAfter };
}

// Whether the gateway's clock (key 9, nanoseconds) stood more than 60 s outside the bracket.
export function clockOutside(time, { notBefore, notAfter }) {
  const second = 1_000_000_000n, most = 60n * second;
  return (notBefore !== undefined && time < notBefore * second - most)
    || (notAfter !== undefined && time > notAfter * second + most);
}

// Names with falling times on rising headers. Nothing fails for it.
export function contradicting(receipts) {
  const names = new Set();
  for (const a of receipts) {
    for (const b of receipts) {
      if (a.name === b.name && a.height < b.height && a.time > b.time) names.add(a.name);
    }
  }
  return [...names].sort();
}

// Silences: [{ height, from, to }], times of receipts. `headers` are those whose signature is checked.
export function silences(headers, receipts) {
  const found = [];
  for (const { height, cadence } of new Map(headers.map(h => [h.height, h])).values()) {
    if (cadence === undefined) continue;
    const on = receipts.filter(r => r.height === height);
    const above = receipts.filter(r => r.height > height);
    if (on.length === 0) continue;
    const from = least(on).time;
    const end = above.length > 0 ? least(above).time : undefined;
    const lasted = on.map(r => r.time).filter(t => end === undefined || t <= end);
    const to = receipts.some(r => r.height === height + 1n) ? end : lasted.reduce((a, b) => (b > a ? b : a), from);
    if (to - from > cadence) found.push({ height, from, to });
  }
  return found;
}

const least = receipts => receipts.reduce((a, b) => (b.time < a.time ? b : a));
