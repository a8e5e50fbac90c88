// Drives the platform API with the platform's official Node.js SDK.
'use strict';

const assert = require('node:assert/strict');
const { test, before, after } = require('node:test');
const core = require('@huaweicloud/huaweicloud-sdk-core');
const functiongraph = require('@huaweicloud/huaweicloud-sdk-functiongraph/v2/public-api');
const iam = require('@huaweicloud/huaweicloud-sdk-iam/v3/public-api');
const { start, refused, urn, project, keys, temporary, reader } = require('./agent.js');

let agent;
before(async () => { agent = await start(); });
after(async () => { await agent.stop(); });

const client = (credentials) => agent.client(credentials);

function invocation(function_urn, body) {
    return { function_urn, body, 'X-Cff-Log-Type': 'tail', 'X-CFF-Request-Version': 'v1' };
}

test('every form of the URN', async () => {
    const forms = ['hello', 'default:hello', `${project}:default:hello`, `${project}:default:hello:latest`, `${project}:default:hello:!prod`, urn(''), urn(':latest'), urn(':!prod')];
    for (const form of forms) {
        const r = await client().invokeFunction(invocation(form, { k: 'ü <&>', '(!)': "'*'" }));
        assert.equal(r.httpStatusCode, 200);
        assert.equal(r.status, 200);
        const result = JSON.parse(r.result);
        assert.deepEqual(result.got, { k: 'ü <&>', '(!)': "'*'" });
        assert.equal(result.alias, form.includes('!') ? 'prod' : '');
        assert.match(r.log, new RegExp(`Start invoke request '${r.request_id}'`));
    }
});

test('an empty event', async () => {
    const r = await client().invokeFunction(invocation('hello', {}));
    assert.deepEqual(JSON.parse(r.result).got, {});
});

test('v0 is the bare answer', async () => {
    const r = await client().invokeFunction({ function_urn: 'hello', body: { k: 1 } });
    assert.deepEqual(r.got, { k: 1 });
});

test('a failure of the function is an answer', async () => {
    const r = await client().invokeFunction(invocation('hello', { fail: true }));
    assert.equal(r.httpStatusCode, 200);
    assert.equal(r.status, 500);
    assert.match(r.result, /asked to fail/);
    assert.match(r.log, /\(invoke Failed\)/);
});

test('refusals', async () => {
    await refused(client().invokeFunction(invocation('other', {})), 404, 'FSS.1051');
    await refused(client().invokeFunction(invocation(urn(':v7'), {})), 404, 'FSS.1052');
    await refused(client().invokeFunction(invocation(urn(':!test'), {})), 404, 'FSS.1053');
    await refused(client().invokeFunction(invocation('a:b:c:d:e', {})), 400, 'FSS.1309');
    await refused(client().invokeFunction({ ...invocation('hello', {}), 'X-Cff-Instance-Memory': '100' }), 400, 'FSS.1007');
    await refused(client({ project: 'another' }).invokeFunction(invocation('hello', {})), 403, 'FSS.0403');
});

test('credentials', async () => {
    await client(temporary).invokeFunction(invocation('hello', {}));
    await refused(client({ sk: 'wrong' }).invokeFunction(invocation('hello', {})), 401, 'APIGW.0301');
    await refused(client({ ak: 'AKNOBODY' }).invokeFunction(invocation('hello', {})), 401, 'APIGW.0301');
    await refused(client({ ...temporary, token: 'another' }).invokeFunction(invocation('hello', {})), 401, 'APIGW.0301');
    await refused(client(reader).invokeFunction(invocation('hello', {})), 403, 'FSS.0403');
    for (const secret of [keys.sk, temporary.sk, temporary.token]) assert.ok(!agent.log().includes(secret));
});

test('the project is found by its region', async () => {
    const basic = new core.BasicCredentials().withAk(keys.ak).withSk(keys.sk).withIamEndpoint(agent.url);
    const found = functiongraph.FunctionGraphClient.newBuilder().withCredential(basic).withRegion(new core.Region('local-1', agent.url)).build();
    const r = await found.invokeFunction(invocation('hello', { k: 1 }));
    assert.deepEqual(JSON.parse(r.result).got, { k: 1 });
});

test('tokens', async () => {
    // The account's id, as GET /v3/auth/domains gives it to a caller with a token.
    const domain = require('node:crypto').createHash('sha256').update('domain\nacme').digest('hex').slice(0, 32);
    const of = (account) => iam.IamClient.newBuilder().withEndpoint(agent.url)
        .withCredential(new core.GlobalCredentials().withAk(keys.ak).withSk(keys.sk).withDomainId(account)).build();
    const client = of(domain);
    await refused(of('another').keystoneValidateToken(new iam.KeystoneValidateTokenRequest('x')), 403, 'FSS.0403', 'another');
    const login = (password, scope) => client.keystoneCreateUserTokenByPassword(new iam.KeystoneCreateUserTokenByPasswordRequest().withBody({
        auth: { identity: { methods: ['password'], password: { user: { name: 'ci', password, domain: { name: 'acme' } } } }, scope },
    }));
    const made = await login('correct horse', { project: { name: 'local-1' } });
    assert.equal(made.httpStatusCode, 201);
    assert.equal(made.token.project.id, project);
    assert.equal(made.token.user.name, 'ci');
    const token = made['X-Subject-Token'];
    assert.ok(token, 'the SDK found the header');

    const checked = await client.keystoneValidateToken(new iam.KeystoneValidateTokenRequest(token));
    assert.equal(checked.token.expires_at, made.token.expires_at);
    await refused(login('wrong password', {}), 401, 'APIGW.0301');
    await refused(login('correct horse', { project: { name: 'cn-north-4' } }), 404, 'FSS.0404');

    // The SDK has no credentials that are a token: this is how a program without it would call.
    const r = await fetch(`${agent.url}/v2/${project}/fgs/functions/hello/invocations`, { method: 'POST', headers: { 'X-Auth-Token': token }, body: '{"k":1}' });
    assert.equal(r.status, 200);
    assert.deepEqual((await r.json()).got, { k: 1 });
    assert.ok(!agent.log().includes(token));
});
