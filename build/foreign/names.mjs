// A name as an aggregator's ("Receipt"); decoders, devices and kinds of evidence are spelled alike.

export const isName = text => /^[a-z0-9][a-z0-9.-]{0,62}$/.test(text);
