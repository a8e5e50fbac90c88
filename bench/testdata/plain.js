'use strict';
// The rival: Node's own http server around the handler of function/index.js, as one would write it by hand.
const http = require('http');

const handler = async (event, context) => ({ statusCode: 200, body: event.name });

http.createServer((req, res) => {
  let text = '';
  req.setEncoding('utf8');
  req.on('data', (chunk) => { text += chunk; });
  req.on('end', async () => {
    const body = JSON.stringify(await handler(JSON.parse(text), {}));
    res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
    res.end(body);
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
