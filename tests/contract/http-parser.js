// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Does libmam/http understand requests as others do? Thousands of requests, right ones and ones with something wrong in them, go to
// its parser and to the one of Node.js (llhttp). What libmam accepts must be accepted there too and mean the same: method, target,
// fields, body, where it ends, whether the connection goes on. What libmam refuses may be accepted there: it is the stricter one.
//
// Usage: node http-parser.js PROGRAM [SEED [COUNT]]; TAP on stdout.
'use strict';
const { spawnSync } = require('child_process');

process.removeAllListeners('warning');
process.on('warning', () => {});
let HTTPParser, methods;
try {
  ({ HTTPParser, methods } = process.binding('http_parser'));
} catch {
  console.log('1..0 # SKIP this Node.js does not show its parser');
  process.exit(0);
}

const program = process.argv[2];
const seed = Number(process.argv[3] || 1);
const count = Number(process.argv[4] || 20000);

// xorshift: the same messages for the same seed.
let state = (seed * 2654435761) >>> 0 || 1;
function below(n) {
  state ^= state << 13; state >>>= 0;
  state ^= state >>> 17;
  state ^= state << 5; state >>>= 0;
  return state % n;
}
const pick = (list) => list[below(list.length)];

const LINES = ['GET / HTTP/1.1', 'POST /a?b=c HTTP/1.1', 'PUT /x/%20/y HTTP/1.1', 'DELETE /a HTTP/1.0', 'HEAD / HTTP/1.1', 'OPTIONS * HTTP/1.1',
  'GET http://example.com/a HTTP/1.1', 'PATCH /a/../b HTTP/1.1', 'CONNECT example.com:443 HTTP/1.1', 'GET /\u00e9 HTTP/1.1', 'GET /a#b HTTP/1.1',
  'GET  / HTTP/1.1', 'GET / HTTP/1.2', 'GET / HTTP/2.0', 'get / HTTP/1.1', 'FOO / HTTP/1.1', 'GET / http/1.1', 'GET /a b HTTP/1.1', ' GET / HTTP/1.1', 'GET /'];
const HOSTS = ['Host: example.com', 'host: example.com', 'Host: a, b', 'Host:', 'Host: example.com:80', 'Host : example.com', 'Host: example.com\r\nHost: example.com', ''];
const FRAMINGS = ['', '', 'Content-Length: 5', 'Content-Length: 0', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked\r\nContent-Length: 5',
  'Content-Length: 5\r\nContent-Length: 5', 'Content-Length: 5, 5', 'Content-Length: +5', 'Content-Length: 0x5', 'Content-Length: 5 ', 'Content-Length:5',
  'Content-Length: ', 'Content-Length: 00005', 'Content-Length: 99999999999999999999', 'Transfer-Encoding: Chunked', 'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked, chunked', 'Transfer-Encoding:\tchunked', 'Transfer-Encoding: xchunked', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity',
  'Transfer-Encoding : chunked', 'Transfer_Encoding: chunked', 'Content-Length: 5\r\n Content-Length: 6', 'Content-Length: 5\r\nTransfer-Encoding: \u000bchunked'];
const FIELDS = ['A: b', 'A:b', 'A: ', 'A:', 'A: b ', 'A:\tb\t', 'Connection: close', 'Connection: keep-alive', 'Connection: Keep-Alive, X', 'Connection: close, keep-alive',
  'X-A: \u00e9', 'X:\u0000', 'X: a\u0001b', 'X: a\rb', 'X: a\nB: c', 'X y: z', ': empty', 'X', ' folded: x', 'X: a\r\n b', 'Expect: 100-continue',
  'Upgrade: websocket\r\nConnection: Upgrade', 'Connection: upgrade', 'X(): y', 'X-Long: ' + 'y'.repeat(300), 'Accept: */*', 'X: "quoted, comma"', 'X:  two  spaces  '];
const BODIES = ['', 'hello', 'hello', 'hellohello', '5\r\nhello\r\n0\r\n\r\n', '5;a=b\r\nhello\r\n0\r\n\r\n', '5 \r\nhello\r\n0\r\n\r\n', '+5\r\nhello\r\n0\r\n\r\n',
  '0x5\r\nhello\r\n0\r\n\r\n', '5\nhello\n0\n\n', '5\r\nhello\r\n0\r\nX: y\r\n\r\n', '5\r\nhello0\r\n\r\n', '00000000000000005\r\nhello\r\n0\r\n\r\n', '5\r\nhel', '0\r\n\r\n',
  'ffffffffffffffff\r\nhello', '5;\u0000\r\nhello\r\n0\r\n\r\n', '5\r\nhello\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n', '2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n',
  '5;a="b"\r\nhello\r\n0\r\n\r\n', '5\r\r\nhello\r\n0\r\n\r\n', '0\r\nContent-Length: 5\r\n\r\n', '0\r\n X: y\r\n\r\n', 'A\r\n0123456789\r\n0\r\n\r\n'];

function message() {
  const end = below(30) === 0 ? pick(['\n', '\r', '\r\n\r\n']) : '\r\n';
  const lines = [below(4) ? pick(LINES.slice(0, 5)) : pick(LINES)];
  const fields = [];
  const host = below(6) ? HOSTS[0] : pick(HOSTS);
  if (host) fields.push(host);
  const framing = below(3) ? pick(FRAMINGS.slice(0, 6)) : pick(FRAMINGS);
  if (framing) fields.push(framing);
  for (let n = below(4); n > 0; n--) fields.push(below(3) ? pick(FIELDS.slice(0, 10)) : pick(FIELDS));
  for (let i = fields.length - 1; i > 0; i--) {
    const j = below(i + 1);
    [fields[i], fields[j]] = [fields[j], fields[i]];
  }
  const bytes = Buffer.from(lines.concat(fields).join(end) + end + end + pick(BODIES), 'latin1');
  // A byte changed, left out or doubled, in one of four.
  if (below(4) || bytes.length === 0) return bytes;
  const at = below(bytes.length);
  const kind = below(3);
  if (kind === 0) {
    bytes[at] = pick([0, 9, 10, 13, 32, 44, 58, 59, 127, 255, below(256)]);
    return bytes;
  }
  return Buffer.concat([bytes.subarray(0, kind === 1 ? at : at + 1), bytes.subarray(kind === 1 ? at + 1 : at)]);
}

const plain = (text) => Buffer.from(text, 'hex').toString('latin1');
const hex = (text) => Buffer.from(text, 'latin1').toString('hex');

// What Node makes of it: an object as the program's, or "rejected", or "incomplete". Byte by byte, which also tells where it ends.
function node(bytes) {
  const parser = new HTTPParser();
  const result = { method: null, target: null, minor: 0, keepAlive: false, upgrade: false, used: 0, body: '', fields: [] };
  const headers = [], body = [];
  let complete = false, inTrailers = false, url;
  const add = (list) => { for (let i = 0; i < list.length; i += 2) headers.push([hex(list[i]), hex(list[i + 1])]); };

  parser.initialize(HTTPParser.REQUEST, {});
  parser[HTTPParser.kOnHeaders] = (list, first) => {
    if (complete || inTrailers) return;
    add(list);
    url = url || first;
  };
  parser[HTTPParser.kOnHeadersComplete] = (major, minor, list, method, target, code, text, upgrade, keepAlive) => {
    if (complete) return 0;
    if (list) add(list);
    Object.assign(result, { method: hex(methods[method]), target: hex(target || url || ''), minor, keepAlive, upgrade });
    inTrailers = true;
    return 0;
  };
  parser[HTTPParser.kOnBody] = (piece) => { if (!complete) body.push(Buffer.from(piece)); };
  parser[HTTPParser.kOnMessageComplete] = () => { complete = true; };

  for (let i = 0; i < bytes.length && !complete; i++) {
    if (parser.execute(bytes.subarray(i, i + 1)) instanceof Error) {
      parser.close();
      return 'rejected';
    }
    result.used = i + 1;
  }
  parser.close();
  if (!complete) return 'incomplete';
  result.body = Buffer.concat(body).toString('hex');
  result.fields = headers;
  return result;
}

const messages = Array.from({ length: count }, message);
const input = Buffer.concat(messages.flatMap((m) => {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(m.length);
  return [size, m];
}));
const run = spawnSync(program, [], { input, maxBuffer: 1 << 30 });
if (run.status !== 0) {
  console.log(`1..1\nnot ok 1 - the program runs\n# ${run.stderr}`);
  process.exit(1);
}
const answers = run.stdout.toString().trimEnd().split('\n').map((line) => JSON.parse(line));

const known = new Set(methods.map(hex));
let accepted = 0, stricter = 0, differ = 0;
messages.forEach((bytes, i) => {
  const ours = answers[i];
  if (typeof ours === 'string') {
    if (ours === 'rejected' && typeof node(bytes) !== 'string') stricter++;
    return;
  }
  if (!known.has(ours.method)) return; // Node has a list of them
  const theirs = node(bytes);
  // White space behind a value may be a tab (RFC 9110, section 5.6.3); Node refuses that behind a Content-Length.
  if (theirs === 'rejected' && /^content-length:[ \t]*\d+[ \t]*\t[ \t]*\r$/im.test(bytes.toString('latin1'))) return;
  accepted++;
  let same = typeof theirs !== 'string';
  for (const key of ['method', 'target', 'minor', 'upgrade', 'used', 'body']) same = same && theirs[key] === ours[key];
  same = same && JSON.stringify(theirs.fields) === JSON.stringify(ours.fields);
  // "close" ends it, whatever stands beside it (RFC 9112, section 9.3); Node lets "keep-alive" of HTTP/1.0 win.
  const closes = ours.fields.some(([name, value]) => /^connection$/i.test(plain(name)) && /\bclose\b/i.test(plain(value)));
  if (closes) same = same && !ours.keepAlive;
  else if (!ours.upgrade) same = same && theirs.keepAlive === ours.keepAlive;
  if (!same && differ++ < 10) {
    console.log(`# message ${i}: ${JSON.stringify(bytes.toString('latin1'))}`);
    console.log(`#   here: ${JSON.stringify(ours)}`);
    console.log(`#   Node: ${JSON.stringify(theirs)}`);
  }
});
console.log('1..2');
console.log(`${differ ? 'not ok' : 'ok'} 1 - what is accepted means the same to Node.js ${process.versions.node}`);
console.log(`# ${count} messages (seed ${seed}): ${accepted} accepted by both, ${stricter} accepted by Node alone`);
console.log(`${accepted > count / 20 && stricter > 0 ? 'ok' : 'not ok'} 2 - enough of either kind were tried`);
process.exit(differ ? 1 : 0);
