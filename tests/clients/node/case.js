/**
 * What every Node client program shares: cases, a direct look into Redis, and what to expect.
 * The twin of python/case.py, which says why; the lines that it prints are read by run.py.
 */

import { readFileSync } from 'node:fs';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { randomBytes } from 'node:crypto';

export const PORT = Number(process.env.CLIENTS_PORT);
export const THROUGH = process.env.CLIENTS_MODE === 'lockside';
const REDIS_PORT = Number(process.env.CLIENTS_REDIS_PORT);
const DEADLINE = 15_000;

export const WORKER_TOKEN = '93:550e8400-e29b-41d4-a716-446655440000';

/** Tokens of every shape that a library lets its caller choose. */
export const TOKENS = {
  'a constant token': Buffer.from('1'),
  'a worker:uuid token': Buffer.from(WORKER_TOKEN),
  'a host:pid token': Buffer.from('web-1:4711'),
  'a uuid token': Buffer.from('550e8400-e29b-41d4-a716-446655440000'),
  'a short text token': Buffer.from('é locked by me'),
  'a binary token': Buffer.from(Array.from({ length: 20 }, (_, i) => 0x80 + i)),
  'a binary token with CR, LF and NUL': Buffer.from('000d0a24350d0afffee0e1e2e3e4e5e6e7e8', 'hex'),
  'a token that ends in a stamp': Buffer.from('93:abc:01-02-2026 03:04:05'),
};

/** The kernel's table of TCP connections, and its word for one that is open. */
const TCP_TABLE = '/proc/self/net/tcp';
const ESTABLISHED = '01';

const cases = [];
const closers = [];

/** A case that has no meaning here; says why. */
class Skipped extends Error {}

/** Leave out the case in direct mode. */
export function needsLockside() {
  if (!THROUGH) throw new Skipped('plain Redis has nobody who answers while it is away');
}

/** Register a case. */
export const test = (name, body) => cases.push([name, body]);

/** Register what must be closed at the end. */
export const atEnd = (close) => closers.push(close);

/** Run every case, print its line, and end with 0 if all passed. */
export async function run() {
  let failed = 0;
  for (const [name, body] of cases) {
    try {
      await within(body(), `case ${name}`);
      console.log(`ok ${name}`);
    } catch (problem) {
      if (problem instanceof Skipped) {
        console.log(`skip ${name}: ${problem.message}`);
        continue;
      }
      failed += 1;
      const text = `${problem?.name}: ${problem?.message}`.replace(/\s+/g, ' ');
      console.log(`FAIL ${name}: ${text}`);
      console.log(problem?.stack);
      // redlock 5 tells each attempt; elsewhere the word is a number.
      if (Array.isArray(problem?.attempts)) console.log(await Promise.all(problem.attempts));
    }
  }
  for (const close of closers) await close();
  real.link?.destroy();
  process.exit(failed ? 1 : 0);
}

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done in time: ${what}`)), DEADLINE * 2);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The two are equal (Buffers by their bytes), else a failure that says what was compared. */
export function same(actual, wanted, what) {
  const text = (v) => (Buffer.isBuffer(v) ? v.toString('latin1') : JSON.stringify(v));
  if (text(actual) !== text(wanted)) {
    throw new Error(`${what}: expected ${text(wanted)}, was ${text(actual)}`);
  }
}

/** The promise is rejected; returns with what. */
export async function refused(promise, what) {
  let result;
  try {
    result = await promise;
  } catch (problem) {
    return problem;
  }
  throw new Error(`${what}: expected an error, was ${JSON.stringify(result)}`);
}

/** A key that no other case uses. */
export const fresh = (prefix = 'lock:') => prefix + randomBytes(6).toString('hex');

/** Ask real Redis, past Lockside; only replies that are a status, an integer or a bulk. */
export async function real(...words) {
  // A link whose Redis was killed is forgotten by `redisAway`.
  real.link ??= net.connect(REDIS_PORT, '127.0.0.1').setNoDelay().on('error', () => {});
  const parts = words.map((w) => Buffer.from(String(w)));
  const body = parts.flatMap((p) => [Buffer.from(`$${p.length}\r\n`), p, Buffer.from('\r\n')]);
  real.link.write(Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...body]));
  let seen = Buffer.alloc(0);
  for (;;) {
    const end = seen.indexOf('\r\n');
    if (end >= 0) {
      const [kind, rest] = [String.fromCharCode(seen[0]), seen.toString('latin1', 1, end)];
      if (kind === '-') throw new Error(rest);
      if (kind === '+') return Buffer.from(rest);
      if (kind === ':') return Number(rest);
      if (rest === '-1') return null;
      if (seen.length >= end + 4 + Number(rest)) return seen.subarray(end + 2, end + 2 + Number(rest));
    }
    seen = Buffer.concat([seen, await new Promise((done) => real.link.once('data', done))]);
  }
}

/** Return when Redis itself has expired a key that was given this TTL just now. */
export async function past(milliseconds) {
  const clock = fresh('test-clock:');
  await real('SET', clock, 'x', 'PX', milliseconds);
  const end = Date.now() + DEADLINE;
  while ((await real('EXISTS', clock)) === 1) {
    if (Date.now() > end) throw new Error(`Redis has not expired ${clock}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** SPEC 4: a UUID, 16 bytes or more of hex or base64 with a digit, or 16 bytes not UTF-8. */
function unique(value) {
  if (value.length < 16) return false;
  const text = value.toString('utf8');
  if (!Buffer.from(text).equals(value)) return true;
  if (/^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/.test(text)) return true;
  return /^[A-Za-z0-9+/]+={0,2}$/.test(text) && /\d/.test(text);
}

const STAMP = '\\d\\d-\\d\\d-\\d{4} \\d\\d:\\d\\d:\\d\\d';

/** What must follow the client value in the stored value. */
function stampPattern(value) {
  const parts = value.toString('latin1').split(':');
  const pair = parts.length === 2 && parts[0] && parts[1];
  if (pair && unique(Buffer.from(parts[1], 'latin1'))) return new RegExp(`^:${STAMP}$`);
  return unique(value) ? /^$/ : new RegExp(`^:~[0-9a-f]{16}:${STAMP}$`);
}

/** Real Redis has the lock, with the stored form of `value`, without TTL (direct: with one). */
export async function held(key, value, what = 'the lock') {
  const wanted = Buffer.isBuffer(value) ? value : Buffer.from(value);
  const [stored, pttl] = [await real('GET', key), await real('PTTL', key)];
  if (stored === null) throw new Error(`${what}: ${key} is not in Redis`);
  if (!THROUGH) {
    same(stored, wanted, `${what}: the value in Redis`);
    same(pttl > 0, true, `${what}: has a TTL (PTTL ${pttl})`);
    return;
  }
  same(stored.subarray(0, wanted.length), wanted, `${what}: the stored value begins with the token`);
  const rest = stored.toString('latin1', wanted.length);
  same(stampPattern(wanted).test(rest), true, `${what}: the stamp after the token ('${rest}')`);
  same(pttl, -1, `${what}: PTTL in Redis`);
}

/** Real Redis has the key, without TTL (direct: with one). */
export async function persistent(key, what = 'the lock') {
  const pttl = await real('PTTL', key);
  same(THROUGH ? pttl === -1 : pttl > 0, true, `${what}: PTTL in Redis (${pttl})`);
}

/** Real Redis does not have the key. */
export async function free(key, what = 'the lock') {
  same(await real('GET', key), null, `${what}: ${key} in Redis`);
}

/** Have the runner do something to the servers, and wait until it is done. */
async function asked(directive) {
  const lines = createInterface({ input: process.stdin });
  const answer = new Promise((done) => lines.once('line', done));
  console.log(directive);
  same(await answer, 'done', "the runner's answer");
  lines.close();
}

/** kill -9 of Lockside and a new start on the same port; direct: Redis forgets its scripts. */
export const restartLockside = () => asked('@restart');

/**
 * Redis is gone while `body` runs, and Lockside knows; afterwards Redis is back and in line.
 * It is killed with -9 and comes back empty; `stopped`: it hangs and comes back as it was.
 * Also after a failure it is brought back, for the cases that follow.
 */
export async function redisAway(stopped, body) {
  try {
    await asked(stopped ? '@redis-stop' : '@redis-down');
    return await body();
  } finally {
    real.link?.destroy();
    real.link = null;
    await asked(stopped ? '@redis-continue' : '@redis-up');
  }
}

/** The local ports of all TCP connections to `PORT` that are open. */
export function openConnections() {
  const rows = readFileSync(TCP_TABLE, 'utf8').trim().split('\n').slice(1);
  const port = (address) => parseInt(address.split(':')[1], 16);
  const open = rows.map((row) => row.trim().split(/\s+/)).filter((row) => row[3] === ESTABLISHED);
  return new Set(open.filter((row) => port(row[2]) === PORT).map((row) => port(row[1])));
}

/** Wait for a condition, at most `DEADLINE` milliseconds. */
export async function until(condition, what) {
  const end = Date.now() + DEADLINE;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`did not happen in time: ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}
