// node-redis: the same breadth over RESP2 and RESP3.
import assert from 'node:assert/strict';
import { between, check, equal, finish, load, rejects, server, sleep } from './lib/checks.mjs';

const { createClient, RESP_TYPES, WatchError } = load('redis');
const { version } = load('redis/package.json');
const port = server('start', 'node-redis');
const guarded = server('start', 'node-redis-guarded', '--requirepass', 's3cret');

async function connected(options = {}) {
  const client = createClient({ socket: { port, host: '127.0.0.1' }, ...options });
  client.on('error', () => {});
  return client.connect();
}

for (const RESP of [2, 3]) {
  const client = await connected({ RESP });
  const name = (what) => `node-redis ${version}, RESP${RESP}: ${what}`;
  await client.flushAll();

  await check(name('strings'), async () => {
    equal(await client.set('s', 'value'), 'OK');
    equal(await client.get('s'), 'value');
    equal(await client.get('absent'), null);
    equal(await client.set('s', 'no', { condition: 'NX' }), null);
    equal(await client.set('s', 'new', { expiration: { type: 'EX', value: 1000 }, GET: true }), 'value');
    between(990, await client.ttl('s'), 1000);
    equal(await client.set('s', 'kept', { expiration: 'KEEPTTL' }), 'OK');
    between(990, await client.ttl('s'), 1000);
    equal(await client.append('s', '!'), 5);
    equal(await client.getRange('s', 0, 3), 'kept');
    equal(await client.setRange('s', 4, '?'), 5);
    equal(await client.strLen('s'), 5);
    equal(await client.getEx('s', { type: 'PX', value: 500_000 }), 'kept?');
    equal(await client.getDel('s'), 'kept?');
    equal(await client.mSet({ a: '1', b: '2' }), 'OK');
    equal(await client.mGet(['a', 'absent', 'b']), ['1', null, '2']);
    equal(await client.mSetNX({ a: 'x', c: 'y' }), 0);
    equal(await client.setNX('c', '3'), 1);
    equal(await client.incr('n'), 1);
    equal(await client.incrBy('n', 41), 42);
    equal(await client.decrBy('n', 2), 40);
    equal(await client.incrByFloat('n', 0.5), '40.5');
    const bytes = Buffer.from([0, 255, 13, 10]);
    equal(await client.set('bin', bytes), 'OK');
    const buffers = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    assert.ok(bytes.equals(await buffers.get('bin')));
  });

  await check(name('hashes'), async () => {
    equal(await client.hSet('h', { a: '1', b: '2', c: '3' }), 3);
    equal(await client.hSet('h', 'a', 'one'), 0);
    equal(await client.hGetAll('h'), { a: 'one', b: '2', c: '3' });
    equal(await client.hGetAll('absent'), {});
    equal(await client.hGet('h', 'a'), 'one');
    equal(await client.hmGet('h', ['a', 'zz']), ['one', null]);
    equal((await client.hKeys('h')).sort(), ['a', 'b', 'c']);
    equal((await client.hVals('h')).sort(), ['2', '3', 'one']);
    equal(await client.hLen('h'), 3);
    equal(await client.hExists('h', 'zz'), 0);
    equal(await client.hSetNX('h', 'd', '4'), 1);
    equal(await client.hIncrBy('h', 'd', 6), 10);
    equal(await client.hIncrByFloat('h', 'd', 0.5), '10.5');
    equal(await client.hStrLen('h', 'a'), 3);
    equal(await client.hDel('h', ['a', 'b', 'zz']), 2);
    await rejects(client.get('h'), 'WRONGTYPE');
  });

  await check(name('keys and expiry'), async () => {
    await client.set('e', '1');
    equal(await client.ttl('e'), -1);
    equal(await client.expire('e', 1000), 1);
    equal(await client.expire('e', 2000, 'NX'), 0);
    equal(await client.expire('e', 3000, 'GT'), 1);
    equal(await client.persist('e'), 1);
    const at = Math.floor(Date.now() / 1000) + 1000;
    equal(await client.expireAt('e', at), 1);
    equal(await client.expireTime('e'), at);
    equal(await client.pExpire('e', 60), 1);
    equal(await client.exists(['e', 'n', 'n']), 3);
    await sleep(120);
    equal(await client.get('e'), null);
    equal(await client.type('h'), 'hash');
    equal(await client.rename('h', 'renamed'), 'OK');
    equal(await client.copy('renamed', 'h'), 1);
    await rejects(client.rename('absent', 'x'), 'no such key');
    equal(await client.unlink(['renamed', 'h']), 2);
    equal(await client.objectEncoding('a'), 'int');
    assert.ok((await client.memoryUsage('a')) > 0);
  });

  await check(name('many at once'), async () => {
    const replies = await Promise.all(Array.from({ length: 5000 }, (_, n) => client.set(`p:${n}`, String(n))));
    equal(replies, Array(5000).fill('OK'));
    const piped = await client.multi().set('m', '1').incr('m').get('m').execAsPipeline();
    equal(piped, ['OK', 2, '2']);
  });

  await check(name('transactions'), async () => {
    equal(await client.multi().set('t', '1').incr('t').get('t').hSet('th', 'f', 'v').hGetAll('th').exec(), ['OK', 2, '2', 1, { f: 'v' }]);
    equal(await client.multi().exec(), []);
    // What fails while it runs does not undo the rest.
    await assert.rejects(client.multi().set('t', 'x').incr('t').set('u', 'y').exec(), (error) => {
      equal([error.replies[0], error.replies[2]], ['OK', 'OK']);
      assert.match(error.replies[1].message, /not an integer/);
      return true;
    });
    equal(await client.mGet(['t', 'u']), ['x', 'y']);
    await rejects(client.multi().set('t', 'z').addCommand(['GET']).exec(), 'wrong number of arguments');
    equal(await client.get('t'), 'x');
  });

  await check(name('watched keys'), async () => {
    await client.set('w', '1');
    const other = await connected({ RESP });
    equal(await client.watch(['w', 'none']), 'OK');
    await other.set('w', '2');
    await assert.rejects(client.multi().set('w', '3').exec(), WatchError);
    equal(await client.get('w'), '2');
    await client.watch('w');
    equal(await client.multi().set('w', '3').exec(), ['OK']);
    await client.watch('w');
    await other.set('w', '4');
    await client.unwatch();
    equal(await client.multi().set('w', '5').exec(), ['OK']);
    await other.close();
  });

  await check(name('races for a watched key'), async () => {
    await client.set('race', '0');
    const clients = await Promise.all(Array.from({ length: 6 }, () => connected({ RESP })));
    let again = 0;
    const work = async (one) => {
      for (let n = 0; n < 25; n += 1) {
        for (;;) {
          await one.watch('race');
          const value = Number(await one.get('race'));
          try {
            await one.multi().set('race', String(value + 1)).exec();
            break;
          } catch (error) {
            assert.ok(error instanceof WatchError, error);
            again += 1;
          }
        }
      }
    };
    await Promise.all(clients.map(work));
    equal(await client.get('race'), '150');
    console.log(`#   150 additions by 6 clients, ${again} begun again`);
    await Promise.all(clients.map((one) => one.close()));
  });

  await check(name('scans'), async () => {
    const seen = new Set();
    for await (const keys of client.scanIterator({ MATCH: 'p:*', COUNT: 100 })) keys.forEach((key) => seen.add(key));
    equal(seen.size, 5000);
    await client.hSet('big', Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`f${n}`, String(n)])));
    const fields = new Map();
    for await (const entries of client.hScanIterator('big', { COUNT: 50 })) {
      entries.forEach(({ field, value }) => fields.set(field, value));
    }
    equal(fields.size, 1000);
    equal(fields.get('f7'), '7');
    equal((await client.keys('p:123?')).length, 10);
  });

  await check(name('server and connection'), async () => {
    equal(await client.ping(), 'PONG');
    equal(await client.echo('hi'), 'hi');
    equal(await client.configGet('databases'), { databases: '16' });
    equal(await client.clientSetName('named'), 'OK');
    equal(await client.clientGetName(), 'named');
    assert.equal((await client.clientInfo()).name, 'named');
    assert.ok((await client.clientList()).some((other) => other.name === 'named'));
    assert.match(await client.info(), /ringfort_version/);
    assert.ok((await client.commandCount()) > 50);
    equal((await client.commandInfo(['get']))[0].arity, 2);
    const other = await connected({ RESP, database: 11 });
    await other.set('only-here', '1');
    equal(await client.get('only-here'), null);
    equal(await other.dbSize(), 1);
    await other.flushDb();
    await other.close();
    await rejects(client.sendCommand(['LPUSH', 'l', '1']), "unknown command 'LPUSH'");
  });

  await check(name('passwords'), async () => {
    const socket = { port: guarded, host: '127.0.0.1', reconnectStrategy: false };
    const inside = await connected({ RESP, socket, password: 's3cret' });
    equal(await inside.set('x', '1'), 'OK');
    await inside.close();
    await rejects(connected({ RESP, socket, password: 'wrong' }), 'WRONGPASS');
  });
  await client.close();
}

await check(`node-redis ${version}: reconnects after a restart`, async () => {
  const survivor = await connected({ socket: { port, host: '127.0.0.1', reconnectStrategy: () => 100 } });
  equal(await survivor.set('before', 'kept'), 'OK');
  server('stop', 'node-redis', 'KILL');
  const ready = new Promise((resolve) => survivor.once('ready', resolve));
  server('start', 'node-redis');
  // The client learns of the closed connection only now; what it sends before that is lost, and it says so.
  await ready;
  equal(await survivor.get('before'), 'kept');
  await survivor.close();
});

finish();
