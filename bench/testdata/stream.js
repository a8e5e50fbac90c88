'use strict';
// A server that streams: the first byte of an answer without an end, a download, and what answers an upgrade.
const http = require('http');

const piece = Buffer.alloc(64 << 10, 'x');

http.createServer((req, res) => {
  if (req.url === '/first') {
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });
    res.write('x');
    return setTimeout(() => res.end(), 1);
  }
  if (req.url !== '/download') return req.resume().on('end', () => res.end('{"statusCode":200,"body":"x"}'));
  let left = 100 << 20;
  res.writeHead(200, { 'Content-Length': left });
  const more = () => {
    while (left > 0) {
      const chunk = piece.subarray(0, Math.min(left, piece.length));
      left -= chunk.length;
      if (!res.write(chunk)) return res.once('drain', more);
    }
    res.end();
  };
  return more();
}).on('upgrade', (req, socket) => {
  socket.on('error', () => {});
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
  socket.pipe(socket);
}).listen(Number(process.argv[2]), '127.0.0.1');
