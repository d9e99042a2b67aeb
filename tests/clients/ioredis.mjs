// ioredis: strings, hashes, expiry, scans, pipelines, prefixes, reconnecting.
import assert from 'node:assert/strict';
import { between, check, equal, finish, load, rejects, server, sleep } from './lib/checks.mjs';

const Redis = load('ioredis');
const { version } = load('ioredis/package.json');
const port = server('start', 'ioredis');
const guarded = server('start', 'ioredis-guarded', '--requirepass', 's3cret');
const redis = new Redis(port);
const name = (what) => `ioredis ${version}: ${what}`;

await check(name('strings'), async () => {
  equal(await redis.set('s', 'value'), 'OK');
  equal(await redis.get('s'), 'value');
  equal(await redis.get('absent'), null);
  equal(await redis.set('s', 'no', 'NX'), null);
  equal(await redis.set('s', 'new', 'EX', 1000, 'XX', 'GET'), 'value');
  between(990, await redis.ttl('s'), 1000);
  equal(await redis.set('s', 'kept', 'KEEPTTL'), 'OK');
  between(990, await redis.ttl('s'), 1000);
  equal(await redis.append('s', '!'), 5);
  equal(await redis.getrange('s', 0, 3), 'kept');
  equal(await redis.setrange('s', 4, '?'), 5);
  equal(await redis.strlen('s'), 5);
  equal(await redis.getdel('s'), 'kept?');
  equal(await redis.getset('s', '1'), null);
  equal(await redis.mset({ a: '1', b: '2' }), 'OK');
  equal(await redis.mget('a', 'absent', 'b'), ['1', null, '2']);
  equal(await redis.msetnx('a', 'x', 'c', 'y'), 0);
  equal(await redis.incr('n'), 1);
  equal(await redis.incrby('n', 41), 42);
  equal(await redis.decrby('n', 2), 40);
  equal(await redis.incrbyfloat('n', '0.5'), '40.5');
  equal(await redis.setBuffer('bin', Buffer.from([0, 255, 13, 10])).then(String), 'OK');
  equal([...(await redis.getBuffer('bin'))], [0, 255, 13, 10]);
});

await check(name('hashes'), async () => {
  equal(await redis.hset('h', { a: '1', b: '2', c: '3' }), 3);
  equal(await redis.hset('h', new Map([['a', 'one']])), 0);
  equal(await redis.hgetall('h'), { a: 'one', b: '2', c: '3' });
  equal(await redis.hgetall('absent'), {});
  equal(await redis.hget('h', 'a'), 'one');
  equal(await redis.hmget('h', 'a', 'zz'), ['one', null]);
  equal((await redis.hkeys('h')).sort(), ['a', 'b', 'c']);
  equal((await redis.hvals('h')).sort(), ['2', '3', 'one']);
  equal(await redis.hlen('h'), 3);
  equal(await redis.hexists('h', 'zz'), 0);
  equal(await redis.hsetnx('h', 'd', '4'), 1);
  equal(await redis.hincrby('h', 'd', 6), 10);
  equal(await redis.hincrbyfloat('h', 'd', 0.5), '10.5');
  equal(await redis.hstrlen('h', 'a'), 3);
  equal(await redis.hdel('h', 'a', 'b', 'zz'), 2);
  equal(await redis.hmset('h2', { x: '1' }), 'OK');
  await rejects(redis.hincrby('h2', 'x', '9223372036854775807'), 'increment or decrement would overflow');
  await rejects(redis.get('h'), 'WRONGTYPE');
});

await check(name('keys and expiry'), async () => {
  await redis.set('e', '1');
  equal(await redis.ttl('e'), -1);
  equal(await redis.expire('e', 1000), 1);
  equal(await redis.expire('e', 2000, 'NX'), 0);
  equal(await redis.persist('e'), 1);
  equal(await redis.pexpire('e', 60), 1);
  equal(await redis.exists('e', 'n', 'n'), 3);
  await sleep(120);
  equal(await redis.get('e'), null);
  equal(await redis.ttl('e'), -2);
  equal(await redis.type('h'), 'hash');
  equal(await redis.rename('h', 'renamed'), 'OK');
  equal(await redis.copy('renamed', 'h'), 1);
  await rejects(redis.rename('absent', 'x'), 'no such key');
  equal(await redis.unlink('renamed', 'h'), 2);
  equal(await redis.object('ENCODING', 'n'), 'embstr');
});

await check(name('pipelines'), async () => {
  const pipeline = redis.pipeline();
  for (let n = 0; n < 2000; n += 1) pipeline.set(`p:${n}`, n).incr(`p:${n}`);
  const replies = await pipeline.exec();
  equal(replies.length, 4000);
  replies.forEach(([error, value], n) => {
    equal(error, null);
    equal(value, n % 2 ? (n + 1) / 2 : 'OK');
  });
  const mixed = await redis.pipeline().set('t', 'x').incr('t').get('t').exec();
  equal(mixed[0][1], 'OK');
  assert.match(mixed[1][0].message, /not an integer/);
  equal(mixed[2][1], 'x');
});

await check(name('transactions'), async () => {
  equal(await redis.multi().set('m', '1').incr('m').get('m').exec(), [[null, 'OK'], [null, 2], [null, '2']]);
  equal(await redis.multi().exec(), []);
  equal(await redis.multi([['set', 'm', '3'], ['get', 'm']]).exec(), [[null, 'OK'], [null, '3']]);
  const mixed = await redis.multi().set('m', 'x').incr('m').get('m').exec();
  equal([mixed[0], mixed[2]], [[null, 'OK'], [null, 'x']]);
  assert.match(mixed[1][0].message, /not an integer/);
  // What cannot be queued: nothing is carried out, and the error names what was wrong.
  await rejects(redis.multi().set('m', 'y').call('get').exec(), 'EXECABORT');
  equal(await redis.get('m'), 'x');
  // By hand, a command at a time.
  equal(await redis.multi({ pipeline: false }), 'OK');
  equal(await redis.set('m', '4'), 'QUEUED');
  equal(await redis.get('m'), 'QUEUED');
  equal(await redis.exec(), [[null, 'OK'], [null, '4']]);
  equal(await redis.multi({ pipeline: false }), 'OK');
  equal(await redis.set('m', '5'), 'QUEUED');
  equal(await redis.discard(), 'OK');
  equal(await redis.get('m'), '4');
  await rejects(redis.exec(), 'EXEC without MULTI');
});

await check(name('watched keys'), async () => {
  const other = new Redis(port);
  await redis.set('w', '1');
  equal(await redis.watch('w', 'none'), 'OK');
  await other.set('w', '2');
  equal(await redis.multi().set('w', '3').exec(), null);
  equal(await redis.get('w'), '2');
  equal(await redis.watch('w'), 'OK');
  equal(await redis.multi().set('w', '3').exec(), [[null, 'OK']]);
  equal(await redis.watch('w'), 'OK');
  await other.del('w');
  equal(await redis.unwatch(), 'OK');
  equal(await redis.multi().set('w', '4').exec(), [[null, 'OK']]);
  await other.quit();
});

await check(name('races for a watched key'), async () => {
  await redis.set('race', '0');
  const clients = Array.from({ length: 6 }, () => new Redis(port));
  let again = 0;
  const work = async (client) => {
    for (let n = 0; n < 25; n += 1) {
      for (;;) {
        await client.watch('race');
        const value = Number(await client.get('race'));
        if (await client.multi().set('race', value + 1).exec()) break;
        again += 1;
      }
    }
  };
  await Promise.all(clients.map(work));
  equal(await redis.get('race'), '150');
  console.log(`#   150 additions by 6 clients, ${again} begun again`);
  await Promise.all(clients.map((client) => client.quit()));
});

await check(name('automatic pipelines'), async () => {
  const auto = new Redis({ port, enableAutoPipelining: true });
  const replies = await Promise.all(Array.from({ length: 1000 }, (_, n) => auto.hset('auto', `f${n}`, n)));
  equal(replies, Array(1000).fill(1));
  equal(await auto.hlen('auto'), 1000);
  await auto.quit();
});

await check(name('key prefixes'), async () => {
  const prefixed = new Redis({ port, keyPrefix: 'pre:' });
  await prefixed.mset('x', 1, 'y', 2);
  equal(await redis.mget('pre:x', 'pre:y'), ['1', '2']);
  equal(await prefixed.del('x', 'y'), 2);
  await prefixed.quit();
});

await check(name('scans'), async () => {
  const seen = new Set();
  for await (const keys of redis.scanStream({ match: 'p:*', count: 100 })) keys.forEach((key) => seen.add(key));
  equal(seen.size, 2000);
  const fields = new Map();
  for await (const flat of redis.hscanStream('auto', { count: 50 })) {
    for (let at = 0; at < flat.length; at += 2) fields.set(flat[at], flat[at + 1]);
  }
  equal(fields.size, 1000);
  equal(fields.get('f7'), '7');
});

await check(name('databases and connection'), async () => {
  const other = new Redis({ port, db: 9, connectionName: 'named' });
  await other.set('only-here', '1');
  equal(await redis.get('only-here'), null);
  equal(await other.client('GETNAME'), 'named');
  equal(await other.dbsize(), 1);
  equal(await other.flushdb(), 'OK');
  assert.match(await other.info(), /ringfort_version/);
  assert.match(await redis.client('LIST'), /name=named/);
  equal(await redis.config('GET', 'databases'), ['databases', '16']);
  equal(await other.quit(), 'OK');
  await rejects(redis.call('LPUSH', 'l', '1'), "unknown command 'LPUSH'");
});

await check(name('RESP3'), async () => {
  // `protocol` is known since version 6; what comes back is the same to the caller.
  const three = new Redis({ port, protocol: 3 });
  equal(await three.hgetall('h2'), { x: '1' });
  equal(await three.get('absent'), null);
  await three.quit();
});

await check(name('passwords'), async () => {
  const inside = new Redis({ port: guarded, password: 's3cret' });
  equal(await inside.set('x', '1'), 'OK');
  await inside.quit();
  const outside = new Redis({ port: guarded, retryStrategy: null, maxRetriesPerRequest: 0 });
  outside.on('error', () => {});
  await rejects(outside.get('x'), 'NOAUTH');
  outside.disconnect();
});

await check(name('reconnects after a restart'), async () => {
  const survivor = new Redis({ port, retryStrategy: () => 100, maxRetriesPerRequest: 50 });
  survivor.on('error', () => {});
  equal(await survivor.set('before', 'kept'), 'OK');
  redis.disconnect();
  server('stop', 'ioredis', 'KILL');
  const pending = survivor.get('before');
  server('start', 'ioredis');
  equal(await pending, 'kept');
  equal(await survivor.incr('after'), 1);
  await survivor.quit();
});

finish();
