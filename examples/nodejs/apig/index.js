'use strict';
// Behind an API gateway: the event carries the HTTP request, the answer has the four fields the gateway wants.

exports.handler = async (event, context) => {
  const query = event.queryStringParameters || {};
  const body = event.body && event.isBase64Encoded ? Buffer.from(event.body, 'base64').toString() : event.body;
  return {
    statusCode: 200,
    headers: { 'Content-Type': 'application/json' },
    isBase64Encoded: false,
    body: JSON.stringify({ method: event.httpMethod, path: event.path, name: query.name || 'world', body: body || null }),
  };
};
