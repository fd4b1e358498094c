// What a file shows and what it does not, in sentences: those of cmd/edgeverify, by `say(key, ...parts)` of the language.

import { toBase32, toHex } from '../foreign/bytes.mjs';
import { clockOutside } from '../foreign/bounds.mjs';
import { isNote } from '../foreign/note.mjs';
import { TOLD, badNotes, earliestOf, isAhead, named, proofOrInside, reversals, silence } from './judge.mjs';
import { instant, payload, printable, quoted, second, shown, sshKey } from './words.mjs';

const CLOCKS = ['unknown', 'unsynchronised', 'synchronised'];

export const plural = (say, key, n) => (Number(n) === 1 ? say(`${key}1`) : say(`${key}N`, n));

export class Report {
  constructor(o, say) {
    this.o = o;
    this.say = say;
    this.r = o.shown;
    this.second = s => second(s, say);
    const r = proofOrInside(o);
    if (r?.upper !== undefined) {
      const q = Number(o.trust.quorum > 1n ? o.trust.quorum : 1n), upper = earliestOf(r.upper), lower = earliestOf(r.lower);
      Object.assign(this, { q, upper, lower });
      this.afterBy = upper.length >= q ? upper.slice(0, q) : [];
      this.beforeBy = lower.length >= q ? lower.slice(lower.length - q) : [];
    }
  }

  // Why a file does not verify, or what of a note in it does not hold; '' for one of which there is nothing to say.
  explain() {
    const { o, say } = this;
    if (o.fault !== undefined) return say('fault', o.fault);
    const bad = this.badText();
    if (o.check === undefined) return bad === '' ? '' : say('badNote', bad);
    if (o.raw.length === 0) return say('failedEmpty');
    if (o.verdict === 'too_few_receipts') {
      const found = o.kind === 'fork' ? 0 : o.inside.receiptedBy.length;
      if (BigInt(named(o.trust)) < o.trust.quorum) return say('failedNever', o.trust.quorum, plural(say, 'aggregator', named(o.trust)), found);
      return say('failedFew', found, o.trust.quorum);
    }
    return say('failed', o.check, say(o.check), o.why) + (bad !== '' ? say('noteBesides', bad) : o.sound ? say('sound') : o.besides ? say('besides', o.besides.message) : '');
  }

  // Notes that are not what they say to be, or were about another history.
  badText() {
    const { say } = this, { found, more } = badNotes(this.o);
    const texts = found.map(n => (n.unchecked ? say('notChecked', n.number, n.unchecked) : say('entryIs', n.number, this.wrong(n.note))));
    const rest = more + Math.max(0, texts.length - TOLD);
    return [...texts.slice(0, TOLD), ...rest > 0 ? [say('andMore', rest)] : []].join('; ');
  }

  wrong({ why, head }) {
    if (why !== undefined) return why;
    if (head === undefined) return this.say('boundOther', '').replace(/[:：]\s*$/, '');
    const { height } = proofOrInside(this.o);
    return head.height >= height ? this.say('ownBlock', head.height, height) : this.say('otherHeader', head.height, head.hash);
  }

  // In a few words, for a table.
  brief() {
    const { o, r, say } = this;
    if (r === undefined || o.verdict !== 'verified') return '';
    if (o.kind === 'fork') return say('shownFork', r.height);
    const { notBefore, notAfter } = r;
    const closed = notBefore !== undefined && notAfter !== undefined ? say('closedBoth', this.second(notBefore), this.second(notAfter))
      : notAfter !== undefined ? say('closedAfter', this.second(notAfter)) : notBefore !== undefined ? say('closedBefore', this.second(notBefore)) : '';
    if (o.kind === 'proof') return say('shownEntry', r.number, r.height) + closed;
    return (r.next === r.number ? say('shownEmpty', r.first.height, r.height) : say('shownBundle', r.number, r.next - 1n, r.first.height, r.height)) + closed;
  }

  proved() {
    const { o, r, say, upper } = this;
    if (o.kind === 'fork') return [say('signedBoth'), ...r.receiptedBy.map(name => say('countersignedBoth', name))];
    const by = say(upper.length > 0 ? 'holder' : 'whoever'), names = this.countersigners(upper), bundle = o.kind === 'bundle';
    const all = [!bundle ? say('recorded', by, r.number) : r.next === r.number ? say('recordedNone', by) : say('recordedAll', by, r.number, r.next - 1n, r.next - r.number)];
    if (upper.length > 0) all.push(say(bundle ? 'countersignedAll' : 'countersigned', names));
    if (r.notAfter !== undefined) all.push(say(bundle ? 'notAfterAll' : 'notAfter', this.second(r.notAfter), this.unless(this.afterBy)));
    if (r.notBefore !== undefined) all.push(say('notBefore', this.second(r.notBefore), this.unless(this.beforeBy)));
    return all;
  }

  countersigners(all) {
    return all.map(a => this.say('countersigner', a.name, a.height, this.second(a.time))).join(', ');
  }

  unless(by) {
    return this.say(by.length === 1 ? 'unlessOne' : 'unlessEach', by.map(r => r.name).join(', '));
  }

  beware() {
    const { o, r, say, upper } = this;
    if (o.kind === 'fork') return [];
    const all = [];
    if (o.trust.quorum === 0n) all.push(say(upper.length > 0 ? 'noQuorum' : o.trust.aggregators.length > 0 ? 'noReceipt' : 'noAggregator'));
    const { note } = r;
    if (note?.standing === 'signed' && note.signer.toLowerCase() !== note.note.who.toLowerCase()) all.push(say('otherAuthor', note.signer, quoted(note.note.who)));
    if (o.kind === 'proof' && isAhead(r)) all.push(say('ahead'));
    all.push(...this.clock());
    all.push(...reversals(r.sight.receipts).map(v => this.reversal(v)));
    for (const s of r.silences) {
      const { promised, from, to } = silence(s, r.sight);
      all.push(say('silent', s.height, promised, this.second(from.time), from.name, from.height, this.second(to.time), to.name, to.height));
    }
    if (o.losses.count > 0) all.push(say('losses', plural(say, 'entries', o.losses.count)));
    return all;
  }

  reversal({ lower, higher }) {
    return this.say('reversal', lower.name, lower.height, this.second(lower.time), higher.height, this.second(higher.time));
  }

  // Where the gateway's clock stood when it sealed a block, if that was outside the bracket.
  clock() {
    const { o, r, say } = this, proof = o.kind === 'proof', { time, clock } = r.header;
    const told = (key, bound) => say(key, instant(time), proof ? say('calledItself', say(CLOCKS[clock[0]])) : '', say(proof ? 'theBlock' : 'theLastBlock'), this.second(bound));
    const all = [];
    if (proof && r.notBefore !== undefined && clockOutside(time, { notBefore: r.notBefore })) all.push(told('clockBefore', r.notBefore));
    if (r.notAfter !== undefined && clockOutside(time, { notAfter: r.notAfter })) all.push(told('clockAfter', r.notAfter));
    return all;
  }

  notProved() {
    const { o, r, say, upper } = this;
    if (o.kind === 'fork') return [say('notHow'), say('notWhich', r.height)];
    const devices = o.trust.devices > 0 ? [say('notDevices')] : [];
    if (o.kind === 'bundle') return [say('notTrueBundle'), say('notInvented'), ...devices, ...upper.length === 0 ? [say('notWhenBundle')] : []];
    const all = r.note === undefined ? [say('notTrue'), say('notInvented')] : this.noteNotProved(r.note);
    all.push(...devices);
    if (upper.length === 0) return [...all, say('notWhen'), say('notOnly'), say('notComplete')];
    if (r.notAfter === undefined) all.push(say('notUpper', upper.length, this.q));
    if (r.notBefore === undefined) all.push(say('notLower'));
    return [...all, say('notBeside')];
  }

  noteNotProved({ standing, note, binding }) {
    const { say } = this, all = [say('notSaidTrue')];
    if (standing !== 'signed') return [...all, say('notSaid')];
    all.push(say('notSigned'));
    if (note.entries === undefined && note.heights === undefined) return all;
    if (note.head === undefined) all.push(say('notNumbers'));
    else if (binding === 'unseen') all.push(say('notUnseen'));
    else if (binding === 'short') all.push(say('notShort'));
    return all;
  }

  // What stands in the file, as pairs of a heading and a text.
  facts() {
    const { o, say } = this, r = proofOrInside(o);
    if (o.kind === 'fork') return this.forkFacts(r);
    const facts = [], add = (key, text, how) => facts.push([say(key), text, how]);
    if (o.undone.length > 0) add('factNote', say('undone', o.undone.map(u => say(u)).join(', ')));
    if (o.kind === 'proof') add('factEntry', say('isEntry', r.number, r.height));
    add('factChain', toBase32(r.chain), 'code');
    if (r.gateway !== undefined) add('factGateway', printable(r.gateway));
    if (r.genesis.continues !== undefined) add('factContinues', say('continues', toHex(r.genesis.continues)));
    if (o.kind === 'proof') this.entryFacts(r, add);
    else this.bundleFacts(r, add);
    for (const e of r.evidence) add('factNote', say('outside', e.height, quoted(e.kind), e.evidence.length));
    return facts;
  }

  entryFacts({ entry, header, note }, add) {
    const { say } = this;
    add('factSource', shown(entry.source));
    add('factReceived', say('received', instant(entry.received)));
    add('factSealed', say('sealed', instant(header.time), say(CLOCKS[header.clock[0]])));
    for (let bit = 0n; bit < 6n; bit++) if (entry.flags & (1n << bit)) add('factNote', say(`flag${bit}`));
    const { text, rest, hex } = payload(entry.payload);
    add('factPayload', text + rest, hex ? 'hex' : 'pre');
    if (entry.readings.length > 0) {
      add('factNote', say('interpretation', entry.decoder && ` ${entry.decoder} `).replace(' ;', ';'));
      add('factNote', say('notReread'));
    }
    if (note !== undefined) this.noteFacts(note, add);
  }

  noteFacts(found, add) {
    const { say } = this, { note, standing, signer, binding } = found;
    if (note !== undefined) {
      if (note.attached) add('factAttached', say('attached', quoted(note.name), quoted(note.mediaType), note.size, note.sha256));
      const author = standing !== 'signed' ? say('authorSays', quoted(note.who)) : signer === note.who ? say('authorOwn', signer) : say('authorCalls', signer, quoted(note.who));
      add('factBy', say('author', author, printable(note.when)));
      const about = this.about(note);
      if (about !== '') add('factAbout', about);
      if (note.reason !== undefined) add('factReason', printable(note.reason));
      if (note.meaning !== undefined) add('factMeaning', printable(note.meaning));
      if (note.text !== undefined) add('factText', note.text.split('\n').map(printable).join('\n'), 'pre');
    }
    add('factSignature', this.signature(found));
    if (note === undefined) return;
    const { head } = note;
    const bound = { same: 'boundSame', short: 'boundShort', unseen: 'boundUnseen' }[binding];
    add('factBound', binding === 'other' ? say('boundOther', this.wrong(found)) : bound ? say(bound, head.height, head.hash) : say('boundNone'));
  }

  about({ entries, heights }) {
    const { say } = this;
    return [['aboutEntry', entries], ['aboutBlock', heights]].flatMap(([key, list]) => (list === undefined ? [] : list.split(' ').map(pair => {
      const [first, last] = pair.split('-');
      return say(key, first === last ? first : say('timeBoth', first, last));
    }))).join(', ');
  }

  signature({ standing, signer, key, why }) {
    const { say } = this;
    if (standing === 'signed') return say('signatureSigned', signer, sshKey(key));
    if (standing === 'unknown key') return key === undefined ? say('signatureUnlisted') : say('signatureStranger', sshKey(key));
    if (standing === 'unchecked') return say('signatureUnchecked', sshKey(key));
    return standing === 'bad' ? say('signatureBad', why) : say('signatureNone');
  }

  bundleFacts(r, add) {
    const { o, say } = this;
    add('factBlocks', say('blocks', r.first.height, r.height, instant(r.header.time)));
    for (const n of r.notes) {
      add('factNotes', say('notesLine', n.count, n.number, this.signature(n), n.binding === 'other' ? `; ${say('boundOther', '').trim()}` : ''));
    }
    this.listed(add, 'factLost', o.losses);
    this.listed(add, 'factSaid', o.said);
    const none = o.entries.filter(e => e.entry.readings.length === 0).length;
    if (none > 0) add('factNote', say('withoutReadings', plural(say, 'entries', none)));
    if (o.left > 0) add('factNote', say('noRoom', plural(say, 'entries', o.left)));
    if (none < o.entries.length) {
      add('factNote', say('interpretationAll'));
      add('factNote', say('notReread'));
    }
  }

  // Entries of the gateway's own, and of people, in a line each.
  listed(add, key, { first, count }) {
    const { say } = this;
    for (const { entry, number, said } of first) add(key, say('entryIs', number, isNote(entry) ? this.saidLine(entry, said) : `${entry.source} ${payload(entry.payload.subarray(0, 300)).text}`));
    if (count > first.length) add(key, say('andMore', count - first.length));
  }

  // What a note says, in one line. Whose word that is stands where the notes are counted.
  saidLine(entry, note) {
    const { say } = this, short = text => quoted(text.length > 300 ? `${text.slice(0, 300)}…` : text);
    if (note === undefined) return say('saidUnread', entry.source);
    const about = this.about(note);
    return say('saidBy', short(note.who), printable(note.when)) + (about === '' ? '' : say('saidAbout', about)) + (note.attached ? say('saidAttaches', short(note.name)) : '')
      + [['saidReason', note.reason], ['saidMeaning', note.meaning], ['saidText', note.text]].map(([key, text]) => (text === undefined ? '' : say(key, short(text)))).join('');
  }

  forkFacts(r) {
    const { say } = this, facts = [], add = (key, text, how) => facts.push([say(key), text, how]);
    add('factChain', toBase32(r.chain), 'code');
    if (r.gateway !== undefined) add('factGateway', printable(r.gateway));
    const [a, b] = r.sides;
    if (a.height === b.height) add('factHeight', say('heightTwo', a.height));
    else {
      add('factHeights', say('heightsTwo', a.height, b.height));
      add('factBecause', say(REASONS[r.conflict]));
    }
    r.sides.forEach((side, i) => {
      const { head, key, receipts } = r.told[i], by = earliestOf(receipts);
      facts.push([say('factHistory', 'AB'[i]), say('headerAt', side.hash, side.height), 'break']);
      if (toHex(head.hash) !== side.hash) add('factShownBy', say('shownBy', head.height, toHex(head.hash)));
      add('factSealed', say('sealedBoot', instant(head.time), say(CLOCKS[head.clock[0]]), head.clock[1]));
      add('factSigned', say('signedBy', sshKey(key)));
      if (by.length > 0) add('factReceipts', this.countersigners(by));
    });
    return facts;
  }
}

// Keys of messages, by the words of two.mjs.
export const REASONS = {
  'two headers at one height': 'TWO_AT_ONE', 'first numbers fall': 'FALL', 'a header right above another names a third': 'THIRD',
  'a header right above another begins later than that ends': 'GAP', 'another header within a bundle': 'WITHIN',
  'a header that sets the key is not in the list of the other': 'LEFT_OUT',
};
