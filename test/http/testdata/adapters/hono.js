'use strict';

// The same routes in Hono.
const { Hono } = require('hono');
const { getConnInfo } = require('hono/aws-lambda');

// address is the caller's; the event may lack what it is read from.
const address = (c) => {
  try {
    return getConnInfo(c).remote.address || '';
  } catch (e) {
    return '';
  }
};

const app = new Hono();
app.get('/show', (c) => c.json({
  method: c.req.method, path: c.req.path, query: c.req.query(), cookie: c.req.header('cookie') || '', ip: address(c), host: c.req.header('host') || '',
}));
app.post('/json', async (c) => c.json({ got: await c.req.json() }, 201));
app.post('/form', async (c) => c.json({ got: await c.req.parseBody() }));
app.post('/bytes', async (c) => c.body(await c.req.arrayBuffer(), 200, { 'Content-Type': 'application/octet-stream' }));
app.get('/png', (c) => c.body(new Uint8Array([0x89, 0x50, 0, 0xff]), 200, { 'Content-Type': 'image/png' }));
app.get('/html', (c) => c.html('<p>ü</p>'));
app.get('/cookies', (c) => {
  c.header('Set-Cookie', 'a=1; Path=/', { append: true });
  c.header('Set-Cookie', 'b=2; Path=/', { append: true });
  return c.text('set');
});
app.get('/twice', (c) => {
  c.header('X-Twice', '1', { append: true });
  c.header('X-Twice', '2', { append: true });
  return c.text('x');
});
app.get('/redirect', (c) => c.redirect('/show'));
app.get('/204', (c) => c.body(null, 204));
module.exports = app;
