'use strict';

exports.handler = async (event, context) => {
  context.getLogger().info('hello from request %s', context.getRequestID());
  return { statusCode: 200, headers: { 'Content-Type': 'text/plain' }, body: 'Hello, ' + (event.name || 'world'), isBase64Encoded: false };
};
