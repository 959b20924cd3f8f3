/** node-redlock 4: several keys taken in one script, without NX; an own clock for extend. */

import { createRequire } from 'node:module';
import { PORT, THROUGH } from './case.js';
import { atEnd, free, fresh, held, past, refused, run, same, test } from './case.js';
import { stories } from './outage.js';

const require = createRequire(import.meta.url);
const Redis = require('ioredis5');
const Redlock = require('redlock4');

const clients = [0, 1].map(() => new Redis(PORT, '127.0.0.1'));
clients.forEach((redis) => atEnd(() => redis.disconnect()));
const [here, there] = clients.map((redis) => new Redlock([redis], { retryCount: 0 }));

test('the life of a lock', async () => {
  const key = fresh();
  const lock = await here.lock(key, 20_000);
  await held(key, lock.value);
  same(await clients[1].get(key), lock.value, 'get');
  await refused(there.lock(key, 20_000), 'second acquire');
  await held(key, lock.value, 'after the refused acquire');
  const longer = await lock.extend(30_000);
  await held(key, longer.value, 'after extend');
  await longer.unlock();
  await free(key);
  const again = await there.lock(key, 20_000);
  await held(key, again.value);
});

test('a stranger is refused', async () => {
  const key = fresh();
  const lock = await here.lock(key, 20_000);
  const stranger = new Redlock.Lock(there, key, 'stranger', Date.now() + 20_000);
  await refused(stranger.extend(20_000), 'extend');
  await refused(stranger.unlock(), 'unlock');
  await held(key, lock.value);
});

test('several keys at once', async () => {
  const keys = [fresh(), fresh(), fresh()];
  const lock = await here.lock(keys, 20_000);
  for (const key of keys) await held(key, lock.value);
  await refused(there.lock([fresh(), keys[1]], 20_000), 'an overlapping set');
  await lock.unlock();
  for (const key of keys) await free(key);
});

test('work past the TTL', async () => {
  const key = fresh();
  const lock = await here.lock(key, 1000);
  await past(1000);
  if (!THROUGH) {
    await free(key, 'Redis has expired it');
    return;
  }
  await held(key, lock.value, 'past its TTL');
  await refused(there.lock(key, 1000), 'second acquire');
  await lock.unlock();
  await free(key);
});

stories({
  async client() {
    const redis = new Redis(PORT, '127.0.0.1');
    atEnd(() => redis.disconnect());
    await redis.ping();
    const of = (retryCount) => new Redlock([redis], { retryCount, retryDelay: 20, retryJitter: 0 });
    const [once, patient] = [of(0), of(700)];
    // A refusal is a count of keys; an error of Redis is told beside it.
    const client = { once, patient, problem: null };
    for (const each of [once, patient]) each.on('clientError', (e) => (client.problem ??= e));
    return client;
  },
  async take(client, key) {
    const lock = await client.once.lock(key, 20_000).catch((problem) => {
      if (client.problem || !(problem instanceof Redlock.LockError)) throw client.problem ?? problem;
      return null;
    });
    return lock;
  },
  wait: (client, key) => client.patient.lock(key, 20_000),
  extend: (lock) => lock.extend(30_000),
  release: (lock) => lock.unlock(),
  token: (lock) => lock.value,
});

run();
