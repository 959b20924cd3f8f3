/** node-redis by hand: `SET NX` with options, EVAL and EVALSHA, MULTI, Buffers. */

import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { PORT, THROUGH, TOKENS, WORKER_TOKEN, needsLockside, redisAway } from './case.js';
import { atEnd, free, fresh, held, past, run, same, test } from './case.js';
import { stories } from './outage.js';

const name = process.argv[2];
const library = createRequire(import.meta.url)(name);
const RELEASE = "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end";

const release = library.defineScript({
  NUMBER_OF_KEYS: 1,
  SCRIPT: RELEASE,
  // node-redis 4 takes the arguments as they are returned, 5 and later fill in a parser.
  transformArguments: (key, token) => [key, token],
  parseCommand: (parser, key, token) => (parser.pushKey(key), parser.push(token)),
  transformReply: undefined,
});

async function client(options = {}) {
  const redis = library.createClient({
    socket: { host: '127.0.0.1', port: PORT },
    scripts: { release },
    ...options,
  });
  redis.on('error', () => {});
  await redis.connect();
  atEnd(() => (redis.destroy ? redis.destroy() : redis.disconnect()));
  return redis;
}

const [here, there] = [await client(), await client()];
const nx = { NX: true, PX: 20_000 };

test('the life of a lock', async () => {
  const key = fresh();
  same(await here.set(key, WORKER_TOKEN, nx), 'OK', 'acquire');
  await held(key, WORKER_TOKEN);
  same(await there.set(key, '94:other', nx), null, 'second acquire');
  same(await there.get(key), WORKER_TOKEN, 'get');
  same(Boolean(await here.pExpire(key, 30_000)), true, 'pExpire');
  await held(key, WORKER_TOKEN, 'after pExpire');
  same(await there.eval(RELEASE, { keys: [key], arguments: ['94:other'] }), 0, 'a stranger');
  await held(key, WORKER_TOKEN);
  same(await here.release(key, WORKER_TOKEN), 1, 'release by a defined script');
  await free(key);
  same(await there.set(key, WORKER_TOKEN, { NX: true, EX: 20 }), 'OK', 're-acquire');
});

for (const [title, token] of Object.entries(TOKENS)) {
  test(title, async () => {
    const key = fresh();
    same(await here.set(key, token, nx), 'OK', 'acquire');
    await held(key, token);
    same(await there.set(key, token, nx), null, 'second acquire');
    same(await here.release(key, token), 1, 'release');
    await free(key);
  });
}

test('work past the TTL', async () => {
  const key = fresh();
  await here.set(key, WORKER_TOKEN, { NX: true, PX: 1000 });
  await past(1000);
  same(await there.set(key, '94:other', nx), THROUGH ? null : 'OK', 'second acquire');
  if (!THROUGH) return;
  await held(key, WORKER_TOKEN, 'past its TTL');
  same(await here.release(key, WORKER_TOKEN), 1, 'release');
});

test('an acquire inside multi', async () => {
  const key = fresh();
  same(await here.multi().set(key, WORKER_TOKEN, nx).get(key).exec(), ['OK', WORKER_TOKEN], 'exec');
  await held(key, WORKER_TOKEN);
  same(await there.multi().set(key, '94:other', nx).exec(), [null], 'exec of the second');
});

test('a pipeline of one tick', async () => {
  const keys = Array.from({ length: 30 }, () => fresh());
  const grants = await Promise.all(keys.map((key) => here.set(key, WORKER_TOKEN, nx)));
  same(grants, keys.map(() => 'OK'), 'acquires');
  for (const key of keys) await held(key, WORKER_TOKEN);
  same(await there.mGet(keys), keys.map(() => WORKER_TOKEN), 'mGet');
});

if (name !== 'redis4') {
  test('RESP3 and RESP2', async () => {
    for (const RESP of [2, 3]) {
      const [other, key] = [await client({ RESP }), fresh()];
      same(await other.set(key, WORKER_TOKEN, nx), 'OK', `acquire in RESP${RESP}`);
      same(await other.set(key, WORKER_TOKEN, nx), null, `second acquire in RESP${RESP}`);
      await held(key, WORKER_TOKEN);
      same(await other.release(key, WORKER_TOKEN), 1, 'release');
    }
  });
}

stories({
  client,
  async take(redis, key) {
    const token = `93:${randomUUID()}`;
    const answer = await redis.set(key, token, nx);
    return answer === null ? null : { redis, key, token };
  },
  owns: async ({ redis, key, token }) => (await redis.get(key)) === token,
  async extend(lock) {
    same(Boolean(await lock.redis.pExpire(lock.key, 30_000)), true, 'pExpire');
    return lock;
  },
  async release({ redis, key, token }) {
    same(await redis.release(key, '94:other'), 0, 'release by a stranger');
    same(await redis.release(key, token), 1, 'release');
  },
  token: ({ token }) => token,
}, { hangs: true });

test('a pipeline of one tick and multi in an outage', async () => {
  needsLockside();
  const keys = Array.from({ length: 30 }, () => fresh());
  const acquire = () => Promise.all(keys.map((key) => here.set(key, WORKER_TOKEN, nx)));
  await redisAway(false, async () => {
    same(await acquire(), keys.map(() => 'OK'), 'acquires');
    same(await acquire(), keys.map(() => null), 'second acquires');
    same(await there.multi().get(keys[0]).del(keys[0]).exec(), [WORKER_TOKEN, 1], 'exec');
  });
  await free(keys[0], 'released in the outage');
  for (const key of keys.slice(1)) await held(key, WORKER_TOKEN, 'after the outage');
  same(await here.del(keys), 29, 'del of all');
});

run();
