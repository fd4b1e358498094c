// "Bundle": checked item by item, as it would be read from a file.

import { equal } from './bytes.mjs';
import { MAX_INT, Reader, decode, isArray, isBytes } from './cbor.mjs';
import { form, need } from './checks.mjs';
import { bounds, contradicting, silences } from './bounds.mjs';
import { decodeEntry } from './entry.mjs';
import { decodeHeader, decodeSigned, sameHeader } from './header.mjs';
import { Tree, decodeEdge, edgeLength, leafHash } from './merkle.mjs';
import { isNote, standingOf, told } from './note.mjs';
import { decodeOutside } from './outside.mjs';
import { checkLater, decodeLater, decodeSetters } from './proof.mjs';
import { trustedReceipts } from './receipt.mjs';
import { checkChain, checkKeys, checkLaterPaths, checkRelations, checkSignature } from './sight.mjs';

const MAX_ITEM = 16 * 2 ** 20 + 16;
const HEADS_BACK = 65536n;
const KINDS = { start: 0n, block: 1n, entry: 2n, end: 3n };

// `watch` may have entry(entry, number, height), which is told of each entry as it is read, before anything is known of it, and
// read(at), which is awaited after each item: whoever shows a page gives it room to move there.
export async function verifyBundle(file, trust, watch = {}) {
  const check = new BundleCheck(trust, watch);
  const reader = new Reader(file);
  while (reader.left > 0) {
    const { major, argument } = reader.head();
    form(major === 2, 'an item of a bundle is a byte string');
    form(argument <= BigInt(MAX_ITEM), 'an item of a bundle above its limit');
    await check.item(reader.take(reader.count(argument)));
    await watch.read?.(reader.at);
  }
  return check.finish();
}

export class BundleCheck {
  #trust;
  #watch;
  #notes = [];      // how people's entries stand, those that stand alike counted together
  #setters = null;  // the start's headers
  #edge = null;     // the start's: hashes of the tree over all headers below the first block
  #chain = null;
  #first = null;    // the first block's header
  #hashes = [];     // of all blocks' headers
  #below = null;    // the tree over all headers below the last one
  #last = null;     // the block that is being read
  #tree = null;     // its entries so far
  #inRun = new Map(); // headers of the run at heights of the start
  #recent = new Map(); // the newest blocks that are complete, by height: { hash, next }
  #signed = new Set(); // statements and signatures of notes signed by persons
  #checked = 0;     // signatures of notes
  #size = 0;        // of the items so far
  #checks = {
    known: said => this.#signed.has(said),
    mayCheck: () => this.#checked < 512 + Math.floor(this.#size / 65536) && ++this.#checked > 0,
  };
  #setting = [];    // headers of the run with key 12
  #end = null;

  constructor(trust, watch = {}) {
    this.#trust = trust;
    this.#watch = watch;
  }

  // First round: one item.
  async item(bytes) {
    this.#size += bytes.length;
    form(this.#end === null, 'an item behind the end');
    const value = decode(bytes);
    form(isArray(value, 1), 'an item is an array');
    const [kind] = value;
    form(kind === this.#kindFor(kind), 'a kind of item that may not stand here');
    switch (kind) {
      case KINDS.start: return this.#start(value);
      case KINDS.block: return this.#block(value);
      case KINDS.entry: return this.#entry(value);
      default: return this.#ends(value);
    }
  }

  // The kind itself if it may stand here, else undefined.
  #kindFor(kind) {
    const may = this.#setters === null ? [KINDS.start]
      : this.#last === null ? [KINDS.block]
        : [KINDS.block, KINDS.entry, KINDS.end];
    return may.find(k => k === kind);
  }

  async #start(value) {
    form(value.length === 4, 'a start has four elements');
    form(value[1] === 1n, "a bundle's version is 1");
    this.#setters = await decodeSetters(value[2]);
    this.#chain = this.#setters[0].header.chain;
    this.#edge = decodeEdge(value[3]);
  }

  async #block(value) {
    form(value.length === 2 && isBytes(value[1]), 'a block is a kind and a header');
    const header = await decodeHeader(value[1]);
    need(header.genesis || equal(header.chain, this.#chain), 'chain', 'a block of another chain');
    if (this.#last !== null) {
      await this.#complete();
      this.#keepInMind(this.#last);
      need(header.height === this.#last.height + 1n, 'block', 'heights of blocks leap');
      need(!header.genesis && equal(header.before, this.#last.hash), 'block', 'a block names another one before it');
      need(header.first === this.#last.next, 'block', 'a block does not begin where the one before ends');
    }
    need(header.next <= MAX_INT, 'block', "a block's numbers exceed 2^63-1");
    await this.#goUpTo(header);
    need(equal(header.history, await this.#below.root()), 'block', "a block's key 5 is the hash of all headers below");
    if (header.key !== undefined) this.#setting.push(header);
    need(this.#setting.length <= 1024, 'keys', 'more than 1,024 blocks set a key');
    this.#first ??= header;
    this.#hashes.push(header.hash);
    this.#last = header;
    this.#tree = new Tree();
    if (this.#setters.some(s => s.header.height === header.height)) this.#inRun.set(header.height, header);
  }

  // The tree over all headers below a block: of the first by the start's edge.
  async #goUpTo({ height }) {
    if (this.#last !== null) return this.#below.add(this.#last.hash);
    need(this.#edge.length === edgeLength(height), 'block', "the edge has a hash for each bit of the first block's height");
    this.#below = new Tree(height, this.#edge);
  }

  async #entry(value) {
    form(value.length === 2 && isBytes(value[1]), 'an item of an entry is a kind and the entry');
    const entry = decodeEntry(value[1]);
    need(this.#tree.size < this.#last.count, 'entry', 'more entries than key 8 says');
    if (isNote(entry)) this.#count(await standingOf(entry, this.#chain, this.#trust, this.#last, height => this.#known(height), this.#checks));
    this.#watch.entry?.(entry, this.#last.first + this.#tree.size, this.#last.height);
    await this.#tree.add(await leafHash(value[1]));
  }

  // What is told of a height below the block that is read.
  #known(height) {
    const headers = [this.#first, ...this.#setters.map(s => s.header)];
    return this.#recent.get(height) ?? headers.map(h => told(h, height)).find(t => t !== undefined);
  }

  #keepInMind({ height, hash, next }) {
    this.#recent.set(height, { hash, next });
    this.#recent.delete(height - HEADS_BACK);
  }

  // Each that is bad or contradicted is told by itself.
  #count({ standing, signer, key, binding, said, why }) {
    const alone = standing === 'bad' || binding === 'other';
    let like = this.#notes.find(n => n.standing === standing && n.key === key && n.binding === binding);
    if (like === undefined || alone) {
      like = { number: this.#last.first + BigInt(this.#tree.size), count: 0, repeats: 0, standing, signer, key, binding, why };
      this.#notes.push(like);
    }
    like.count++;
    if (standing !== 'signed') return;
    if (this.#signed.has(said)) like.repeats++;
    this.#signed.add(said);
  }

  async #complete() {
    need(this.#tree.size === this.#last.count, 'entry', 'fewer entries than key 8 says');
    need(equal(await this.#tree.root(), this.#last.root), 'entry', "the entries' root is not key 6");
  }

  async #ends(value) {
    form(value.length === 3 || value.length === 4, 'an end has three or four elements');
    const signed = await decodeSigned(value[1]);
    const later = await decodeLater(value[2], 0);
    const outside = value.length === 4 ? decodeOutside(value[3]) : [];
    await this.#complete();
    need(sameHeader(signed.header, this.#last), 'block', "the end's header is not the last block's");
    this.#end = { signed, later, outside };
  }

  // Second round.
  async finish() {
    const trust = this.#trust;
    form(this.#end !== null, 'a bundle without an end');
    const { signed, later, outside } = this.#end;
    const setters = this.#setters;
    checkLater(later);

    const ends = [signed, ...later.map(l => l.signed)];
    const others = [...ends.map(s => s.header), this.#first];
    checkChain(setters, others, trust);
    await checkKeys(setters, others);
    this.#checkRunKeys();
    for (const s of ends) await checkSignature(s, setters);
    await checkLaterPaths(later, this.#last);
    await checkRelations([...setters.map(s => s.header), ...others], later.map(l => l.path), new Tree(this.#first.height, this.#edge).edge());

    const upper = [];
    for (const s of ends) upper.push(...await trustedReceipts(s, trust));
    const bracket = bounds(upper, [], trust.quorum);
    return {
      number: this.#first.first, next: this.#last.next, height: this.#last.height, chain: this.#last.chain,
      gateway: setters[0].header.name, ...bracket,
      contradicting: contradicting(upper), silences: silences(ends.map(s => s.header), upper), outside: outside.length,
      noQuorum: trust.quorum === 0n, notes: this.#notes,
      header: this.#last, genesis: setters[0].header, first: this.#first, upper, lower: [], evidence: outside,
      sight: { headers: [...setters, ...ends].map(s => s.header), setters: setters.map(s => s.header), receipts: upper, run: { first: this.#first, hashes: this.#hashes } },
    };
  }

  #checkRunKeys() {
    for (const { header } of this.#setters) {
      const own = this.#inRun.get(header.height);
      need(own === undefined || sameHeader(own, header), 'keys', "a header of the start is not the run's");
    }
    for (const header of this.#setting) {
      if (header === this.#last) continue;
      need(this.#setters.some(s => sameHeader(s.header, header)), 'keys', 'a header of the run sets a key, and is not listed');
    }
  }
}
