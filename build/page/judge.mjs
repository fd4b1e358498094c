// What became of a file: the verdicts of edgeverify, made with the verifier of build/foreign.

import { equal, toHex } from '../foreign/bytes.mjs';
import { Reader, decode } from '../foreign/cbor.mjs';
import { Failed } from '../foreign/checks.mjs';
import { verifyBundle } from '../foreign/bundle.mjs';
import { decodeFork, verifyFork } from '../foreign/fork.mjs';
import { kindOf } from '../foreign/file.mjs';
import { decodeProof, decodeSetters, verifyProof } from '../foreign/proof.mjs';
import { isNote, readNote, told } from '../foreign/note.mjs';
import { twoHistories } from '../foreign/two.mjs';
import { TooLarge, opened } from './mail.mjs';

export const NOBODY = { chains: [], aggregators: [], persons: [], devices: 0, quorum: 0n };

const MOST_PAIRS = 32; // of files that contradict each other are told
export const TOLD = 20; // entries of a bundle that are listed, of losses and of notes each

const ROOM = 65536; // entries of a bundle that are kept to be shown

const LOSSES = ['agent:gap', 'agent:damage', 'agent:prune', 'agent:restore', 'agent:filtered'];

// The check of one file: { name, kind, verdict, check, why, shown, … }. `watch(part)` is awaited now and then.
export async function judge(name, raw, trust, watch) {
  const o = { name, raw, trust, undone: [], entries: [], left: 0 };
  try {
    if (raw.length === 0) throw new Failed('decoding', '');
    const { bytes, undone } = await opened(raw);
    Object.assign(o, { bytes, undone, kind: kindOf(bytes) });
    await look(o, watch);
  } catch (e) {
    o.shown = undefined;
    if (e instanceof TooLarge) return Object.assign(o, { verdict: 'unreadable', refused: speaks => speaks('tooLarge', '> 32') });
    if (e instanceof Failed) Object.assign(o, { check: e.check, why: e.why });
    else o.fault = String(e);
  }
  o.verdict = verdictOf(o);
  return o;
}

// Entries of a bundle of one kind, whether they are kept or not: all are counted, and the first are listed.
class Told {
  first = [];
  count = 0;

  add(entry) {
    if (++this.count <= TOLD) this.first.push(entry);
  }
}

async function look(o, watch) {
  const verify = trust => {
    Object.assign(o, { entries: [], left: 0, losses: new Told(), said: new Told() });
    const keep = (entry, number, height) => {
      const kept = { entry, number, height };
      if (LOSSES.includes(entry.source)) o.losses.add(kept);
      if (isNote(entry)) o.said.add(kept);
      if (o.entries.length < ROOM) o.entries.push(kept);
      else o.left++;
    };
    return { fork: verifyFork, proof: verifyProof, bundle: (bytes, t) => verifyBundle(bytes, t, { entry: keep, read: watch }) }[o.kind](o.bytes, trust);
  };
  try {
    o.shown = await verify(o.trust);
    for (const e of o.said.first) e.said = await readNote(e.entry).catch(() => undefined);
  } catch (e) {
    if (!(e instanceof Failed) || e.check !== 'chain' && e.check !== 'receipts') throw e;
    Object.assign(o, { check: e.check, why: e.why });
    // Sound is what verifies for somebody who trusts the file's own chain, and asks for no receipts.
    try {
      o.inside = await verify({ ...o.trust, chains: [await ownChain(o)], quorum: 0n });
      o.sound = true;
    } catch (besides) {
      if (!(besides instanceof Failed)) throw besides;
      if (besides.why !== e.why) o.besides = besides;
    }
  }
}

// The chain that a file says it is of: what was checked before the check of the chain has decoded it.
async function ownChain({ kind, bytes }) {
  if (kind === 'fork') return (await decodeFork(bytes)).common[0].header.chain;
  if (kind === 'proof') return (await decodeProof(bytes)).setters[0].header.chain;
  const reader = new Reader(bytes);
  const [, , setters] = decode(reader.take(reader.count(reader.head().argument)));
  return (await decodeSetters(setters))[0].header.chain;
}

export const proofOrInside = o => o.shown ?? o.inside;

// Notes of a file that are not what they say to be, as { number, key of a message, its parts }.
export function badNotes(o) {
  const found = [], { kind } = o, r = proofOrInside(o);
  if (r === undefined || kind === 'fork') return { found, more: 0 };
  let more = 0;
  for (const n of kind === 'proof' ? [r.note].filter(n => n) : r.notes) {
    const number = n.number ?? r.number;
    if (n.standing === 'bad' || n.binding === 'other') {
      found.push({ number, note: n });
      more += (n.count ?? 1) - 1;
    }
    if (n.standing === 'unchecked') found.push({ number, note: n, unchecked: n.count });
  }
  return { found, more };
}

function verdictOf(o) {
  const bad = badNotes(o).found.length > 0;
  if (o.fault !== undefined) return 'not_judged';
  if (o.check === undefined) return bad ? 'not_verified' : 'verified';
  if (bad || !o.sound) return 'not_verified';
  return o.check === 'chain' ? 'not_trusted' : 'too_few_receipts';
}

// How many names a trust file has: a name may have several keys.
export const named = trust => new Set(trust.aggregators.map(a => a.name)).size;

// Each name's earliest receipt, earliest first.
export function earliestOf(receipts) {
  const by = new Map();
  for (const r of receipts) if (!by.has(r.name) || r.time < by.get(r.name).time) by.set(r.name, r);
  return [...by.values()].sort((a, b) => order(a.time, b.time) || order(a.name, b.name));
}

export const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

// Aggregators that contradict themselves: of each the lowest two receipts that do.
export function reversals(receipts) {
  const found = [];
  let latest, done;
  const ordered = [...receipts].sort((a, b) => order(a.name, b.name) || order(a.height, b.height) || order(a.time, b.time));
  ordered.forEach((r, i) => {
    if (i === 0 || r.name !== ordered[i - 1].name) latest = r;
    if (r.time < latest.time && r.height > latest.height && r.name !== done) {
      found.push({ lower: latest, higher: r });
      done = r.name;
    }
    if (r.time > latest.time) latest = r;
  });
  return found;
}

// The receipts between which a chain was silent.
export function silence({ height }, { headers, receipts }) {
  const ordered = [...receipts].sort((a, b) => order(a.time, b.time) || order(a.height, b.height) || order(a.name, b.name));
  const from = ordered.find(r => r.height === height), above = ordered.find(r => r.height > height);
  const own = ordered.filter((r, i) => r !== from && r.height === height && (above === undefined || i < ordered.indexOf(above)));
  const to = ordered.some(r => r.height === height + 1n) ? above : own.at(-1) ?? from;
  return { height, promised: headers.find(h => h.height === height && h.cadence !== undefined).cadence, from, to };
}

// What files show together, each by itself sound and of a chain that is trusted; and how many pairs more contradict each other.
export function together(all) {
  const shows = [];
  for (const o of all) {
    const r = proofOrInside(o);
    const trusted = r !== undefined && (o.check === undefined || o.sound) && o.kind !== 'fork' && o.trust.chains.some(c => equal(c, r.chain));
    if (trusted) shows.push({ o, r });
  }
  const found = [];
  let untold = 0;
  shows.forEach((one, i) => shows.slice(0, i).forEach(other => {
    const files = [other.o, one.o];
    const why = twoHistories(other.r, one.r);
    if (why === null) return;
    if (found.length < MOST_PAIRS) found.push({ kind: 'two_histories', files, why, shown: one.r });
    else untold++;
  }));
  return { findings: [...found, ...othersNotes(shows), ...fallingTimes(shows)], untold };
}

function othersNotes(shows) {
  const found = [];
  for (const { o, r } of shows) {
    const head = o.kind === 'proof' && r.note?.binding === 'unseen' ? r.note.head : undefined;
    for (const other of head === undefined ? [] : shows) {
      if (!equal(other.r.chain, r.chain)) continue;
      const hash = tells(other.r.sight, head.height);
      if (hash === undefined || hash === head.hash) continue;
      found.push({ kind: 'note_of_another_history', files: [o, other.o], number: r.number, head, hash, shown: r });
      break;
    }
  }
  return found;
}

function tells({ headers, run }, height) {
  const at = run === undefined ? -1n : height - run.first.height;
  if (at >= 0n && at < BigInt(run.hashes.length)) return toHex(run.hashes[Number(at)]);
  const hash = headers.map(h => told(h, height)).find(t => t !== undefined)?.hash;
  return hash && toHex(hash);
}

// What one file shows by itself is in its own report.
function fallingTimes(shows) {
  const chains = new Map();
  for (const { o, r } of shows) {
    const key = toHex(r.chain);
    if (!chains.has(key)) chains.set(key, new Map());
    for (const receipt of r.sight.receipts) {
      const same = `${receipt.name} ${receipt.height} ${receipt.time}`;
      if (!chains.get(key).has(same)) chains.get(key).set(same, { ...receipt, o, r });
    }
  }
  return [...chains.values()].flatMap(all => reversals([...all.values()])).filter(({ lower, higher }) => lower.o !== higher.o)
    .map(reversal => ({ kind: 'times_that_fall', files: [reversal.lower.o, reversal.higher.o], reversal, shown: reversal.lower.r }));
}

// Whether a note is about what was recorded after it.
export function isAhead({ note, number, height }) {
  const last = text => (text === undefined ? -1n : BigInt(text.slice(Math.max(text.lastIndexOf('-'), text.lastIndexOf(' ')) + 1)));
  return note?.note !== undefined && (last(note.note.entries) >= number || last(note.note.heights) >= height);
}
