const { createHash } = require('crypto');
const fastify = require('fastify')({ bodyLimit: 7 << 20 });

fastify.register(require('@fastify/formbody'));
fastify.addContentTypeParser('*', { parseAs: 'buffer' }, (req, body, done) => done(null, body));
fastify.get('/', async () => 'hello');
fastify.all('/echo', async (req) => {
  const body = req.body || Buffer.alloc(0);
  const hash = createHash('sha256').update(body).digest('hex');
  return { method: req.method, url: req.raw.url, headers: req.headers, size: body.length, hash };
});
fastify.post('/json', async (req, reply) => reply.code(201).send({ got: req.body }));
fastify.post('/form', async (req) => ({ got: req.body }));
fastify.get('/redirect', async (req, reply) => reply.redirect('/elsewhere?x=1'));
fastify.get('/cookies', async (req, reply) => {
  return reply.header('Set-Cookie', ['session=abc; Path=/; HttpOnly', 'theme=dark']).send('set');
});
fastify.get('/204', async (req, reply) => reply.code(204).send());
fastify.get('/etag', async (req, reply) => {
  reply.header('ETag', '"v1"');
  return req.headers['if-none-match'] === '"v1"' ? reply.code(304).send() : 'tagged';
});
fastify.get('/large', async () => 'compress me '.repeat(10000));
fastify.get('/chunks', async (req, reply) => {
  return reply.type('text/plain').send(require('stream').Readable.from(['one ', 'two']));
});
fastify.get('/error', async () => { throw new Error('on purpose'); });
fastify.get('/exit', () => process.exit(3));

fastify.listen({ port: Number(process.env.PORT || 8000), host: '127.0.0.1' });
process.on('SIGTERM', () => { console.log('asked to end'); fastify.close().then(() => process.exit(0)); });
