const fs = require('fs'), http = require('http'), path = require('path'), zlib = require('zlib');

const types = {
  '.html': 'text/html; charset=utf-8', '.css': 'text/css', '.js': 'text/javascript', '.png': 'image/png',
};

function read(request) {
  return new Promise((resolve, reject) => {
    const parts = [];
    request.on('data', (d) => parts.push(d)).on('end', () => resolve(Buffer.concat(parts))).on('error', reject);
  });
}

const server = http.createServer(async (request, response) => {
  const body = await read(request);
  const name = request.url.split('?')[0];
  switch (name) {
    case '/api':
      response.setHeader('Content-Type', 'application/json');
      return response.end(JSON.stringify({ method: request.method, url: request.url, body: String(body) }));
    case '/redirect': return response.writeHead(302, { Location: '/api?from=redirect' }).end();
    case '/cookies':
      response.setHeader('Set-Cookie', ['seen=1; Path=/', 'hidden=2; Path=/; HttpOnly']);
      return response.end(request.headers.cookie || 'none');
    case '/packed':
      response.writeHead(200, { 'Content-Encoding': 'gzip', 'Content-Type': 'text/plain' });
      return response.end(zlib.gzipSync('x'.repeat(100000)));
    case '/size': return response.end(String(body.length));
  }
  const file = path.join(__dirname, 'public', name === '/' ? 'index.html' : path.basename(name));
  if (!fs.existsSync(file)) return response.writeHead(404).end();
  response.setHeader('Content-Type', types[path.extname(file)]);
  fs.createReadStream(file).pipe(response);
});

server.listen(process.env.PORT || 8000, '127.0.0.1');
