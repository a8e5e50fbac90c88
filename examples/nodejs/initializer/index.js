'use strict';
// An initializer runs once per worker, before the first call: the place for connections and caches.

let table = null;

exports.initializer = (context, callback) => {
  context.getLogger().info('filling the table');
  setTimeout(() => {
    table = new Map([['sku-1', 'anvil'], ['sku-2', 'rocket skates']]);
    callback(null);
  }, 20);
};

exports.handler = async (event, context) => {
  const name = table.get(event.sku);
  if (name === undefined) throw new RangeError('unknown sku ' + event.sku);
  return { sku: event.sku, name: name, currency: context.getUserData('currency') || 'EUR' };
};
