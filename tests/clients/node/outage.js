/**
 * One outage of Redis, told once for every library: hold, extend, contend, release and acquire.
 * The twin of python/outage.py, which says why.
 *
 * A library is an object with
 *   client()             a client with connections of its own, one of them open;
 *   take(client, name)   asks once: the lock, or null when it is refused;
 *   release(lock)        an error if the library tells of one;
 *   token(lock)          the value that the library wrote;
 * and, where it has them,
 *   owns(lock)           whether its holder has it;
 *   extend(lock)         extends, and returns the lock to go on with;
 *   wait(client, name)   asks until the lock is free, and returns it;
 *   name(), key(name)    a fresh name for a lock, and its key in Redis;
 *   db                   the database of its keys, 0.
 */

import { free, fresh, held, needsLockside, openConnections } from './case.js';
import { real, redisAway, same, test, until } from './case.js';

/** How Redis goes, and whether it is only stopped. */
export const ENDINGS = { 'is killed and comes back empty': false, 'hangs and goes on': true };
const DEFAULTS = { name: () => fresh(), key: (name) => name, db: 0 };

class Story {
  constructor(library) {
    this.of = { ...DEFAULTS, ...library };
    this.locks = new Map();
    this.names = new Map();
  }

  async tell(stopped) {
    await this.before();
    const open = openConnections();
    await redisAway(stopped, async () => {
      await this.holdersHold();
      await this.theWaiterIsServed();
      await this.othersTake();
    });
    const now = openConnections();
    const lost = [...open].filter((port) => !now.has(port));
    same(lost, [], 'connections that did not outlive the outage');
    await this.afterwards();
  }

  key(what) {
    return this.of.key(this.names.get(what));
  }

  /** Take the lock called `what`, which must be free. */
  async take(client, what) {
    if (!this.names.has(what)) this.names.set(what, this.of.name());
    const lock = await this.of.take(client, this.names.get(what));
    same(Boolean(lock), true, `acquire of the lock '${what}'`);
    this.locks.set(what, lock);
  }

  /** The lock called `what` is held, and not given to this client. */
  async isRefused(client, what) {
    const lock = await this.of.take(client, this.names.get(what));
    same(Boolean(lock), false, `a second acquire of '${what}' is granted`);
  }

  /** Its holder has the lock, and can extend it, as far as the library can do that. */
  async isOwned(what) {
    const lock = this.locks.get(what);
    if (this.of.owns) same(await this.of.owns(lock), true, `the holder owns '${what}'`);
    if (this.of.extend) this.locks.set(what, await this.of.extend(lock));
  }

  async release(what) {
    await this.of.release(this.locks.get(what));
    this.locks.delete(what);
  }

  /** Every client has an open connection; three locks are held, and one is waited for. */
  async before() {
    this.here = await this.of.client();
    this.there = await this.of.client();
    for (const what of ['kept', 'given', 'awaited']) await this.take(this.here, what);
    await this.isRefused(this.there, 'kept');
    await this.isOwned('kept');
    if (this.of.wait) this.waiter = await this.waits(await this.of.client());
  }

  /** Begin to wait for the lock; the result is an object, for a promise would be awaited at once. */
  async waits(client) {
    const lock = this.of.wait(client, this.names.get('awaited'));
    lock.catch(() => {});
    return { lock };
  }

  /** What was held is held, and given to nobody, new clients among them. */
  async holdersHold() {
    await this.isOwned('kept');
    await this.isRefused(this.there, 'kept');
    this.newcomer = await this.of.client();
    await this.isRefused(this.newcomer, 'kept');
    await this.isRefused(this.newcomer, 'awaited');
  }

  /** Who waited since before the outage gets the lock in it, as does who waits from now on. */
  async theWaiterIsServed() {
    if (!this.waiter) return;
    let waiter = this.waiter;
    for (const next of [this.newcomer, null]) {
      await this.release('awaited');
      this.locks.set('awaited', await waiter.lock);
      await this.isOwned('awaited');
      await this.isRefused(this.there, 'awaited');
      if (next) waiter = await this.waits(next);
    }
  }

  /** Releases work, what was released is taken by others, new locks are taken. */
  async othersTake() {
    await this.release('given');
    await this.take(this.there, 'given');
    await this.isOwned('given');
    await this.isRefused(this.here, 'given');
    await this.take(this.newcomer, 'new');
    await this.isOwned('new');
    await this.isRefused(this.here, 'new');
    await this.take(this.here, 'passing');
    await this.release('passing');
  }

  /**
   * Redis has what clients were told they hold, and not what they released; the holders of before
   * and of the outage go on, release, and strangers can take it.
   */
  async afterwards() {
    await real('SELECT', this.of.db);
    for (const [what, lock] of this.locks) {
      await held(this.key(what), this.of.token(lock), `'${what}' after the outage`);
    }
    await free(this.key('passing'), 'released in the outage');
    for (const what of [...this.locks.keys()]) {
      await this.isOwned(what);
      await this.isRefused(await this.of.client(), what);
      await this.release(what);
      // The first release of a lock that changed without Redis reaches Redis by a repair.
      await until(async () => (await real('GET', this.key(what))) === null, `'${what}' is released`);
      await this.take(this.there, what);
      await this.release(what);
    }
  }
}

/**
 * Register the cases of a library: Redis killed, and with `hangs` also Redis stopped. `name` tells
 * those of one suite apart.
 */
export function stories(library, { hangs = false, name = '' } = {}) {
  for (const [ending, stopped] of Object.entries(ENDINGS)) {
    if (stopped && !hangs) continue;
    test(`${name}Redis ${ending}`, async () => {
      needsLockside();
      await new Story(library).tell(stopped);
    });
  }
}
