// What the suites in JavaScript share: servers, and checks that print `ok` and `not ok`.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';

let failed = 0;

/** A package of the directory that run.sh installed. */
export const load = (name) => createRequire(`${process.env.CLIENTS_NODE_MODULES}/`)(name);

/** Runs server.sh; `start` gives the port. */
export function server(action, name, ...args) {
  const out = execFileSync(process.env.CLIENTS_SERVER, [action, name, ...args], { encoding: 'utf8' });
  return action === 'start' ? Number(out) : undefined;
}

/** Runs one check: it passes unless it throws, and has a minute for it. */
export async function check(name, run) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('not done within 60 s')), 60_000);
  });
  try {
    await Promise.race([run(), late]);
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok ${name}: ${String(error.message ?? error).slice(0, 1500)}`);
    console.log(String(error.stack).split('\n').filter((line) => line.includes('tests/clients')).slice(0, 3).map((line) => `# ${line}`).join('\n'));
  } finally {
    clearTimeout(timer);
  }
}

/** The same value; objects without a prototype count as plain ones. */
export function equal(got, wanted) {
  const plain = (value) => (value && typeof value === 'object' && Object.getPrototypeOf(value) === null ? { ...value } : value);
  assert.deepEqual(plain(got), plain(wanted));
}

export async function rejects(promise, text) {
  await assert.rejects(promise, (error) => {
    assert.ok(error.message.includes(text), `'${error.message}' does not say '${text}'`);
    return true;
  });
}

export const between = (low, value, high) => assert.ok(low <= value && value <= high, `${low} <= ${value} <= ${high}`);
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export const finish = () => process.exit(failed ? 1 : 0);
