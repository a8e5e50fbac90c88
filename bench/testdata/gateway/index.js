'use strict';

exports.handler = async (event, context) => ({
  statusCode: 200,
  headers: {},
  body: 'Hello, ' + (event.name || event.httpMethod),
  isBase64Encoded: false,
});
