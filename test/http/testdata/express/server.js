const express = require(process.env.EXPRESS || 'express');
const compression = require('compression');
const { createHash } = require('crypto');

const app = express();
const hash = (b) => createHash('sha256').update(b).digest('hex');

app.use(compression());
app.get('/', (req, res) => res.send('hello'));
app.all('/echo', express.raw({ type: () => true, limit: '7mb' }), (req, res) => {
  const body = Buffer.isBuffer(req.body) ? req.body : Buffer.alloc(0);
  res.json({ method: req.method, url: req.originalUrl, headers: req.headers, size: body.length, hash: hash(body) });
});
app.post('/json', express.json(), (req, res) => res.status(201).json({ got: req.body }));
app.post('/form', express.urlencoded({ extended: false }), (req, res) => res.json({ got: req.body }));
app.get('/redirect', (req, res) => res.redirect('/elsewhere?x=1'));
app.get('/cookies', (req, res) => {
  res.cookie('session', 'a b"c', { httpOnly: true, path: '/' }).cookie('theme', 'dark', { maxAge: 3600e3 });
  res.clearCookie('old').send('set');
});
app.get('/204', (req, res) => res.status(204).end());
app.get('/etag', (req, res) => res.set('ETag', '"v1"').send('tagged'));
app.get('/large', (req, res) => res.type('text/plain').send('compress me '.repeat(10000)));
app.get('/chunks', (req, res) => { res.type('text/plain'); res.write('one '); setTimeout(() => res.end('two'), 20); });
app.get('/error', () => { throw new Error('on purpose'); });
app.get('/exit', () => process.exit(3));
app.use('/static', express.static(__dirname + '/static'));

const server = app.listen(process.env.PORT || 8000, '127.0.0.1');
process.on('SIGTERM', () => {
  console.log('asked to end');
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
