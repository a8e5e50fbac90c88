// Called by timers:
//
//   GANTRY_TIMER='clean=@every 10s;{"keep": 3}' bootstrap serve --code examples/nodejs/timer
exports.handler = async (event, context) => {
    const log = context.getLogger();
    if (event.trigger_type !== 'TIMER') {
        return `called by ${event.trigger_type || 'a person'}, and not by a timer`;
    }
    const options = event.user_event ? JSON.parse(event.user_event) : {};
    log.info(`${event.trigger_name} of ${event.time}: keeps ${options.keep || 'everything'}`);
    return {timer: event.trigger_name, tick: event.time, late_ms: Date.now() - Date.parse(event.time)};
};
