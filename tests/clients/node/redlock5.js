/** node-redlock 5 and @sesamecare-oss/redlock, which has the same interface and SELECTs in Lua. */

import { createRequire } from 'node:module';
import { PORT, THROUGH, needsLockside, redisAway, until } from './case.js';
import { atEnd, free, fresh, held, past, persistent, real, refused, run, same, test } from './case.js';
import { ENDINGS, stories } from './outage.js';

const require = createRequire(import.meta.url);
const name = process.argv[2];
const library = require(name);
const Redlock = library.Redlock ?? library.default;
const Redis = require(name === 'redlock5' ? 'ioredis5' : 'ioredis');
const DB = name === 'redlock5' ? undefined : 2;

const clients = [0, 1].map(() => new Redis.Redis({ port: PORT, host: '127.0.0.1', db: DB }));
clients.forEach((redis) => atEnd(() => redis.disconnect()));
const [here, there] = clients.map((c) => new Redlock([c], { retryCount: 0, db: DB }));
await real('SELECT', DB ?? 0);

test('the life of a lock', async () => {
  const key = fresh();
  const lock = await here.acquire([key], 20_000);
  await held(key, lock.value);
  same(await clients[1].get(key), lock.value, 'get');
  await refused(there.acquire([key], 20_000), 'second acquire');
  await held(key, lock.value, 'after the refused acquire');
  const longer = await lock.extend(30_000);
  await held(key, longer.value, 'after extend');
  await longer.release();
  await free(key);
  const again = await there.acquire([key], 20_000);
  await held(key, again.value);
});

test('a stranger is refused', async () => {
  const key = fresh();
  const lock = await here.acquire([key], 20_000);
  const stranger = new library.Lock(there, [key], 'stranger', [], Date.now() + 20_000);
  await refused(stranger.extend(20_000), 'extend');
  await refused(stranger.release(), 'release');
  await held(key, lock.value);
});

test('several keys at once', async () => {
  const keys = [fresh(), fresh(), fresh()];
  const lock = await here.acquire(keys, 20_000);
  for (const key of keys) await held(key, lock.value);
  await refused(there.acquire([fresh(), keys[1]], 20_000), 'an overlapping set');
  await lock.release();
  for (const key of keys) await free(key);
});

test('using() extends by itself', async () => {
  const key = fresh();
  await here.using([key], 1000, { automaticExtensionThreshold: 600 }, async (signal) => {
    await past(2000);
    same(signal.aborted, false, 'aborted');
    await persistent(key, 'after two TTLs');
    await refused(there.acquire([key], 1000), 'second acquire');
  });
  await free(key);
});

test('work past the TTL', async () => {
  const key = fresh();
  const lock = await here.acquire([key], 1000);
  await past(1000);
  if (!THROUGH) {
    await free(key, 'Redis has expired it');
    return;
  }
  await held(key, lock.value, 'past its TTL');
  await refused(there.acquire([key], 1000), 'second acquire');
  await lock.release();
  await free(key);
});

stories({
  db: DB ?? 0,
  async client() {
    const redis = new Redis.Redis({ port: PORT, host: '127.0.0.1', db: DB });
    atEnd(() => redis.disconnect());
    await redis.ping();
    const of = (retryCount) =>
      new Redlock([redis], { retryCount, retryDelay: 20, retryJitter: 0, db: DB });
    return { once: of(0), patient: of(700) };
  },
  async take(client, key) {
    try {
      return await client.once.acquire([key], 20_000);
    } catch (problem) {
      for (const attempt of problem.attempts ?? []) {
        for (const error of (await attempt).votesAgainst.values()) {
          if (!(error instanceof library.ResourceLockedError)) throw error;
        }
      }
      if (!(problem instanceof library.ExecutionError)) throw problem;
      return null;
    }
  },
  wait: (client, key) => client.patient.acquire([key], 20_000),
  extend: (lock) => lock.extend(30_000),
  release: (lock) => lock.release(),
  token: (lock) => lock.value,
}, { hangs: true });

test('using() extends by itself through an outage', async () => {
  needsLockside();
  const key = fresh();
  await here.using([key], 1000, { automaticExtensionThreshold: 600 }, async (signal) => {
    await redisAway(false, async () => {
      const end = Date.now() + 1500;
      await until(() => Date.now() > end, 'more than a TTL');
      same(signal.aborted, false, 'aborted');
      await refused(there.acquire([key], 1000), 'second acquire');
    });
    same(signal.aborted, false, 'aborted');
    await real('SELECT', DB ?? 0);
    await persistent(key, 'after the outage');
  });
  await until(async () => (await real('GET', key)) === null, 'the released lock goes from Redis');
});

for (const [ending, stopped] of Object.entries(ENDINGS)) {
  test(`ten workers never hold it together while Redis ${ending}`, async () => {
    needsLockside();
    const key = fresh();
    let [inside, most, done, over] = [0, 0, 0, false];
    const patient = clients.map((redis) =>
      new Redlock([redis], { retryCount: 700, retryDelay: 20, retryJitter: 10, db: DB }));
    const worker = async (redlock) => {
      while (!over) {
        const lock = await redlock.acquire([key], 20_000);
        most = Math.max(most, ++inside);
        await new Promise(setImmediate);
        inside -= 1;
        done += 1;
        await lock.release();
      }
    };
    const turns = (count = 10) => {
      const wanted = done + count;
      return until(() => done >= wanted, `${count} turns`);
    };
    const workers = Promise.all(Array.from({ length: 10 }, (_, i) => worker(patient[i % 2])));
    workers.catch(() => {});
    try {
      await turns();
      await redisAway(stopped, () => turns());
      await turns();
    } finally {
      over = true;
      await workers;
    }
    same(most, 1, 'most at one time');
    // What Redis did late for a client that had its answer from the ledger runs out by itself.
    await real('SELECT', DB ?? 0);
    await until(async () => (await real('GET', key)) === null, 'Redis has no lock in the end');
  });
}

run();
