// Starts an agent with a function and users of its own, for the tests of this folder.
'use strict';

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const core = require('@huaweicloud/huaweicloud-sdk-core');
const functiongraph = require('@huaweicloud/huaweicloud-sdk-functiongraph/v2/public-api');

const project = '0123456789abcdef0123456789abcdef';
const keys = { ak: 'AKCI0000000000000001', sk: 'SKCI000000000000000000000000000000000001' };
const temporary = { ak: 'AKTEMP00000000000001', sk: 'SKTEMP0000000000000000000000000000000001', token: 'temporary-token' };
const reader = { ak: 'AKREADER000000000001', sk: 'SKREADER00000000000000000000000000000001' };
const caller = { ak: 'AKCALLER000000000001', sk: 'SKCALLER00000000000000000000000000000001' };

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
        { name: 'caller', password: 'battery horse', actions: ['invoke'], keys: [{ access: caller.ak, secret: caller.sk }] },
    ],
};

// The function records its starts in a journal, and waits at gates.
const code = `
const fs = require('fs');
const folder = process.env.TEST_FOLDER, journal = folder + '/journal';
exports.handler = async (event, context) => {
    const id = context.getRequestID(), size = JSON.stringify(event).length;
    context.getLogger().info('got ' + JSON.stringify(event));
    fs.appendFileSync(journal, JSON.stringify({id, size, alias: context.getAlias(), event: size < 10000 ? event : {}}) + '\\n');
    if (fs.readFileSync(journal, 'utf8').split('{"id":"' + id).length - 1 <= event.fails) throw new TypeError('asked to fail');
    while (event.gate && !fs.existsSync(folder + '/' + event.gate)) await new Promise(r => setTimeout(r, 5));
    if (event.fail) throw new TypeError('asked to fail');
    return {got: event, alias: context.getAlias()};
};
`;

/** One agent under test with its platform API. */
class Agent {
    constructor(env) {
        this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'gantry-sdk-node-'));
        const file = (name) => path.join(this.dir, name);
        fs.mkdirSync(file('code'));
        fs.writeFileSync(file('code/index.js'), code);
        fs.writeFileSync(file('users.json'), JSON.stringify(users), { mode: 0o600 });
        this.env = {
            PATH: process.env.PATH, HOME: this.dir, RUNTIME_CODE_ROOT: file('code'), RUNTIME_FUNC_NAME: 'hello', RUNTIME_PROJECT_ID: project,
            RUNTIME_ALIAS: 'prod', GANTRY_ADDR: '127.0.0.1:0', GANTRY_OPS_ADDR: '127.0.0.1:0', EXTENSION_API_ADDR: '127.0.0.1:0',
            GANTRY_API_ADDR: '127.0.0.1:0', GANTRY_API_USERS_FILE: file('users.json'), GANTRY_LOG_FORMAT: 'json', RUNTIME_TIMEOUT: '60',
            GANTRY_DATA_DIR: file('data'), TEST_FOLDER: this.dir, ...env,
        };
    }

    /** Runs the program, again after end() with the same folders, until the platform API listens. */
    async start() {
        const child = this.child = spawn(path.join(__dirname, '../../bin/bootstrap'), ['serve'], { stdio: ['ignore', 'pipe', 'pipe'], env: this.env });
        this.stdout = '';
        this.stderr = '';
        this.ended = new Promise((resolve) => child.on('close', resolve));
        child.stdout.on('data', (chunk) => { this.stdout += chunk; });
        const address = await new Promise((resolve, reject) => {
            child.on('error', reject);
            child.on('close', () => reject(new Error(`the agent ended: ${this.stderr}`)));
            child.stderr.on('data', (chunk) => {
                this.stderr += chunk;
                const line = this.lines('listening')[0];
                if (line) resolve(line.platform);
            });
        });
        this.url = `http://${address}`;
    }

    /** The lines of the agent's log with a message. */
    lines(message) {
        return this.stderr.split('\n').slice(0, -1).map((l) => JSON.parse(l)).filter((l) => l.message === message);
    }

    log() { return this.stderr; }

    /** Ends the program and resolves to its exit status; the folders stay. */
    end() {
        this.child.kill('SIGTERM');
        return this.ended;
    }

    async stop() {
        await this.end();
        fs.rmSync(this.dir, { recursive: true });
    }

    /** Releases the calls that wait for a gate. */
    open(gate) { fs.writeFileSync(path.join(this.dir, gate), ''); }

    /** The starts of the function so far; of one request, if an id is given. */
    starts(id) {
        const file = path.join(this.dir, 'journal');
        const text = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
        return text.split('\n').slice(0, -1).map((l) => JSON.parse(l)).filter((s) => !id || s.id === id);
    }

    /** The SDK's client, with the given credentials or those of the user "ci". */
    client(credentials = {}) {
        const { ak, sk, token } = { ...keys, ...credentials };
        const basic = new core.BasicCredentials().withAk(ak).withSk(sk).withProjectId(credentials.project ?? project);
        if (token) basic.withSecurityToken(token);
        return functiongraph.FunctionGraphClient.newBuilder().withCredential(basic).withEndpoint(this.url).build();
    }
}

/** Resolves to an Agent once its platform API listens. */
async function start(env = {}) {
    const agent = new Agent(env);
    try {
        await agent.start();
    } catch (err) {
        await agent.stop();
        throw err;
    }
    return agent;
}

const urn = (last) => `urn:fss:local-1:${project}:function:default:hello${last}`;

/** Checks the SDK's error for a refused call. */
async function refused(promise, status, code, says = '') {
    await assert.rejects(promise, (err) => {
        assert.equal(err.httpStatusCode, status, err.errorMsg);
        assert.equal(err.errorCode, code, err.errorMsg);
        assert.match(err.requestId, /^[0-9a-f-]{36}$/);
        assert.ok(err.errorMsg.includes(says), `${err.errorMsg} has no ${says}`);
        return true;
    });
}

module.exports = { start, refused, urn, project, keys, temporary, reader, caller };
