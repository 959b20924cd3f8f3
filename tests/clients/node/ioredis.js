/** ioredis by hand: `set NX`, a release defined by `defineCommand`, MULTI, and reconnection. */

import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { PORT, THROUGH, TOKENS, WORKER_TOKEN, needsLockside, redisAway } from './case.js';
import { atEnd, free, fresh, held, past, real, restartLockside, run, same, test } from './case.js';
import { stories } from './outage.js';

const library = createRequire(import.meta.url)(process.argv[2]);
const Redis = library.Redis ?? library;

const RELEASE = "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end";

function client(options = {}) {
  const redis = new Redis({ host: '127.0.0.1', port: PORT, ...options });
  redis.on('error', () => {});
  redis.defineCommand('release', { numberOfKeys: 1, lua: RELEASE });
  atEnd(() => redis.disconnect());
  return redis;
}

const [here, there] = [client(), client()];

test('the life of a lock', async () => {
  const key = fresh();
  same(await here.set(key, WORKER_TOKEN, 'PX', 20_000, 'NX'), 'OK', 'acquire');
  await held(key, WORKER_TOKEN);
  same(await there.set(key, '94:other', 'PX', 20_000, 'NX'), null, 'second acquire');
  same(await there.get(key), WORKER_TOKEN, 'get');
  same(await here.pexpire(key, 30_000), 1, 'pexpire');
  await held(key, WORKER_TOKEN, 'after pexpire');
  same(await there.release(key, '94:other'), 0, 'release by a stranger');
  await held(key, WORKER_TOKEN);
  same(await here.release(key, WORKER_TOKEN), 1, 'release');
  await free(key);
  same(await here.release(key, WORKER_TOKEN), 0, 'second release, by evalsha');
  same(await there.set(key, WORKER_TOKEN, 'EX', 20, 'NX'), 'OK', 're-acquire');
});

for (const [name, token] of Object.entries(TOKENS)) {
  test(name, async () => {
    const key = fresh();
    same(await here.set(key, token, 'PX', 20_000, 'NX'), 'OK', 'acquire');
    await held(key, token);
    same(await there.getBuffer(key), token, 'getBuffer');
    same(await there.set(key, token, 'PX', 20_000, 'NX'), null, 'second acquire');
    same(await here.release(key, token), 1, 'release');
    await free(key);
  });
}

test('work past the TTL', async () => {
  const key = fresh();
  await here.set(key, WORKER_TOKEN, 'PX', 1000, 'NX');
  await past(1000);
  same(await there.set(key, '94:other', 'PX', 1000, 'NX'), THROUGH ? null : 'OK', 'second acquire');
  if (!THROUGH) return;
  await held(key, WORKER_TOKEN, 'past its TTL');
  same(await here.release(key, WORKER_TOKEN), 1, 'release');
});

test('an acquire and a release inside multi', async () => {
  const key = fresh();
  const first = await here.multi().set(key, WORKER_TOKEN, 'EX', 20, 'NX').get(key).exec();
  same(first, [[null, 'OK'], [null, WORKER_TOKEN]], 'exec');
  await held(key, WORKER_TOKEN);
  same(await there.multi().set(key, '94:other', 'EX', 20, 'NX').exec(), [[null, null]], 'second');
  same(await here.multi().release(key, WORKER_TOKEN).exec(), [[null, 1]], 'release');
  await free(key);
});

test('an automatic pipeline', async () => {
  const auto = client({ enableAutoPipelining: true });
  const keys = Array.from({ length: 30 }, () => fresh());
  const grants = await Promise.all(keys.map((key) => auto.set(key, WORKER_TOKEN, 'EX', 20, 'NX')));
  same(grants, keys.map(() => 'OK'), 'acquires');
  for (const key of keys) await held(key, WORKER_TOKEN);
  same(await Promise.all(keys.map((key) => auto.get(key))), keys.map(() => WORKER_TOKEN), 'gets');
  same(await auto.del(...keys), 30, 'del of all');
});

test('a named client in another database', async () => {
  const other = client({ db: 3, connectionName: 'worker-93' });
  const key = fresh();
  same(await other.set(key, WORKER_TOKEN, 'EX', 20, 'NX'), 'OK', 'acquire');
  await real('SELECT', 3);
  await held(key, WORKER_TOKEN);
  await real('SELECT', 0);
  await free(key, 'database 0');
  same(await other.release(key, WORKER_TOKEN), 1, 'release');
});

test('a lock outlives a restart', async () => {
  const key = fresh();
  await here.set(key, WORKER_TOKEN, 'EX', 20, 'NX');
  await restartLockside();
  same(await there.set(key, '94:other', 'EX', 20, 'NX'), null, 'second acquire');
  await held(key, WORKER_TOKEN, 'after the restart');
  same(await here.get(key), WORKER_TOKEN, 'get');
  same(await here.release(key, WORKER_TOKEN), 1, 'release');
  await free(key);
});

stories({
  client: async () => {
    const redis = client();
    await redis.ping();
    return redis;
  },
  async take(redis, key) {
    const token = `93:${randomUUID()}`;
    const answer = await redis.set(key, token, 'PX', 20_000, 'NX');
    return answer === null ? null : { redis, key, token };
  },
  owns: async ({ redis, key, token }) => (await redis.get(key)) === token,
  async extend(lock) {
    same(await lock.redis.pexpire(lock.key, 30_000), 1, 'pexpire');
    return lock;
  },
  async release({ redis, key, token }) {
    same(await redis.release(key, '94:other'), 0, 'release by a stranger');
    same(await redis.release(key, token), 1, 'release');
  },
  token: ({ token }) => token,
});

test('an automatic pipeline and multi in an outage', async () => {
  needsLockside();
  const auto = client({ enableAutoPipelining: true });
  await auto.ping();
  const keys = Array.from({ length: 30 }, () => fresh());
  const acquire = () => Promise.all(keys.map((key) => auto.set(key, WORKER_TOKEN, 'EX', 20, 'NX')));
  await redisAway(false, async () => {
    same(await acquire(), keys.map(() => 'OK'), 'acquires');
    same(await acquire(), keys.map(() => null), 'second acquires');
    const release = await here.multi().release(keys[0], WORKER_TOKEN).get(keys[0]).exec();
    same(release, [[null, 1], [null, null]], 'exec');
  });
  await free(keys[0], 'released in the outage');
  for (const key of keys.slice(1)) await held(key, WORKER_TOKEN, 'after the outage');
  same(await auto.del(...keys), 29, 'del of all');
});

run();
