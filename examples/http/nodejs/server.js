// An HTTP function: a web server on port 8000, or on PORT where that is set.
const http = require('http');

const server = http.createServer((request, response) => {
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.end('Hello from ' + request.method + ' ' + request.url + ', request ' + request.headers['x-cff-request-id'] + '\n');
});

server.listen(process.env.PORT || 8000, '127.0.0.1');
process.on('SIGTERM', () => server.close());
