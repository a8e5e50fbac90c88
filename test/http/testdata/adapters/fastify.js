'use strict';

// The same routes in Fastify.
const app = require('fastify')();

app.register(require('@fastify/cookie'));
app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' },
  (q, body, done) => done(null, Object.fromEntries(new URLSearchParams(body))));
app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: 6 << 20 }, (q, body, done) => done(null, body));
app.get('/show', async (q) => ({
  method: q.method, path: q.url.split('?')[0], query: q.query, cookie: q.headers.cookie || '', ip: q.ip || '', host: q.headers.host || '',
}));
app.post('/json', async (q, r) => r.code(201).send({ got: q.body }));
app.post('/form', async (q) => ({ got: q.body }));
app.post('/bytes', async (q, r) => r.type('application/octet-stream').send(q.body));
app.get('/png', async (q, r) => r.type('image/png').send(Buffer.from([0x89, 0x50, 0, 0xff])));
app.get('/html', async (q, r) => r.type('text/html; charset=utf-8').send('<p>ü</p>'));
app.get('/cookies', async (q, r) => r.setCookie('a', '1').setCookie('b', '2').send('set'));
app.get('/twice', async (q, r) => r.header('X-Twice', ['1', '2']).send('x'));
app.get('/redirect', async (q, r) => r.redirect('/show'));
app.get('/204', async (q, r) => r.code(204).send());
module.exports = app;
