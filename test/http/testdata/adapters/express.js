'use strict';

// The routes that every adapter is tried with, in Express.
const express = require('express');

const app = express();
app.get('/show', (q, s) => s.json({
  method: q.method, path: q.path, query: q.query, cookie: q.headers.cookie || '', ip: q.ip || '', host: q.headers.host || '',
}));
app.post('/json', express.json(), (q, s) => s.status(201).json({ got: q.body }));
app.post('/form', express.urlencoded({ extended: false }), (q, s) => s.json({ got: q.body }));
app.post('/bytes', express.raw({ type: '*/*', limit: '6mb' }), (q, s) => s.type('application/octet-stream').send(q.body));
app.get('/png', (q, s) => s.type('image/png').send(Buffer.from([0x89, 0x50, 0, 0xff])));
app.get('/html', (q, s) => s.type('html').send('<p>ü</p>'));
app.get('/cookies', (q, s) => s.cookie('a', '1').cookie('b', '2').send('set'));
app.get('/twice', (q, s) => s.set('X-Twice', ['1', '2']).send('x'));
app.get('/redirect', (q, s) => s.redirect(302, '/show'));
app.get('/204', (q, s) => s.status(204).end());
module.exports = app;
