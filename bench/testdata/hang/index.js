'use strict';

// An event without a name passes its deadline, and costs the worker.
exports.handler = async (event, context) => {
  while (event.name === undefined);
  return { statusCode: 200, body: event.name };
};
