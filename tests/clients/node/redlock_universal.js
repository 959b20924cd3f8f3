/** redlock-universal: `set NX`, batches in a script, and an extend that reads PTTL first. */

import { createRequire } from 'node:module';
import { PORT, THROUGH, real, needsLockside, redisAway, until } from './case.js';
import { atEnd, free, fresh, held, past, persistent, refused, run, same, test } from './case.js';
import { stories } from './outage.js';

const require = createRequire(import.meta.url);
const { Redis } = require('ioredis');
const { createClient } = require('redis');
const { createLock, createRedlock, IoredisAdapter, LockAcquisitionError, LockManager,
  NodeRedisAdapter } = require('redlock-universal');

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const io = new Redis(PORT, '127.0.0.1');
const node = createClient({ socket: { host: '127.0.0.1', port: PORT } });
await node.connect();
atEnd(() => io.disconnect());
atEnd(() => node.destroy());
const here = new IoredisAdapter(io);
const there = new NodeRedisAdapter(node);
const lockOf = (adapter, key, ttl = 20_000) =>
  createLock({ adapter, key, ttl, retryAttempts: 0, logger: silent });

for (const [name, one, two] of [['ioredis', here, there], ['node-redis', there, here]]) {
  test(`the life of a lock by ${name}`, async () => {
    const key = fresh();
    const [lock, other] = [lockOf(one, key), lockOf(two, key)];
    const handle = await lock.acquire();
    await held(key, handle.value);
    await refused(other.acquire(), 'second acquire');
    same(await other.isLocked(key), true, 'isLocked');
    same(await lock.extend(handle, 30_000), true, 'extend');
    await held(key, handle.value, 'after extend');
    same(await other.extend({ ...handle, value: 'stranger' }, 30_000), false, "a stranger's extend");
    same(await other.release({ ...handle, value: 'stranger' }), false, "a stranger's release");
    await held(key, handle.value);
    same(await lock.release(handle), true, 'release');
    await free(key);
    const again = await other.acquire();
    await held(key, again.value);
  });

  test(`an extend that reads PTTL by ${name}`, async () => {
    const key = fresh();
    const handle = await lockOf(one, key).acquire();
    const extended = await one.atomicExtend(key, handle.value, 1000, 30_000);
    same(extended.resultCode, 1, JSON.stringify(extended));
    await held(key, handle.value, 'after atomicExtend');
    const stranger = await two.atomicExtend(key, 'stranger', 1000, 30_000);
    same(stranger.resultCode, -1, "a stranger's atomicExtend");
    const seen = await two.inspect(key);
    same(seen?.value, handle.value, 'inspect');
  });
}

test('using() extends by itself', async () => {
  const key = fresh();
  await lockOf(here, key, 1000).using(async (signal) => {
    await past(2000);
    await persistent(key, 'after two TTLs');
    same(signal.aborted, false, 'aborted');
    await refused(lockOf(there, key, 1000).acquire(), 'second acquire');
  });
  await free(key);
});

test('a batch', async () => {
  const keys = [fresh(), fresh(), fresh()];
  const [one, two] = [here, there].map(
    (adapter) => new LockManager({ nodes: [adapter], defaultTTL: 20_000, defaultRetryAttempts: 0 }),
  );
  const handles = await one.acquireBatch(keys);
  for (const handle of handles) await held(handle.key, handle.value);
  await refused(two.acquireBatch([fresh(), keys[1]]), 'an overlapping batch');
  await one.releaseBatch(handles);
  for (const key of keys) await free(key);
});

test('a redlock of one node', async () => {
  const key = fresh();
  const redlock = createRedlock({ adapters: [here], key, ttl: 20_000, quorum: 1, retryAttempts: 0 });
  const handle = await redlock.acquire();
  await held(key, handle.value);
  await refused(lockOf(there, key).acquire(), 'second acquire');
  same(await redlock.release(handle), true, 'release');
  await free(key);
});

test('work past the TTL', async () => {
  const key = fresh();
  const lock = lockOf(here, key, 1000);
  const handle = await lock.acquire();
  await past(1000);
  if (!THROUGH) {
    await free(key, 'Redis has expired it');
    return;
  }
  await held(key, handle.value, 'past its TTL');
  await refused(lockOf(there, key).acquire(), 'second acquire');
  same(await lock.extend(handle, 1000), true, 'extend past the TTL');
  same(await lock.release(handle), true, 'release');
  await free(key);
});

for (const name of ['ioredis', 'node-redis']) {
  const connect = {
    async ioredis() {
      const redis = new Redis(PORT, '127.0.0.1');
      atEnd(() => redis.disconnect());
      await redis.ping();
      return new IoredisAdapter(redis);
    },
    async 'node-redis'() {
      const redis = createClient({ socket: { host: '127.0.0.1', port: PORT } });
      await redis.connect();
      atEnd(() => redis.destroy());
      return new NodeRedisAdapter(redis);
    },
  }[name];
  const waits = { ttl: 20_000, retryAttempts: 700, retryDelay: 20, logger: silent };
  stories({
    client: connect,
    async take(adapter, key) {
      const lock = lockOf(adapter, key);
      try {
        return { lock, handle: await lock.acquire() };
      } catch (problem) {
        if (!(problem instanceof LockAcquisitionError && /is already held/.test(problem.message))) {
          throw problem;
        }
        return null;
      }
    },
    async wait(adapter, key) {
      const lock = createLock({ adapter, key, ...waits });
      return { lock, handle: await lock.acquire() };
    },
    owns: ({ lock, handle }) => lock.isLocked(handle.key),
    async extend({ lock, handle }) {
      same(await lock.extend(handle, 30_000), true, 'extend');
      return { lock, handle };
    },
    async release({ lock, handle }) {
      same(await lock.release({ ...handle, value: 'stranger' }), false, "a stranger's release");
      same(await lock.release(handle), true, 'release');
    },
    token: ({ handle }) => handle.value,
  }, { name: `${name}: ` });
}

test('a batch in an outage', async () => {
  needsLockside();
  const keys = [fresh(), fresh(), fresh()];
  const [one, two] = [here, there].map(
    (adapter) => new LockManager({ nodes: [adapter], defaultTTL: 20_000, defaultRetryAttempts: 0 }),
  );
  let handles;
  await redisAway(false, async () => {
    handles = await one.acquireBatch(keys);
    await refused(two.acquireBatch([fresh(), keys[1]]), 'an overlapping batch');
    const seen = await there.inspect(handles[0].key);
    same(seen?.value, handles[0].value, 'inspect');
    const extended = await here.atomicExtend(handles[0].key, handles[0].value, 1000, 30_000);
    same(extended.resultCode, 1, JSON.stringify(extended));
  });
  for (const handle of handles) await held(handle.key, handle.value, 'after the outage');
  await one.releaseBatch(handles);
  for (const key of keys) {
    await until(async () => (await real('GET', key)) === null, 'the released lock goes from Redis');
  }
});

run();
