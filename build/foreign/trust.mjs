// "Trust file".

import { equal, fromBase32, fromBase64, fromHex, toHex } from './bytes.mjs';
import { idOf, isCanonical, isSmall } from './ed25519.mjs';
import { need } from './checks.mjs';
import { isName } from './names.mjs';

const SSH_PREFIX = fromHex('0000000b' + '7373682d65643235353139' + '00000020');

// A trust file from its bytes: { chains, aggregators: [{ name, key, kid }], persons: [{ name, key }],
// devices: how many, quorum }. Throws Failed, its check 'trust',
// with the number of the line.
export async function parseTrust(bytes) {
  const seen = new Set();
  const trust = { chains: [], aggregators: [], persons: [], devices: 0, quorum: 0n };
  let number = 0;
  for (const line of lines(bytes)) {
    number++;
    const refuse = (condition, why) => need(condition, 'trust', why);
    const words = line.split(/[ \t]+/).filter(word => word !== '');
    if (words.length === 0 || words[0].startsWith('#')) continue;
    const once = (what, why) => {
      refuse(!seen.has(what), why);
      seen.add(what);
    };
    try {
      await statement(words, trust, refuse, once);
    } catch (e) {
      e.line = number;
      throw e;
    }
  }
  return trust;
}

function lines(bytes) {
  let text = '';
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes); // drops a byte order mark
  } catch {
    need(false, 'trust', 'a trust file that is not UTF-8');
  }
  const ended = text.split('\n');
  const last = ended.pop();
  return [...ended.map(line => line.endsWith('\r') ? line.slice(0, -1) : line), last];
}

async function statement([word, ...rest], trust, refuse, once) {
  const count = { chain: 1, aggregator: 3, quorum: 1, device: 3, person: 3 }[word];
  refuse(rest.length === count, 'an unknown word, or a word too few or too many');
  switch (word) {
    case 'chain': {
      const chain = fromBase32(rest[0]);
      refuse(rest[0].length === 52, 'a chain has 52 characters');
      refuse(chain !== null, 'a chain is lower-case base32, unused bits zero');
      once(`chain ${rest[0]}`, 'a chain twice');
      trust.chains.push(chain);
      break;
    }
    case 'aggregator': {
      const [name, type, text] = rest;
      refuse(isName(name), "an aggregator's name in a trust file");
      const key = sshKey(type, text, refuse);
      once(`aggregator ${toHex(key)}`, "an aggregator's key twice");
      trust.aggregators.push({ name, key, kid: await idOf(key) });
      break;
    }
    case 'quorum': {
      refuse(/^(0|[1-9][0-9]{0,9})$/.test(rest[0]), 'a quorum is plain digits');
      refuse(Number(rest[0]) < 2 ** 31, 'a quorum above 2^31-1');
      once('quorum', 'a second quorum');
      trust.quorum = BigInt(rest[0]);
      break;
    }
    case 'device': {
      const [name, kind, text] = rest;
      refuse(isName(name), "a device's name");
      refuse(['ocmf', 'cose', 'jws'].includes(kind), "a device's kind");
      const key = fromBase64(text);
      refuse(key !== null, "a device's key is base64");
      refuse(key.length >= 1 && key.length <= 1024, "a device's key has 1 to 1,024 bytes");
      once(`device ${kind} ${text}`, "a device's key twice");
      trust.devices++;
      break;
    }
    case 'person': {
      const [name, type, text] = rest;
      refuse(isName(name), "a person's name");
      const key = sshKey(type, text, refuse);
      once(`person ${toHex(key)}`, "a person's key twice");
      trust.persons.push({ name, key });
      break;
    }
  }
}

function sshKey(type, text, refuse) {
  refuse(type === 'ssh-ed25519', 'a key is of type ssh-ed25519');
  const blob = fromBase64(text);
  refuse(blob !== null && blob.length === 51, 'a key has 68 characters of base64');
  refuse(equal(blob.subarray(0, 19), SSH_PREFIX), 'a key begins as RFC 8709 says');
  const key = blob.slice(19);
  refuse(isCanonical(key), 'a key in a trust file that is not canonical');
  refuse(!isSmall(key), 'a key of small order in a trust file');
  return key;
}
