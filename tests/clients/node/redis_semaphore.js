/** redis-semaphore's Mutex: refreshed at 0.8 of its timeout; its Semaphore is a sorted set. */

import { createRequire } from 'node:module';
import { PORT, THROUGH, needsLockside, redisAway, until } from './case.js';
import { atEnd, free, fresh, held, past, persistent, run, same, test } from './case.js';
import { stories } from './outage.js';

const require = createRequire(import.meta.url);
const { Redis } = require('ioredis');
const { Mutex, Semaphore } = require('redis-semaphore');

const clients = [0, 1].map(() => new Redis(PORT, '127.0.0.1'));
clients.forEach((redis) => atEnd(() => redis.disconnect()));
const [here, there] = clients;
const once = { lockTimeout: 20_000, acquireAttemptsLimit: 1, refreshInterval: 0 };

test('the life of a lock', async () => {
  const name = fresh('');
  const [mine, other] = [new Mutex(here, name, once), new Mutex(there, name, once)];
  same(await mine.tryAcquire(), true, 'acquire');
  await held(`mutex:${name}`, mine.identifier);
  same(await other.tryAcquire(), false, 'second acquire');
  await other.release();
  await held(`mutex:${name}`, mine.identifier, 'after the release by a stranger');
  await mine.release();
  await free(`mutex:${name}`);
  same(await other.tryAcquire(), true, 're-acquire');
  await held(`mutex:${name}`, other.identifier);
});

test('a refreshed lock past its TTL', async () => {
  const name = fresh('');
  let lost = null;
  const onLockLost = (problem) => (lost = problem);
  const mine = new Mutex(here, name, { lockTimeout: 1000, acquireAttemptsLimit: 1, onLockLost });
  same(await mine.tryAcquire(), true, 'acquire');
  await past(2500);
  await persistent(`mutex:${name}`, 'after two TTLs');
  same(lost, null, 'lost');
  same(mine.isAcquired, true, 'isAcquired');
  same(await new Mutex(there, name, once).tryAcquire(), false, 'second acquire');
  await mine.release();
  await free(`mutex:${name}`);
});

test('a lock that came from another process', async () => {
  const name = fresh('');
  const mine = new Mutex(here, name, once);
  await mine.acquire();
  const options = { ...once, identifier: mine.identifier, acquiredExternally: true };
  const moved = new Mutex(there, name, options);
  same(await moved.tryAcquire(), true, 'refresh by its new holder');
  await held(`mutex:${name}`, mine.identifier);
  await moved.release();
  await free(`mutex:${name}`);
});

for (const [title, identifier] of [['a constant token', '1'], ['a worker token', 'host:4711']]) {
  test(title, async () => {
    const name = fresh('');
    const mine = new Mutex(here, name, { ...once, identifier });
    same(await mine.tryAcquire(), true, 'acquire');
    await held(`mutex:${name}`, identifier);
    same(await new Mutex(there, name, { ...once, identifier }).tryAcquire(), false, 'second acquire');
    await mine.release();
    await free(`mutex:${name}`);
  });
}

test('work past the TTL', async () => {
  const name = fresh('');
  const mine = new Mutex(here, name, { ...once, lockTimeout: 1000 });
  await mine.acquire();
  await past(1000);
  const again = await new Mutex(there, name, once).tryAcquire();
  same(again, !THROUGH, 'second acquire');
  if (!THROUGH) return;
  await held(`mutex:${name}`, mine.identifier, 'past its TTL');
  await mine.release();
  await free(`mutex:${name}`);
});

test('a semaphore, which is no lock key, keeps its TTL', async () => {
  const name = fresh('');
  const [one, two, three] = [here, there, there].map((c) => new Semaphore(c, name, 2, once));
  same([await one.tryAcquire(), await two.tryAcquire(), await three.tryAcquire()],
    [true, true, false], 'two of three');
  same((await there.pttl(`semaphore:${name}`)) > 0, true, 'the TTL of its set');
  await one.release();
  same(await three.tryAcquire(), true, 'the third after a release');
});

/** With the client's refresh, which goes on through the outage. */
const refreshed = (redis, name, options) => {
  const onLockLost = (problem) => (mutex.lost = problem);
  const mutex = new Mutex(redis, name, { lockTimeout: 500, onLockLost, ...options });
  return mutex;
};

stories({
  name: () => fresh(''),
  key: (name) => `mutex:${name}`,
  async client() {
    const redis = new Redis(PORT, '127.0.0.1');
    atEnd(() => redis.disconnect());
    await redis.ping();
    return redis;
  },
  async take(redis, name) {
    const mutex = refreshed(redis, name, { acquireAttemptsLimit: 1 });
    return (await mutex.tryAcquire()) ? mutex : null;
  },
  async wait(redis, name) {
    const mutex = refreshed(redis, name);
    await mutex.acquire();
    return mutex;
  },
  owns: (mutex) => mutex.isAcquired && mutex.lost === undefined,
  release: (mutex) => mutex.release(),
  token: (mutex) => mutex.identifier,
});

test('a refreshed lock through an outage of several TTLs', async () => {
  needsLockside();
  const name = fresh('');
  const mutex = refreshed(here, name, { lockTimeout: 300, acquireAttemptsLimit: 1 });
  same(await mutex.tryAcquire(), true, 'acquire');
  await redisAway(false, async () => {
    const end = Date.now() + 1000;
    await until(() => Date.now() > end, 'three TTLs');
    same([mutex.isAcquired, mutex.lost], [true, undefined], 'isAcquired, lost');
  });
  await held(`mutex:${name}`, mutex.identifier, 'after the outage');
  await mutex.release();
});

run();
