'use strict';
// The peer: an HTTP function of Google's framework around the handler of ../function/index.js, as its guide writes it.
const functions = require('@google-cloud/functions-framework');

const handler = async (event, context) => ({ statusCode: 200, body: event.name });

functions.http('handler', async (req, res) => {
  res.json(await handler(req.body, {}));
});
