// The function of the conformance suite: event.do says what it does.
const { spawnSync } = require('child_process');

let ready = 'not ready';

exports.initializer = (context, callback) => {
  ready = context.getUserData('ready');
  callback(null);
};

exports.hook = async () => console.log('the hook says goodbye');

exports.handler = async (event, context) => {
  const id = context.getRequestID();
  if (event.httpMethod) event = JSON.parse(Buffer.from(event.body, 'base64'));
  switch (event.do) {
    case undefined: return event.pad === undefined ? { event } : Buffer.byteLength(JSON.stringify(event));
    case 'value': return event.value;
    case 'text': return 'x'.repeat(event.n);
    case 'none': return undefined;
    case 'odd': { const circle = {}; circle.circle = circle; return circle; }
    case 'raise': throw new RangeError('no luck');
    case 'context': return {
      id, left: context.getRemainingTimeInMilliSeconds() > 0 && context.getRemainingTimeInMilliSeconds() <= 10000,
      name: context.getFunctionName(), version: context.getVersion(), package: context.getPackage(), project: context.getProjectID(),
      memory: String(context.getMemorySize()), cpu: String(context.getCPUNumber()), timeout: String(context.getRunningTimeInSeconds()),
      data: context.getUserData('from'), alias: context.getAlias(),
      keys: [context.getSecurityAccessKey(), context.getSecuritySecretKey(), context.getSecurityToken(), context.getToken()].join(' '),
    };
    case 'log': {
      const log = context.getLogger();
      log.debug('not shown');
      log.info('i %d', 1);
      log.warn('w');
      log.error('e');
      return 'logged';
    }
    case 'print':
      console.log('out ' + id);
      console.error('err ' + id);
      return 'printed';
    case 'child':
      spawnSync('echo', ['child ' + id], { stdio: 'inherit' });
      return 'done';
    case 'flood':
      for (let i = 0; i < event.n; i++) console.log('line ' + i);
      return 'flooded';
    case 'sleep':
      await new Promise((resolve) => setTimeout(resolve, event.ms));
      console.log('woke ' + id);
      return 'slept';
    case 'ready': return ready;
    case 'loop': for (;;);
    case 'exit': process.exit(7);
    case 'kill': process.kill(process.pid, 'SIGKILL'); return new Promise(() => {});
  }
  throw new Error('unknown deed ' + event.do);
};
