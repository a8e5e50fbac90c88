const fs = require('fs'), http = require('http'), path = require('path');
const { WebSocketServer } = require('ws');

const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript' };
let seen = () => {}, next = () => {}, early = 'no';

const server = http.createServer((request, response) => {
  const body = [];
  request.on('data', (d) => body.push(d));
  const name = request.url.split('?')[0];
  switch (name) {
    case '/events': // the rest comes when the page has seen the beginning
      early = 'no';
      response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
      response.write('id: 1\ndata: one\n\n');
      seen = () => { early = 'yes'; response.write('id: 2\ndata: two\n\nid: 3\ndata: three\n\n'); };
      return;
    case '/seen': seen(); return response.end();
    case '/early': return response.end(early);
    case '/parts':
      response.write('before');
      next = () => response.end('after');
      return;
    case '/next': next(); return response.end();
    case '/report': // what the page has seen
      request.on('end', () => { console.log('report ' + Buffer.concat(body)); response.end(); });
      return;
  }
  const file = path.join(__dirname, 'public', name === '/' ? 'index.html' : path.basename(name));
  if (!fs.existsSync(file)) return response.writeHead(404).end();
  response.setHeader('Content-Type', types[path.extname(file)]);
  fs.createReadStream(file).pipe(response);
});

new WebSocketServer({ server, path: '/socket' }).on('connection', (socket) => {
  socket.on('message', (data, binary) => {
    if (String(data) === 'close') socket.close(4001, 'bye');
    else socket.send(data, { binary });
  });
});

server.listen(process.env.PORT || 8000, '127.0.0.1');
