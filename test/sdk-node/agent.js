// Starts an agent with a function and users of its own, for the tests of this folder.
'use strict';

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const project = '0123456789abcdef0123456789abcdef';
const keys = { ak: 'AKCI0000000000000001', sk: 'SKCI000000000000000000000000000000000001' };
const temporary = { ak: 'AKTEMP00000000000001', sk: 'SKTEMP0000000000000000000000000000000001', token: 'temporary-token' };
const reader = { ak: 'AKREADER000000000001', sk: 'SKREADER00000000000000000000000000000001' };

const users = {
    secret: '0123456789abcdef0123456789abcdef',
    domain: 'acme',
    users: [
        {
            name: 'ci', password: 'correct horse', actions: ['invoke', 'invokeAsync'],
            keys: [
                { access: keys.ak, secret: keys.sk },
                { access: temporary.ak, secret: temporary.sk, security_token: temporary.token, expires_at: '2099-01-01T00:00:00Z' },
            ],
        },
        { name: 'reader', password: 'staple battery', actions: [], keys: [{ access: reader.ak, secret: reader.sk }] },
    ],
};

const code = `
exports.handler = async (event, context) => {
    context.getLogger().info('got ' + JSON.stringify(event));
    if (event.fail) throw new TypeError('asked to fail');
    return {got: event, alias: context.getAlias()};
};
`;

/** Resolves to {url, stop, log} once the platform API listens. */
async function start() {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'gantry-sdk-node-'));
    fs.mkdirSync(path.join(dir, 'code'));
    fs.writeFileSync(path.join(dir, 'code', 'index.js'), code);
    fs.writeFileSync(path.join(dir, 'users.json'), JSON.stringify(users), { mode: 0o600 });
    const child = spawn(path.join(__dirname, '../../bin/bootstrap'), ['serve'], {
        stdio: ['ignore', 'ignore', 'pipe'],
        env: {
            PATH: process.env.PATH, HOME: dir, RUNTIME_CODE_ROOT: path.join(dir, 'code'), RUNTIME_FUNC_NAME: 'hello', RUNTIME_PROJECT_ID: project,
            RUNTIME_ALIAS: 'prod', GANTRY_ADDR: '127.0.0.1:0', GANTRY_OPS_ADDR: '127.0.0.1:0', EXTENSION_API_ADDR: '127.0.0.1:0',
            GANTRY_API_ADDR: '127.0.0.1:0', GANTRY_API_USERS_FILE: path.join(dir, 'users.json'), GANTRY_LOG_FORMAT: 'json', RUNTIME_TIMEOUT: '60',
        },
    });
    let log = '';
    const ended = new Promise((resolve) => child.on('close', resolve));
    const stop = async () => {
        child.kill('SIGTERM');
        await ended;
        fs.rmSync(dir, { recursive: true });
    };
    const address = new Promise((resolve, reject) => {
        child.on('error', reject);
        child.on('close', () => reject(new Error(`the agent ended: ${log}`)));
        child.stderr.on('data', (chunk) => {
            log += chunk;
            const line = log.split('\n').slice(0, -1).map((l) => JSON.parse(l)).find((l) => l.message === 'listening');
            if (line) resolve(line.platform);
        });
    });
    try {
        return { url: `http://${await address}`, stop, log: () => log };
    } catch (err) {
        await stop();
        throw err;
    }
}

module.exports = { start, project, keys, temporary, reader };
