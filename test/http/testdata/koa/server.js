const Koa = require('koa');
const { createHash } = require('crypto');

const app = new Koa();
app.silent = true;
const read = (stream) => new Promise((resolve, reject) => {
  const parts = [];
  stream.on('data', (d) => parts.push(d)).on('end', () => resolve(Buffer.concat(parts))).on('error', reject);
});

app.use(async (ctx) => {
  switch (ctx.path) {
    case '/': ctx.body = 'hello'; break;
    case '/echo': {
      const body = await read(ctx.req);
      const hash = createHash('sha256').update(body).digest('hex');
      ctx.body = { method: ctx.method, url: ctx.originalUrl, headers: ctx.headers, size: body.length, hash };
      break;
    }
    case '/json': ctx.status = 201; ctx.body = { got: JSON.parse(await read(ctx.req)) }; break;
    case '/form': ctx.body = { got: Object.fromEntries(new URLSearchParams(String(await read(ctx.req)))) }; break;
    case '/redirect': ctx.redirect('/elsewhere?x=1'); break;
    case '/cookies':
      ctx.cookies.set('session', 'abc');
      ctx.cookies.set('theme', 'dark', { httpOnly: false });
      ctx.body = 'set';
      break;
    case '/204': ctx.status = 204; break;
    case '/etag': ctx.etag = 'v1'; ctx.body = 'tagged'; ctx.status = 200; if (ctx.fresh) ctx.status = 304; break;
    case '/large': ctx.body = 'compress me '.repeat(10000); break;
    case '/chunks': ctx.body = require('stream').Readable.from(['one ', 'two']); ctx.type = 'text/plain'; break;
    case '/error': throw new Error('on purpose');
    case '/exit': process.exit(3);
  }
});

const server = app.listen(process.env.PORT || 8000, '127.0.0.1');
process.on('SIGTERM', () => {
  console.log('asked to end');
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
