// "Entry: one leaf".

import { decode, Float, hasKeys, isArray, isBytes, isHash, isInt, isMap, isText, isUint } from './cbor.mjs';
import { form } from './checks.mjs';
import { isName } from './names.mjs';

const MAX_SIZE = 16 * 2 ** 20;
const NOT_UNDERSTOOD = 8n;

export function decodeEntry(bytes) {
  form(bytes.length <= MAX_SIZE, 'an entry above 16 MiB');
  const value = decode(bytes);
  form(isArray(value, 7, 7), 'an entry is an array of seven');
  const [salt, received, source, flags, payload, decoder, readings] = value;
  form(isBytes(salt, 16), 'a salt has 16 bytes');
  form(isInt(received), 'received is an int');
  form(isText(source), 'source is text');
  form(isUint(flags), 'flags are a uint');
  form(flags < 64n, 'an undefined flag');
  form(isBytes(payload), 'a payload is a byte string');
  form(isText(decoder), 'decoder is text');
  form(decoder === '' || isDecoder(decoder), 'decoder is a name, a slash and a version');
  form(isArray(readings), 'readings are an array');
  form(readings.length <= 65535, 'more than 65,535 readings');
  form(!(flags & NOT_UNDERSTOOD) || readings.length === 0, 'not understood, beside a reading');
  return { salt, received, source, flags, payload, decoder, readings: readings.map(decodeReading) };
}

function isDecoder(text) {
  const parts = text.split('/');
  return parts.length === 2 && isName(parts[0]) && /^[1-9][0-9]{0,9}$/.test(parts[1]) && Number(parts[1]) < 2 ** 31;
}

function decodeReading(value) {
  form(isArray(value, 6, 7), 'a reading is an array of six or seven');
  const [device, name, unit, measured, time, quality, more] = value;
  form(isText(device), 'device is text');
  form(isText(name), 'the name of a reading is text');
  form(isText(unit), 'unit is text');
  form(isValue(measured), 'value is an int, a float, a boolean, text, bytes or null');
  form(time === null || isInt(time), 'time is an int or null');
  form(isUint(quality), 'quality is a uint');
  form(quality < 8n, 'an undefined bit of quality');
  if (value.length === 7) checkMore(more);
  return { device, name, unit, value: measured, time, quality, derived: more?.has(1n) ?? false, meaning: more?.get(2n) };
}

const isValue = v =>
  v === null || isInt(v) || v instanceof Float || typeof v === 'boolean' || isText(v) || isBytes(v);

function checkMore(more) {
  form(isMap(more) && more.size > 0, "the seventh of a reading is a map, never an empty one");
  form(hasKeys(more, ...[1n, 2n].filter(k => more.has(k))), "an unknown key in a reading's map");
  form(!more.has(1n) || more.get(1n) === true, 'derived is true');
  form(!more.has(2n) || isHash(more.get(2n)), 'meaning has 32 bytes');
}
