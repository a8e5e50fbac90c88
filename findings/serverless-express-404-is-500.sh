#!/bin/sh
# serverless-express: a path that the Express app does not have is answered with 500, not with Express's 404.
#
# Versions:  @codegenie/serverless-express 5.0.0 with express 5.2.1 and 4.22.1, Node.js 18 and later.
# Behaviour: Express answers a request that no route takes by its own last handler, which waits for the end of the
#            request at its socket. The socket that the adapter makes has no method "on", so that this handler raises
#            "ee.on is not a function", and the call is answered with 500: with an empty body in Express 5, with a page
#            that shows the TypeError in Express 4. Routes of the app are not affected. It is so for events of both
#            versions of AWS's API Gateway.
# Seen:      express 5.2.1   1.0: /a 200, /missing 500   2.0: /a 200, /missing 500
#            express 4.22.1  1.0: /a 200, /missing 500   2.0: /a 200, /missing 500
# Guessed:   404 with "Cannot GET /missing", as the same app answers behind Node's own server.
# Way out:   a last route of the app that answers 404 itself.
#
# Exits with 0 if this still holds, 1 if it has changed, 77 without Node.js and npm.
set -eu
command -v node >/dev/null && command -v npm >/dev/null || { echo "no node, or no npm, here"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
echo '{"private":true}' >package.json
npm install --no-audit --no-fund --loglevel=error @codegenie/serverless-express@5.0.0 express5@npm:express@5.2.1 \
  express4@npm:express@4.22.1 >/dev/null
cat >ask.js <<'EOF'
const http = require('http');
const adapter = require('@codegenie/serverless-express');

const events = {
  '1.0': (path) => ({
    resource: '/{proxy+}', path, httpMethod: 'GET', body: null, isBase64Encoded: false, pathParameters: { proxy: path.slice(1) },
    headers: { Host: 'localhost' }, multiValueHeaders: { Host: ['localhost'] },
    queryStringParameters: null, multiValueQueryStringParameters: null,
    requestContext: { path, httpMethod: 'GET', stage: 'prod', requestId: 'r', resourcePath: '/{proxy+}', identity: { sourceIp: '127.0.0.1' } },
  }),
  '2.0': (path) => ({
    version: '2.0', routeKey: '$default', rawPath: path, rawQueryString: '', headers: { host: 'localhost' }, isBase64Encoded: false,
    requestContext: { stage: '$default', requestId: 'r', http: { method: 'GET', path, protocol: 'HTTP/1.1', sourceIp: '127.0.0.1' } },
  }),
};

async function ask(name) {
  const app = require(name)();
  app.get('/a', (request, response) => response.send('a'));
  const server = app.listen(0, '127.0.0.1');
  await new Promise((done) => server.on('listening', done));
  const direct = await new Promise((done) => http.get({ port: server.address().port, path: '/missing' }, done));
  direct.resume();
  server.close();
  const handler = adapter.configure({ app, logSettings: { level: 'none' } });
  for (const version of Object.keys(events)) {
    for (const path of ['/a', '/missing']) {
      const { statusCode } = await handler(events[version](path), {}, () => {});
      console.log(name, version, path, statusCode, path === '/missing' ? `direct ${direct.statusCode}` : '');
    }
  }
}

ask('express5').then(() => ask('express4')).then(() => process.exit());
EOF
node ask.js 2>/dev/null | sed 's/ *$//' | tee seen
cat >wanted <<'EOF'
express5 1.0 /a 200
express5 1.0 /missing 500 direct 404
express5 2.0 /a 200
express5 2.0 /missing 500 direct 404
express4 1.0 /a 200
express4 1.0 /missing 500 direct 404
express4 2.0 /a 200
express4 2.0 /missing 500 direct 404
EOF
cmp -s seen wanted || { echo "this has changed"; exit 1; }
