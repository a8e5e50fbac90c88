'use strict';

// What an adapter for AWS needs beside API Gateway's event, and its answer as API Gateway takes it.
exports.aws = (handler) => async (event, context) => {
  const lists = (values) => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, [value]]));
  const { multiValueHeaders = {}, cookies, ...answer } = await handler({
    ...event,
    multiValueQueryStringParameters: lists(event.queryStringParameters),
    requestContext: { ...event.requestContext, identity: { sourceIp: event.requestContext.sourceIp } },
  }, context);
  const headers = { ...answer.headers };
  for (const [name, values] of Object.entries(multiValueHeaders)) headers[name] = values.length > 1 ? values : String(values[0]);
  return { ...answer, headers };
};
