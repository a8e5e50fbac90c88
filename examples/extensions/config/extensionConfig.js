#!/usr/bin/env node
'use strict';
// Fetches the function's configuration, a JSON document, from an HTTP server and keeps it in a file that the function
// reads.
//
// It fetches before it registers, so that the initializer and the first call find the file; then with each call, if the
// document is older than its cache time. It registers in sync mode: such a call waits for the answer, so it sees the
// new document; others lose a fraction of a millisecond. Unchanged documents (ETag, 304) are not sent again. The file
// is replaced in one step: a reader sees the old document or the new one, never a half. If the server does not answer
// in time or answers nonsense the old document stays, and calls continue; what is tried again is tried less and less
// often.
//
// Variables, which reach an extension only if the agent's GANTRY_EXTENSION_ENV names them, as in
// GANTRY_EXTENSION_ENV='CONFIG_*':
//
// CONFIG_URL      where the document is, http or https; needed
// CONFIG_FILE     the file; default: /tmp/config.json
// CONFIG_MAX_AGE  cache time in seconds, when the server sends no Cache-Control; default: 30
// CONFIG_TIMEOUT  limit of one request in milliseconds, under the 2 s that a call waits; default: 1500
// CONFIG_TOKEN    sent as "Authorization: Bearer"; default: none. Keep it from the function with GANTRY_WORKER_ENV
// CONFIG_ADDR     where this extension listens, 127.0.0.1 and a port from 8081 to 8090; default: 127.0.0.1:8087
//
// It needs Node.js 14 or later, and no packages.

const fs = require('fs');
const http = require('http');
const https = require('https');
const path = require('path');

const NAME = path.basename(process.argv[1]); // an extension's name is its file name
const ADDRESS = process.env.CONFIG_ADDR || '127.0.0.1:8087';
const FILE = process.env.CONFIG_FILE || '/tmp/config.json';
const MAX_AGE = Number(process.env.CONFIG_MAX_AGE || 30) * 1000;
const TIMEOUT = Number(process.env.CONFIG_TIMEOUT || 1500);
const TOKEN = process.env.CONFIG_TOKEN;
const MAX_BYTES = 1 << 20;
const FIRST_PAUSE = 1000; // after a failure, doubled with each further one
const LONGEST_PAUSE = 30000;

let url; // CONFIG_URL, checked
let etag; // of the document in the file
let due = 0; // when to ask again, in ms; by the clock on the wall, because an instance may be frozen between calls
let pause = FIRST_PAUSE;
let running; // the promise of a request under way
let nowRegistered; // fulfils the promise registered
const registered = new Promise((resolve) => (nowRegistered = resolve));

// refresh brings the file up to date if it is due. Calls that come meanwhile wait for the same request. It never
// rejects.
function refresh() {
  if (Date.now() < due) return Promise.resolve();
  if (!running) {
    running = update()
      .catch((error) => {
        console.error('configuration not fetched, the next attempt in %d s: %s', pause / 1000, error.message);
        due = Date.now() + pause;
        pause = Math.min(2 * pause, LONGEST_PAUSE);
      })
      .then(() => {
        running = undefined;
      });
  }
  return running;
}

async function update() {
  if (!fs.existsSync(FILE)) etag = undefined; // the file was removed
  const response = await get();
  if (response.status === 200) {
    JSON.parse(response.body); // a document that cannot be read does not replace one that can
    replace(FILE, response.body);
    etag = response.headers.etag;
    console.log('configuration fetched, %d bytes', response.body.length);
  } else if (response.status !== 304) {
    throw new Error(`the server answers ${response.status}`);
  }
  due = Date.now() + cacheTime(response.headers['cache-control'] || '');
  pause = FIRST_PAUSE;
}

// cacheTime is in milliseconds.
function cacheTime(header) {
  if (/no-store|no-cache/i.test(header)) return 0;
  const maxAge = /(?:^|[\s,])max-age="?(\d+)/i.exec(header);
  return maxAge ? Number(maxAge[1]) * 1000 : MAX_AGE;
}

// get asks for the document. The whole exchange has TIMEOUT. Each has a connection of its own: one that was kept may be
// dead after a freeze.
function get() {
  return new Promise((resolve, reject) => {
    const headers = { Accept: 'application/json' };
    if (etag) headers['If-None-Match'] = etag;
    if (TOKEN) headers.Authorization = `Bearer ${TOKEN}`;
    const request = (url.protocol === 'https:' ? https : http).get(url, { headers, agent: false });
    const timer = setTimeout(() => request.destroy(new Error(`no answer within ${TIMEOUT} ms`)), TIMEOUT);
    const fail = (error) => {
      clearTimeout(timer);
      request.destroy();
      reject(error);
    };
    request.on('error', fail);
    request.on('response', (response) => {
      const pieces = [];
      let size = 0;
      response.on('error', fail);
      response.on('aborted', () => fail(new Error('the answer broke off')));
      response.on('data', (piece) => {
        pieces.push(piece);
        size += piece.length;
        if (size > MAX_BYTES) fail(new Error(`the document has more than ${MAX_BYTES} bytes`));
      });
      response.on('end', () => {
        clearTimeout(timer);
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(pieces) });
      });
    });
  });
}

// replace writes a file beside the old one and renames it. Only the own user may read it: there may be secrets in it.
function replace(file, body) {
  const temporary = `${file}.${process.pid}`;
  try {
    const fd = fs.openSync(temporary, 'w', 0o600);
    try {
      fs.writeFileSync(fd, body);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(temporary, file);
  } catch (error) {
    if (fs.existsSync(temporary)) fs.unlinkSync(temporary);
    throw error;
  }
}

function handle(request, response) {
  request.resume(); // nothing in the message is needed
  if (request.method !== 'POST' || request.url !== '/extension/invoke') {
    response.writeHead(404).end();
    return;
  }
  // The first call may come before the answer to the registration, and the instance may be frozen with this answer.
  Promise.all([refresh(), registered]).then(() => response.end());
}

// register retries after a timeout, which a freeze of the instance can cause. To register again is no error.
async function register(attempts) {
  try {
    await ask();
  } catch (error) {
    if (error.refused || attempts === 1) throw error;
    await register(attempts - 1);
  }
}

function ask() {
  return new Promise((resolve, reject) => {
    if (!process.env.EXTENSION_API_ADDR) throw new Error('EXTENSION_API_ADDR is not set: the agent starts extensions and sets it');
    const headers = {
      'FunctionGraph-Extension-Name': NAME,
      'FunctionGraph-Extension-Address': ADDRESS,
      'FunctionGraph-Extension-Mode': 'sync',
    };
    const request = http.request(`http://${process.env.EXTENSION_API_ADDR}/extension/register`, { method: 'POST', headers, agent: false, timeout: 5000 });
    request.on('timeout', () => request.destroy(new Error('the agent does not answer')));
    request.on('error', reject);
    request.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece) => (text += piece));
      response.on('end', () => {
        if (response.statusCode === 200) resolve();
        else reject(Object.assign(new Error(`not registered: ${text}`), { refused: true }));
      });
    });
    request.end();
  });
}

async function main() {
  if (!process.env.CONFIG_URL) throw new Error('CONFIG_URL is not set, or GANTRY_EXTENSION_ENV does not name it');
  url = new URL(process.env.CONFIG_URL);
  const server = http.createServer(handle);
  const [host, port] = ADDRESS.split(':');
  // Listen first, then register.
  await new Promise((resolve, reject) => server.once('error', reject).listen(Number(port), host, resolve));
  await refresh();
  await register(3);
  nowRegistered();
}

for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0)); // files are written in one go
main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
