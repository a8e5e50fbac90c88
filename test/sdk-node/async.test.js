// Drives the asynchronous part of the platform API with the platform's official Node.js SDK.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { setTimeout: sleep } = require('node:timers/promises');
const functiongraph = require('@huaweicloud/huaweicloud-sdk-functiongraph/v2/public-api');
const { start, refused, urn, project, keys, temporary, reader, caller } = require('./agent.js');

const patience = 60_000;
const maxEvent = 256 << 10;
// Has the form of a request id, and is none.
const unknownID = '01890000-0000-7000-8000-000000000000';

/** Tests against an agent of its own; calls that wait for a gate are released at the end. */
function against(name, env, body) {
    test(name, async () => {
        const agent = await start(env);
        try {
            await body(agent);
        } finally {
            agent.open('gate');
            await agent.stop();
        }
    });
}

/** Repeats check until it does not fail any more. */
async function eventually(check) {
    for (const end = Date.now() + patience; ;) {
        try {
            return await check();
        } catch (err) {
            if (Date.now() > end) throw err;
            await sleep(10);
        }
    }
}

async function accept(agent, function_urn, body) {
    const r = await agent.client().asyncInvokeFunction({ function_urn, body });
    assert.equal(r.httpStatusCode, 202);
    assert.match(r.request_id, /^[0-9a-f-]{36}$/);
    return r.request_id;
}

const ids = (page) => page.invocations.map((r) => r.request_id);
const list = (agent, filter = {}) => agent.client().listAsyncInvocations({ function_urn: 'hello', ...filter });
const active = (agent, filter = {}) => agent.client().listActiveAsyncInvocations({ function_urn: 'hello', ...filter });

async function record(agent, request_id) {
    const page = await list(agent, { request_id });
    assert.deepEqual(ids(page), [request_id]);
    assert.equal(page.count, 1);
    return page.invocations[0];
}

const reaches = (agent, id, status) => eventually(async () => {
    const r = await record(agent, id);
    assert.equal(r.status, status, r.error_message);
    return r;
});

const started = (agent, id) => eventually(() => assert.equal(agent.starts(id).length, 1));

/** The entries of the status log about a request: statuses with their codes. */
const statusLog = (agent, id) => agent.lines('asynchronous status').filter((l) => l.request_id === id).map((l) => `${l.status} ${l.error_code}`);

const configure = (agent, function_urn, body) => agent.client().updateFunctionAsyncInvokeConfig({ function_urn, body });
/** Sends an event that fails, and returns while it waits for a retry: the status log then has WAIT after RUNNING. */
async function acceptRetried(agent) {
    await configure(agent, 'hello', { enable_async_status_log: true });
    const id = await accept(agent, 'hello', { fail: true });
    await eventually(() => assert.deepEqual(statusLog(agent, id), ['RUNNING 0', 'WAIT 4002']));
    return id;
}

/** Cancels a request. */
const cancel = async (agent, request_id, type, function_urn = 'hello') => {
    const answer = await agent.client().cancelAsyncInvocation({ function_urn, body: { request_id, ...(type && { type }) } });
    assert.equal(answer.httpStatusCode, 200);
};
const notFound = (promise) => refused(promise, 404, 'FSS.0404', 'not found');

// Every operation with a request that is valid except for the function.
const ofFunction = {
    asyncInvokeFunction: (client, function_urn) => client.asyncInvokeFunction({ function_urn, body: {} }),
    updateFunctionAsyncInvokeConfig: (client, function_urn) => client.updateFunctionAsyncInvokeConfig({ function_urn, body: {} }),
    showFunctionAsyncInvokeConfig: (client, function_urn) => client.showFunctionAsyncInvokeConfig({ function_urn }),
    deleteFunctionAsyncInvokeConfig: (client, function_urn) => client.deleteFunctionAsyncInvokeConfig({ function_urn }),
    listFunctionAsyncInvokeConfig: (client, function_urn) => client.listFunctionAsyncInvokeConfig({ function_urn }),
    listAsyncInvocations: (client, function_urn) => client.listAsyncInvocations({ function_urn }),
    listActiveAsyncInvocations: (client, function_urn) => client.listActiveAsyncInvocations({ function_urn }),
    cancelAsyncInvocation: (client, function_urn) => client.cancelAsyncInvocation({ function_urn, body: { request_id: unknownID } }),
};
const ofProject = {
    enableAsyncStatusLog: (client) => client.enableAsyncStatusLog({}),
    showProjectAsyncStatusLogInfo: (client) => client.showProjectAsyncStatusLogInfo({}),
};

against('every form of the URN, asynchronously', {}, async (agent) => {
    const forms = ['hello', 'default:hello', `${project}:default:hello`, `${project}:default:hello:latest`, `${project}:default:hello:!prod`, urn(''), urn(':latest'), urn(':!prod')];
    for (const form of forms) {
        const event = { k: 'ü <&>', '(!)': "'*'", form };
        const id = await accept(agent, form, event);
        const r = await reaches(agent, id, 'SUCCESS');
        assert.equal(r.error_code, 0);
        assert.equal(r.error_message, '');
        for (const moment of [r.start_time, r.end_time]) {
            assert.match(moment, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/);
            assert.ok(Math.abs(Date.now() - Date.parse(`${moment}Z`)) < patience, moment);
        }
        assert.ok(r.start_time <= r.end_time);
        const starts = agent.starts(id);
        assert.equal(starts.length, 1);
        assert.deepEqual(starts[0].event, event);
        assert.equal(starts[0].alias, form.includes('!') ? 'prod' : '');
    }
});

against('memory of a call', {}, async (agent) => {
    for (const memory of ['128', '1024', '10240']) {
        const r = await agent.client().asyncInvokeFunction({ function_urn: 'hello', 'X-Cff-Instance-Memory': memory, body: {} });
        await reaches(agent, r.request_id, 'SUCCESS');
        await eventually(() => assert.match(agent.stdout, new RegExp(`Finish invoke request '${r.request_id}'.*billing memory: ${memory}MB`)));
    }
    for (const memory of ['100', '-128', '128MB']) {
        await refused(agent.client().asyncInvokeFunction({ function_urn: 'hello', 'X-Cff-Instance-Memory': memory, body: {} }), 400, 'FSS.1007', 'X-Cff-Instance-Memory');
    }
    const request = new functiongraph.AsyncInvokeFunctionRequest().withFunctionUrn('hello').withXCffInstanceMemory('256').withBody({ k: 1 });
    const r = await agent.client().asyncInvokeFunction(request);
    await reaches(agent, r.request_id, 'SUCCESS');
    assert.deepEqual(agent.starts(r.request_id)[0].event, { k: 1 });
});

against('the largest event', {}, async (agent) => {
    const event = (size) => ({ x: 'x'.repeat(size - '{"x":""}'.length) });
    const id = await accept(agent, 'hello', event(maxEvent));
    await reaches(agent, id, 'SUCCESS');
    assert.equal(agent.starts(id)[0].size, maxEvent);
    await refused(agent.client().asyncInvokeFunction({ function_urn: 'hello', body: event(maxEvent + 1) }), 413, 'FSS.0413', String(maxEvent));
    assert.equal(agent.starts().length, 1);
});

against('what does not exist', {}, async (agent) => {
    for (const call of Object.values(ofFunction)) {
        for (const function_urn of ['other', 'app:hello', urn(':v7'), urn(':!test'), urn(':latest').replace('local-1', 'cn-north-4')]) {
            await refused(call(agent.client(), function_urn), 404, 'FSS.0404', 'Not found');
        }
        await refused(call(agent.client(), 'a:b:c:d:e'), 400, 'FSS.1309', 'fields');
        await refused(call(agent.client({ project: 'another' }), 'hello'), 403, 'FSS.0403', 'another');
    }
    for (const call of Object.values(ofProject)) await refused(call(agent.client({ project: 'another' })), 403, 'FSS.0403');
    assert.deepEqual(agent.starts(), []);
});

against('who may call asynchronously', {}, async (agent) => {
    for (const [name, call] of Object.entries({ ...ofFunction, ...ofProject })) {
        await refused(call(agent.client({ sk: 'wrong' }), 'hello'), 401, 'APIGW.0301', 'verify aksk signature fail');
        await refused(call(agent.client(reader), 'hello'), 403, 'FSS.0403', 'may not do FunctionGraph:function:invokeAsync');
        await refused(call(agent.client(caller), 'hello'), 403, 'FSS.0403', 'may not do FunctionGraph:function:invokeAsync');
        await accept(agent, 'hello', { good: name }); // too many failures in a row would lock the key
    }
    await agent.client(caller).invokeFunction({ function_urn: 'hello', body: { good: 'invoke' } });
    const r = await agent.client(temporary).asyncInvokeFunction({ function_urn: 'hello', body: { good: 'temporary' } });
    await reaches(agent, r.request_id, 'SUCCESS');
    assert.ok(agent.starts().every((s) => s.event.good), 'nothing of the refused calls ran');
    for (const secret of [keys.sk, temporary.sk, temporary.token]) assert.ok(!agent.log().includes(secret));
});

against('without the queue', { GANTRY_ASYNC_PROGRAM: '/nowhere/gantry-jetstream' }, async (agent) => {
    for (const call of Object.values(ofFunction)) await refused(call(agent.client(), 'hello'), 503, 'FSS.0503', '/nowhere/gantry-jetstream');
    for (const call of Object.values(ofProject)) await call(agent.client());
    assert.equal((await agent.client().invokeFunction({ function_urn: 'hello', body: { k: 1 } })).got.k, 1);
});

against('a full queue', { GANTRY_ASYNC_MAX_EVENTS: '2' }, async (agent) => {
    const first = await accept(agent, 'hello', { gate: 'gate' });
    const second = await accept(agent, 'hello', {});
    await refused(agent.client().asyncInvokeFunction({ function_urn: 'hello', body: {} }), 429, 'FSS.0429', 'GANTRY_ASYNC_MAX_EVENTS');
    agent.open('gate');
    await reaches(agent, first, 'SUCCESS');
    await reaches(agent, second, 'SUCCESS');
    const third = await eventually(() => accept(agent, 'hello', {})); // the record appears before the event is removed
    await reaches(agent, third, 'SUCCESS');
    assert.equal(agent.starts().length, 3);
});

against('a configuration', {}, async (agent) => {
    const show = (function_urn) => agent.client().showFunctionAsyncInvokeConfig({ function_urn });
    const remove = (function_urn) => agent.client().deleteFunctionAsyncInvokeConfig({ function_urn });
    for (const function_urn of ['hello', urn(':!prod')]) {
        await notFound(show(function_urn));
        await notFound(remove(function_urn));
    }
    let put = await configure(agent, 'hello', {});
    const { created_time, last_modified, ...rest } = put;
    assert.deepEqual(rest, {
        func_urn: urn(':latest'), max_async_event_age_in_seconds: 3600, max_async_retry_attempts: 1, destination_config: {}, enable_async_status_log: false, httpStatusCode: 200,
    });
    for (const moment of [created_time, last_modified]) assert.ok(Math.abs(Date.now() - Date.parse(moment)) < patience, moment);

    // Byte for byte: other blanks and orders of members are kept.
    const on_success = { destination: 'OBS', param: '{ "prefix":"a/<&>/ü",\n\t"bucket" : "b", "expires":365, "more":[1, 2] }' };
    const on_failure = { destination: 'SMN', param: '{"topic_urn":"urn:smn:local-1:p:t"}' };
    const body = {
        max_async_event_age_in_seconds: 86400, max_async_retry_attempts: 3, enable_async_status_log: true, destination_config: { on_success, on_failure },
        log_group_id: 'g', log_stream_id: 's', log_group_name: 'gn', log_stream_name: 'sn',
    };
    for (const function_urn of [urn(':!prod'), `${project}:default:hello:!prod`]) { // the second replaces the first
        put = await configure(agent, function_urn, body);
        assert.deepEqual(put.destination_config, { on_success, on_failure });
        assert.equal(put.func_urn, urn(':!prod'));
    }
    let got = await show(`${project}:default:hello:!prod`);
    assert.deepEqual(got, put);
    assert.deepEqual(got, { ...body, func_urn: urn(':!prod'), created_time: got.created_time, last_modified: got.last_modified, httpStatusCode: 200 });
    got = await show(urn(':latest'));
    assert.equal(got.max_async_event_age_in_seconds, 3600, 'that of the version is another one');

    const request = new functiongraph.UpdateFunctionAsyncInvokeConfigRequest().withFunctionUrn(urn(':latest')).withBody(
        new functiongraph.UpdateFunctionAsyncInvokeConfigRequestBody().withMaxAsyncRetryAttempts(0).withDestinationConfig(
            new functiongraph.FuncAsyncDestinationConfig().withOnFailure(
                new functiongraph.FuncDestinationConfig().withDestination(functiongraph.FuncDestinationConfigDestinationEnum.FUNCTIONGRAPH).withParam('{"func_urn":"hello"}'))));
    put = await agent.client().updateFunctionAsyncInvokeConfig(request);
    assert.equal(put.max_async_retry_attempts, 0);
    assert.deepEqual(put.destination_config, { on_failure: { destination: 'FunctionGraph', param: '{"func_urn":"hello"}' } });

    assert.equal((await remove(urn(':!prod'))).httpStatusCode, 204);
    await notFound(remove(urn(':!prod')));
    await notFound(show(urn(':!prod')));
    await show('hello');
});

against('a bad configuration', {}, async (agent) => {
    await configure(agent, 'hello', { max_async_event_age_in_seconds: 1, max_async_retry_attempts: 0 });
    const before = await agent.client().showFunctionAsyncInvokeConfig({ function_urn: 'hello' });
    const to = (destination, param) => ({ destination_config: { on_success: { destination, param } } });
    const cases = [
        [{ max_async_event_age_in_seconds: 0 }, 'max_async_event_age_in_seconds is 0'],
        [{ max_async_event_age_in_seconds: 86401 }, 'max_async_event_age_in_seconds is 86401'],
        [{ max_async_event_age_in_seconds: 'long' }, 'max_async_event_age_in_seconds has the wrong type'],
        [{ max_async_event_age_in_seconds: 1.5 }, 'max_async_event_age_in_seconds has the wrong type'],
        [{ max_async_retry_attempts: -1 }, 'max_async_retry_attempts is -1'],
        [{ max_async_retry_attempts: 4 }, 'max_async_retry_attempts is 4'],
        [{ destination_config: [] }, 'destination_config has the wrong type'],
        [to('SQS', '{}'), 'on_success.destination is "SQS"'],
        [to(undefined, '{}'), 'on_success.destination'],
        [to('OBS', ''), 'on_success.param'],
        [to('OBS', '{"bucket":'), 'on_success.param'],
        [to('OBS', { bucket: 'b' }), 'has the wrong type'],
        [to('OBS', '{"prefix":"p"}'), '"bucket"'],
        [to('OBS', '{"bucket":"b","expires":366}'), 'expires is 366'],
        [to('SMN', '{}'), '"topic_urn"'],
        [to('DIS', '{}'), '"stream_name"'],
        [to('FunctionGraph', '{}'), '"func_urn"'],
        [[], 'the body is not a JSON object'],
    ];
    for (const [body, says] of cases) await refused(configure(agent, 'hello', body), 400, 'FSS.0400', says);
    assert.deepEqual(await agent.client().showFunctionAsyncInvokeConfig({ function_urn: 'hello' }), before);
});

const aliases = Array.from({ length: 101 }, (_, n) => `a${String(n).padStart(3, '0')}`);

against('the list of configurations', { RUNTIME_ALIAS: aliases.join(',') }, async (agent) => {
    const page = (filter = {}) => agent.client().listFunctionAsyncInvokeConfig({ function_urn: 'hello', ...filter });
    assert.deepEqual(await page(), { async_invoke_configs: [], count: 0, page_info: { next_marker: 0, previous_marker: 0, current_count: 0 }, httpStatusCode: 200 });

    const urns = [...aliases.map((alias) => urn(`:!${alias}`)), urn(':latest')];
    for (const u of urns) await configure(agent, u, { max_async_retry_attempts: 2 });
    const cases = [
        [{}, 0, 10, 10, 0],
        [{ limit: '0' }, 0, 10, 10, 0],
        [{ limit: '1' }, 0, 1, 1, 0],
        [{ limit: '101' }, 0, 100, 100, 0],
        [{ marker: '5', limit: '3' }, 5, 8, 8, 2],
        [{ marker: '100', limit: '10' }, 100, 102, 0, 90],
        [{ marker: '1000000', limit: '10' }, 102, 102, 0, 92],
    ];
    for (const [filter, from, to, next_marker, previous_marker] of cases) {
        const r = await page(filter);
        assert.deepEqual(r.async_invoke_configs.map((c) => c.func_urn), urns.slice(from, to));
        assert.ok(r.async_invoke_configs.every((c) => c.max_async_retry_attempts === 2));
        assert.equal(r.count, urns.length);
        assert.deepEqual(r.page_info, { next_marker, previous_marker, current_count: to - from });
    }
    const walked = [];
    for (let marker = '0'; ;) {
        const r = await page({ marker, limit: '7' });
        walked.push(...r.async_invoke_configs.map((c) => c.func_urn));
        if (!r.page_info.next_marker) break;
        marker = String(r.page_info.next_marker);
    }
    assert.deepEqual(walked, urns);
    for (const bad of ['-1', 'x', '1.5']) {
        await refused(page({ limit: bad }), 400, 'FSS.1001', 'limit');
        await refused(page({ marker: bad }), 400, 'FSS.1001', 'marker');
    }
});

against('records in every status', { GANTRY_ASYNC_RETRY_DELAY: '1h' }, async (agent) => {
    await configure(agent, urn(':!prod'), { max_async_event_age_in_seconds: 1 });
    const discarded = await accept(agent, urn(':!prod'), { fail: true }); // its retry would be too late
    let r = await reaches(agent, discarded, 'DISCARD');
    assert.match(r.error_message, /older than 1s.*asked to fail/s);
    assert.equal(r.error_code, 4002);
    const succeeded = await accept(agent, 'hello', {});
    await reaches(agent, succeeded, 'SUCCESS');
    const failed = await accept(agent, 'hello', { fail: true });
    r = await reaches(agent, failed, 'FAIL');
    assert.match(r.error_message, /asked to fail/);
    assert.equal(r.error_code, 4002);
    const retried = await acceptRetried(agent);
    r = await record(agent, retried);
    assert.deepEqual([r.status, r.error_code, r.error_message, r.end_time], ['WAIT', 0, '', '']);
    const running = await accept(agent, 'hello', { gate: 'gate' });
    r = await reaches(agent, running, 'RUNNING');
    assert.equal(r.end_time, '');
    const next = await accept(agent, 'hello', {}); // it has left the queue, or will soon, and waits for the worker
    const waiting = await accept(agent, 'hello', {});
    await reaches(agent, waiting, 'WAIT');

    const all = [discarded, succeeded, failed, retried, running, next, waiting];
    let page = await list(agent);
    assert.deepEqual(ids(page), all);
    assert.equal(page.count, all.length);
    assert.equal(page.next_marker, 0);
    for (const [status, want] of Object.entries({ WAIT: [retried, next, waiting], RUNNING: [running], DISCARD: [discarded], SUCCESS: [succeeded], FAIL: [failed] })) {
        page = await list(agent, { status });
        assert.deepEqual(ids(page), want);
        assert.ok(page.invocations.every((found) => found.status === status));
        assert.deepEqual(ids(await active(agent, { status })), status === 'WAIT' || status === 'RUNNING' ? want : []);
    }

    // By id: one, or several of the active ones.
    assert.deepEqual(ids(await list(agent, { request_id: failed, status: 'SUCCESS' })), []);
    for (const request_id of [unknownID, 'x', '*', '>']) assert.deepEqual(ids(await list(agent, { request_id })), []);
    assert.deepEqual(ids(await active(agent)), all.slice(3));
    assert.deepEqual(ids(await active(agent, { requests: [waiting, succeeded, unknownID, retried, 'x'].join() })), [retried, waiting]);
    assert.deepEqual(ids(await active(agent, { requests: `${running},${waiting}`, status: 'RUNNING' })), [running]);
    assert.deepEqual(ids(await active(agent, { requests: waiting })), [waiting]);
    await refused(active(agent, { requests: Array(11).fill(unknownID).join() }), 400, 'FSS.1001', '11 ids');

    // Pages.
    for (const [marker, limit, from, to, next_marker] of [[0, 2, 0, 2, 2], [2, 4, 2, 6, 6], [6, 1, 6, 7, 0], [0, 500, 0, 7, 0], [0, 0, 0, 7, 0], [1000, 1, 7, 7, 0]]) {
        page = await list(agent, { marker: String(marker), limit: String(limit) });
        assert.deepEqual(ids(page), all.slice(from, to));
        assert.equal(page.count, all.length);
        assert.equal(page.next_marker, next_marker);
    }
    page = await active(agent, { marker: '1', limit: '2' });
    assert.deepEqual(ids(page), all.slice(4, 6));
    assert.deepEqual([page.count, page.next_marker], [4, 3]);
    for (const [filter, says] of [[{ status: 'DONE' }, 'DISCARD'], [{ status: 'wait' }, 'DISCARD'], [{ marker: '-1' }, 'marker'], [{ marker: 'x' }, 'marker'], [{ limit: '-1' }, 'limit'], [{ limit: '501' }, 'limit is 501'], [{ query_begin_time: 'today' }, 'query_begin_time'], [{ query_end_time: '1' }, 'query_end_time']]) {
        await refused(list(agent, filter), 400, 'FSS.1001', says);
        await refused(active(agent, filter), 400, 'FSS.1001', says);
    }

    agent.open('gate');
    for (const id of [running, next, waiting]) await reaches(agent, id, 'SUCCESS');
    assert.deepEqual(ids(await active(agent)), [retried]);
});

against('records by time', {}, async (agent) => {
    const first = await accept(agent, 'hello', {});
    const between = (Math.floor(Date.now() / 1000) + 1) * 1000; // times have seconds, and nothing smaller
    await sleep(between + 10 - Date.now());
    const second = await accept(agent, 'hello', { gate: 'gate' });
    await reaches(agent, first, 'SUCCESS');
    // The SDK's own type is Date, which it signs in one form and sends in none: times must be texts.
    const bare = (ms) => new Date(ms).toISOString().slice(0, 19);
    const zulu = (ms) => new Date(ms).toISOString();
    const minute = 60_000;
    for (const at of [bare, zulu]) {
        const cases = [
            [{}, [first, second]],
            [{ query_begin_time: at(between) }, [second]],
            [{ query_begin_time: at(between + minute) }, []],
            [{ query_end_time: at(between) }, [first]],
            [{ query_end_time: at(between - minute) }, []],
            [{ query_begin_time: at(between - minute), query_end_time: at(between + minute) }, [first, second]],
            [{ query_begin_time: at(between - 48 * 60 * minute), query_end_time: at(between - 2 * 60 * minute) }, []],
        ];
        for (const [filter, want] of cases) {
            assert.deepEqual(ids(await list(agent, filter)), want, JSON.stringify(filter));
            assert.deepEqual(ids(await active(agent, filter)), want.filter((id) => id === second), JSON.stringify(filter));
        }
    }
    const request = new functiongraph.ListAsyncInvocationsRequest().withFunctionUrn('hello').withLimit('1').withMarker('1').withQueryBeginTime(bare(between - minute));
    assert.deepEqual(ids(await agent.client().listAsyncInvocations(request)), [second]);
    agent.open('gate');
    await reaches(agent, second, 'SUCCESS');
});

against('cancelling', { GANTRY_ASYNC_RETRY_DELAY: '1h' }, async (agent) => {
    const retried = await acceptRetried(agent);
    const running = await accept(agent, 'hello', { gate: 'never' });
    await reaches(agent, running, 'RUNNING');
    await started(agent, running);
    const waiting = []; // the first may have left the queue and wait for the worker
    for (let n = 0; n < 4; n++) waiting.push(await accept(agent, 'hello', {}));

    for (const [id, type] of [[waiting[0]], [waiting[1], 'force'], [waiting[2], 'recursive'], [retried]]) {
        await cancel(agent, id, type);
        const r = await record(agent, id);
        assert.equal(r.status, 'DISCARD');
        assert.equal(r.error_code, 4208);
        assert.match(r.error_message, /canceled/);
        assert.notEqual(r.end_time, '');
    }
    await cancel(agent, running, 'force', urn(':!prod'));
    const r = await reaches(agent, running, 'FAIL');
    assert.equal(r.error_code, 4208);
    assert.match(r.error_message, /canceled/);
    await reaches(agent, waiting[3], 'SUCCESS');

    for (const id of [retried, running, ...waiting, unknownID, 'x', '*', '>']) await refused(cancel(agent, id), 400, 'FSS.0400', 'Invalid RequestId');
    await refused(cancel(agent, unknownID, 'gentle'), 400, 'FSS.0400', 'type is "gentle"');
    for (const body of [{}, [], { request_id: 7 }, { request_id: '' }]) await refused(agent.client().cancelAsyncInvocation({ function_urn: 'hello', body }), 400, 'FSS.0400', 'request_id');
    for (const [id, starts] of [[retried, 1], [running, 1], [waiting[0], 0], [waiting[1], 0], [waiting[2], 0], [waiting[3], 1]]) assert.equal(agent.starts(id).length, starts);
});

against('the status log', {}, async (agent) => {
    assert.equal((await agent.client().enableAsyncStatusLog({})).httpStatusCode, 200);
    const group = `function-async-log-group-${project}`, stream = `function-async-log-stream-${project}`;
    assert.deepEqual(await agent.client().showProjectAsyncStatusLogInfo(new functiongraph.ShowProjectAsyncStatusLogInfoRequest('application/json')), {
        group_name: group, group_id: group, stream_name: stream, stream_id: stream, httpStatusCode: 200,
    });
    await configure(agent, urn(':!prod'), { max_async_retry_attempts: 0, enable_async_status_log: true });
    const silent = await accept(agent, 'hello', {});
    await reaches(agent, silent, 'SUCCESS');
    const failed = await accept(agent, urn(':!prod'), { fail: true });
    await reaches(agent, failed, 'FAIL');
    await eventually(() => assert.deepEqual(statusLog(agent, failed), ['RUNNING 0', 'FAIL 4002']));
    assert.deepEqual(statusLog(agent, silent), []);
});

against('retries', { GANTRY_ASYNC_RETRY_DELAY: '10ms' }, async (agent) => {
    await configure(agent, urn(':!prod'), { max_async_retry_attempts: 2 });
    for (const [function_urn, fails, status, starts] of [[urn(':!prod'), 0, 'SUCCESS', 1], [urn(':!prod'), 2, 'SUCCESS', 3], [urn(':!prod'), 3, 'FAIL', 3], ['hello', 1, 'FAIL', 1]]) {
        const id = await accept(agent, function_urn, { fails });
        const r = await reaches(agent, id, status);
        assert.equal(r.error_code, status === 'FAIL' ? 4002 : 0);
        assert.equal(r.error_message.includes('asked to fail'), status === 'FAIL');
        assert.equal(agent.starts(id).length, starts);
    }
});

/** Waits for the file of a destination that has no endpoint, and reads it. */
const outcomeMessage = (agent, name) => eventually(() => JSON.parse(fs.readFileSync(path.join(agent.dir, 'data/notifications', name), 'utf8')));

against('destinations', { GANTRY_ASYNC_RETRY_DELAY: '10ms' }, async (agent) => {
    const set = (function_urn, destination, param) => {
        const d = { destination, param: JSON.stringify(param) };
        return configure(agent, function_urn, { destination_config: { on_success: d, on_failure: d } });
    };
    await set('hello', 'OBS', { bucket: 'outcomes', prefix: 'a/b', expires: 1 });
    const event = { k: 'ü <&>' };
    const good = await accept(agent, 'hello', event);
    await reaches(agent, good, 'SUCCESS');
    // An id begins with its time.
    const day = new Date(parseInt(good.replace('-', '').slice(0, 12), 16)).toISOString().slice(0, 10).replaceAll('-', '/');
    const { timestamp, ...rest } = await outcomeMessage(agent, `OBS/outcomes/a/b/hello/${day}/${good}.json`);
    assert.ok(Math.abs(Date.now() - Date.parse(timestamp)) < patience);
    assert.deepEqual(rest, {
        request_context: { request_id: good, function_urn: urn(':latest'), condition: '', approximate_invoke_count: 1 },
        request_payload: event,
        response_context: { status_code: 200, function_error: '' },
        response_payload: { got: event, alias: '' },
    });

    await set(urn(':!prod'), 'SMN', { topic_urn: 'urn:smn:local-1:p:topic' });
    const bad = await accept(agent, urn(':!prod'), { fail: true });
    let n = await outcomeMessage(agent, `SMN/urn:smn:local-1:p:topic/${bad}.json`);
    assert.deepEqual(n.request_context, { request_id: bad, function_urn: urn(':latest'), condition: 'RetriesExhausted', approximate_invoke_count: 2 });
    assert.deepEqual(n.request_payload, { fail: true });
    assert.equal(n.response_context.status_code, 200);
    assert.match(n.response_context.function_error, /asked to fail/);

    await set(urn(':!prod'), 'FunctionGraph', { func_urn: 'urn:fss:local-1:p:function:default:other:latest' });
    const away = await accept(agent, urn(':!prod'), event);
    n = await outcomeMessage(agent, `FunctionGraph/urn:fss:local-1:p:function:default:other:latest/${away}.json`);
    assert.deepEqual(n.response_payload, { got: event, alias: 'prod' });

    await set('hello', 'DIS', { stream_name: 'stream' });
    const running = await accept(agent, 'hello', { gate: 'never' });
    await reaches(agent, running, 'RUNNING');
    const next = await accept(agent, 'hello', {});
    const waiting = await accept(agent, 'hello', {});
    for (const id of [waiting, next, running]) {
        await cancel(agent, id);
        n = await outcomeMessage(agent, `DIS/stream/${id}.json`);
        assert.deepEqual([n.request_context.request_id, n.request_context.condition], [id, 'Canceled']);
    }
});

against('a restart', { GANTRY_SHUTDOWN_TIMEOUT: '3', GANTRY_ASYNC_RETRY_DELAY: '10ms' }, async (agent) => {
    await configure(agent, urn(':!prod'), { max_async_retry_attempts: 3, destination_config: { on_success: { destination: 'DIS', param: '{"stream_name":"stream"}' } } });
    const succeeded = await accept(agent, 'hello', {});
    await reaches(agent, succeeded, 'SUCCESS');
    const failed = await accept(agent, 'hello', { fail: true });
    await reaches(agent, failed, 'FAIL');
    const slow = await accept(agent, 'hello', { gate: 'gate' });
    await started(agent, slow);
    const want = [[succeeded, 'SUCCESS', 1], [failed, 'FAIL', 1], [slow, 'SUCCESS', 2]];
    const waiting = [];
    for (let n = 0; n < 20; n++) {
        const id = await accept(agent, urn(':!prod'), { n, fails: n % 2 });
        waiting.push(id);
        want.push([id, 'SUCCESS', 1 + n % 2]);
    }
    const cancelled = waiting.pop();
    await cancel(agent, cancelled);
    want[want.length - 1] = [cancelled, 'DISCARD', 0];

    assert.equal(await agent.end(), 0, agent.log());
    assert.equal(agent.starts().length, 3, 'nothing else has run');
    agent.open('gate');
    await agent.start();
    for (const [id, status, starts] of want) {
        await reaches(agent, id, status);
        assert.equal(agent.starts(id).length, starts, `${id}, ${status}`);
    }
    for (const id of waiting) assert.equal((await outcomeMessage(agent, `DIS/stream/${id}.json`)).request_context.request_id, id);
    assert.equal((await agent.client().showFunctionAsyncInvokeConfig({ function_urn: urn(':!prod') })).max_async_retry_attempts, 3);
    assert.equal((await list(agent)).count, want.length);

    await agent.end();
    await agent.start(); // no request is left
    assert.deepEqual(ids(await active(agent)), []);
    await reaches(agent, await accept(agent, 'hello', {}), 'SUCCESS');
    for (const [id, , starts] of want) assert.equal(agent.starts(id).length, starts);
});
